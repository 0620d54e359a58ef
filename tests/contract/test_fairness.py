"""Attested fairness: examined off the ledger, signed on it, and a factor of the reward."""

from typing import Any

import pytest

from fabric.contract import incentives
from fabric.contract.trust import S, TrustState
from gateway.auditor.verify import Auditor
from tests.support.consortium import Consortium, digest, refused
from tests.support.recorded_task import Recording
from tests.support.stub import Person, person


def with_auditor(consortium: Consortium, mspid: str = "LabMSP") -> Person:
    auditor = person(mspid, "auditor")
    consortium.submit(person(mspid, "admin", "admin"), "register_identity", role="auditor", fingerprint=auditor.fingerprint, endpoint="")
    return auditor


def audit_organisation(consortium: Consortium, mspid: str) -> Person:
    consortium.submit(person(mspid, "admin", "admin"), "register_organisation", name="Audit", kind="audit")
    return with_auditor(consortium, mspid)


def attest(consortium: Consortium, auditor: Person, mspid: str, fairness: int) -> None:
    consortium.submit(auditor, "attest_fairness", mspid=mspid, fairness_ppm=fairness, evidence_digest=digest("report"))


@pytest.mark.parametrize(
    ("attested", "expected"),
    [((), S), ((700_000,), 700_000), ((600_000, 900_000), 600_000), ((500_000, 800_000, S), 800_000)],
)
def test_the_lower_median_counts(attested: tuple[int, ...], expected: int) -> None:
    assert incentives.fairness_ppm(attested) == expected


def test_weight_is_scaled_last() -> None:
    state = TrustState(positive=10 * S, negative=0, streak=4, history_ppm=(S,))
    assert incentives.weight(state) == 600_000
    assert incentives.weight(state, fairness=500_000) == 300_000


def pay(settlement: Any) -> dict[str, int]:
    return {entry["mspid"]: entry["pay_micro"] for entry in settlement["hospitals"]}


@pytest.fixture
def recording() -> Recording:
    return Recording(4)


def test_who_is_found_half_as_fair_is_paid_half_as_much(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    consortium = recording.consortium
    consortium.start(rounds=2)
    assert len(set(pay(consortium.play_round()).values())) == 1
    monkeypatch.setattr("fabric.contract.fairness.AUDIT", "research")  # the recorded ledger has no organisation that only audits
    attest(consortium, with_auditor(consortium), "H02MSP", 500_000)
    paid = pay(consortium.play_round())
    assert paid["H02MSP"] == pytest.approx(paid["H01MSP"] / 2, abs=2)
    assert consortium.view("organisation", mspid="H02MSP")["fairness_ppm"] == 500_000
    assert consortium.tokens() == consortium.minted()
    auditor = Auditor()
    for block in recording.blocks:
        auditor.accept(block)
    assert auditor.report().problems == ()


def test_several_auditors_and_a_change_of_mind() -> None:
    consortium = Consortium(3)
    first, second = audit_organisation(consortium, "AuditOneMSP"), audit_organisation(consortium, "AuditTwoMSP")
    attest(consortium, first, "H01MSP", 500_000)
    attest(consortium, second, "H01MSP", 900_000)
    assert consortium.view("organisation", mspid="H01MSP")["fairness_ppm"] == 500_000
    attest(consortium, first, "H01MSP", 950_000)
    assert consortium.view("organisation", mspid="H01MSP")["fairness_ppm"] == 900_000


def test_only_an_auditors_own_organisation_attests_and_only_to_hospitals() -> None:
    consortium = Consortium(3)
    with refused("DENIED"):
        attest(consortium, with_auditor(consortium, "H01MSP"), "H02MSP", 500_000)
    auditor = audit_organisation(consortium, "AuditMSP")
    with refused("NOT_A_HOSPITAL"):
        attest(consortium, auditor, "LabMSP", 500_000)
    with refused("BAD_ARGUMENT"):
        attest(consortium, auditor, "H01MSP", 499_999)
