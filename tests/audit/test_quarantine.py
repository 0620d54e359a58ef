"""Credits and quarantine are computed again from what validators revealed."""

from tests.audit.test_audit import audit, played
from tests.support.consortium import Behaviour


async def test_a_history_with_quarantine_computes_again() -> None:
    harmful = ("H02MSP", "H04MSP", "H07MSP")
    recorded = played(12, 25, Behaviour(utility=dict.fromkeys(harmful, 500_000)), min_hospitals=3)
    assert recorded.consortium.round(25)["quarantined"]
    report = await audit(recorded)
    assert report.problems == ()
    assert report.verified
