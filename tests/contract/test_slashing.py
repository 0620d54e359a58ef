"""The ladder of penalties: a proof takes the whole bond once and ejects, silence takes the deposit, suspicion takes nothing."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric import canonical
from fabric.contract import entry, incentives, slashing
from fabric.contract.release import RELEASE
from fabric.contract.state import State
from fabric.contract.stub import Stub
from gateway.auditor.verify import verify_ledger
from tests.support.consortium import Behaviour, Consortium, digest, refused
from tests.support.ledger_file import Blocks
from tests.support.recorded_task import Recording, played

EVIDENCE = digest("evidence")


def with_proofs(stub: Stub, function: str, args: Sequence[bytes]) -> bytes:
    """The contract, with one more function, which believes every proof: {"mspid", "honest"}."""
    if function != "prove":
        return entry.invoke(stub, function, args)
    state, argument = State(stub, RELEASE), canonical.loads(args[0])
    slashed = slashing.slash(state, argument["mspid"], slashing.EQUIVOCATION, EVIDENCE, honest=argument["honest"])
    state.announce("proven", {"slashed": [] if slashed is None else [slashed]})
    state.flush()
    return canonical.dumps(slashed)


def prove(consortium: Consortium, mspid: str, honest: Sequence[str] = ()) -> Any:
    consortium.ledger.contract = with_proofs
    caller = consortium.gateway(consortium.hospitals[0])
    return consortium.ledger.submit(caller, "prove", {"mspid": mspid, "honest": list(honest)})


def test_a_proof_takes_the_whole_bond_once() -> None:
    consortium = Consortium(4)
    liar, *others = consortium.hospitals
    first = prove(consortium, liar, others)
    assert (first["bond_micro"], first["share_micro"], first["treasury_micro"]) == (100_000_000, 333_333, 99_000_001)
    assert consortium.view("organisation", mspid=liar)["bond_micro"] == 0
    assert [consortium.view("organisation", mspid=mspid)["balance_micro"] for mspid in others] == [900_333_333] * 3
    assert prove(consortium, liar, others) is None
    assert consortium.tokens() == consortium.minted()


def test_who_is_ejected_takes_part_in_no_later_task() -> None:
    consortium = Consortium(4)
    liar, *others = consortium.hospitals
    consortium.propose()
    prove(consortium, liar)
    with refused("EJECTED"):
        consortium.approve(liar)
    for mspid in others:
        consortium.approve(mspid)
    consortium.advance()
    assert consortium.task()["participants"] == others
    with refused("TOO_FEW_HOSPITALS"):
        consortium.propose(task_id="later-task", min_hospitals=4)
    assert consortium.view("organisation", mspid=liar)["ejected"]


def test_who_approved_before_its_proof_gets_no_part_of_the_key() -> None:
    consortium = Consortium(4)
    consortium.propose()
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
    prove(consortium, consortium.hospitals[0])
    consortium.advance()
    assert consortium.task()["participants"] == consortium.hospitals[1:]


def test_who_is_ejected_in_a_round_is_paid_nothing_for_it_and_opens_no_other() -> None:
    consortium = Consortium(4)
    consortium.start(rounds=2)
    liar, *others = consortium.hospitals
    prove(consortium, liar)
    settlement = consortium.play_round()
    outcome = next(entry for entry in settlement["hospitals"] if entry["mspid"] == liar)
    assert (outcome["integrity"], outcome["contributed"], outcome["pay_micro"]) == (False, False, 0)
    assert consortium.round()["participants"] == others
    assert liar not in consortium.round()["absent"]
    assert consortium.tokens() == consortium.minted()


def test_a_deposit_goes_to_the_honest_in_equal_parts() -> None:
    consortium = Consortium(4)
    consortium.start(rounds=1)
    silent = consortium.hospitals[0]
    settlement = consortium.play_round(Behaviour(silent={"reveal": {silent}}))
    assert (settlement["fined"], settlement["honest"], settlement["share_micro"]) == ([silent], consortium.hospitals[1:], 333_333)
    assert consortium.ledger.records("treasury")[0]["amount_micro"] == 1 + settlement["remainder_micro"]


def test_suspicion_takes_nothing() -> None:
    """Groups thrown out, candidates turned down, a group that scores far worse than all others: no bond is touched."""
    consortium = Consortium(6)
    consortium.start(rounds=1)
    consortium.play_round(Behaviour(utility={"H01MSP": 10**6}, candidate_micro=-900_000, rejected_groups=(0,)))
    assert all(entry["bond_micro"] == 100_000_000 for entry in consortium.view("organisations") if entry["kind"] == "hospital")


@given(st.integers(0, 10**15), st.integers(0, 200))
def test_what_is_forfeited_is_shared_without_loss(forfeited: int, members: int) -> None:
    each, rest = incentives.share_out(forfeited, members)
    assert each * members + rest == forfeited
    assert 0 <= rest < members or not members


class TestAudit:
    async def test_a_proof_computes_again(self) -> None:
        recording = Recording(4)
        recording.consortium.start(rounds=2)
        recording.consortium.play_round()
        prove(recording.consortium, "H02MSP", ["H01MSP", "H03MSP"])
        recording.consortium.play_round(Behaviour(silent={"reveal": {"H04MSP"}}))
        report = await verify_ledger(Blocks(recording.blocks))
        assert report.problems == ()

    @pytest.mark.parametrize(
        ("change", "finding"),
        [
            ({"bond_micro": 99_000_000}, "its bond was"),
            ({"treasury_micro": 0}, "its bond was"),
            ({"honest": ["H01MSP", "H03MSP"]}, "its bond was"),
        ],
    )
    async def test_a_proof_that_takes_something_else_is_found(self, change: dict[str, Any], finding: str) -> None:
        recording = Recording(3)
        honest = {"bond_micro": 100_000_000, "vesting_micro": 0, "honest": [], "share_micro": 0, "treasury_micro": 100_000_000}
        record = {"mspid": "H02MSP", "reason": slashing.WRONG_SHARE, "evidence_digest": EVIDENCE, **honest, **change}
        recording.forge("H01MSP", "heartbeat", {}, ("proven", canonical.dumps({"slashed": [record], "rules": "1.1"})))
        report = await verify_ledger(Blocks(recording.blocks))
        assert not report.recomputed.balances
        assert any(finding in problem for problem in report.problems)

    async def test_a_second_slash_is_found(self) -> None:
        recording = Recording(3)
        first = prove(recording.consortium, "H02MSP")
        recording.forge("H01MSP", "heartbeat", {}, ("proven", canonical.dumps({"slashed": [first], "rules": "1.1"})))
        report = await verify_ledger(Blocks(recording.blocks))
        assert any("a second time" in problem for problem in report.problems)

    async def test_a_share_that_was_kept_from_its_owner_is_found(self) -> None:
        recording = played(4, 1, Behaviour(silent={"reveal": {"H03MSP"}}))
        settlement = recording.consortium.settlement(1)
        settlement.pop("schema")
        settlement["round"] = 2
        settlement["share_micro"] = 0
        recording.forge("H01MSP", "advance", {}, ("settled", canonical.dumps({**settlement, "rules": "1.1"})))
        report = await verify_ledger(Blocks(recording.blocks))
        assert any("of what others forfeited" in problem for problem in report.problems)
