"""Disputes: bonded accusations, an audit committee that opens one update, and what follows from its findings."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import canonical
from fabric.contract import verdicts
from fabric.contract.commitments import finding_commitment
from fabric.contract.disputes import BOND
from fabric.contract.keys import key
from gateway.auditor.calls import contract_calls
from gateway.auditor.token_statement import Bookkeeping
from gateway.auditor.verify import Auditor, verify_ledger
from tests.support.consortium import TASK, Consortium, digest, refused
from tests.support.ledger_file import Blocks
from tests.support.recorded_task import Recording

DEPOSIT = 1_000_000
OPENED = digest("opened update")
PHASES = ("dispute_seat", "dispute_share", "finding_commit", "finding")


@dataclasses.dataclass
class Conduct:
    """What judges and key holders do in a dispute."""

    finding: str = verdicts.SOUND
    dissenters: frozenset[str] = frozenset()
    withheld: bool = False
    silent: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)  # kind of record → who does not write it

    def speaks(self, mspid: str, kind: str) -> bool:
        return mspid not in self.silent.get(kind, frozenset())


@dataclasses.dataclass
class Case:
    """One dispute in a consortium of nine, in three groups, after round 1."""

    consortium: Consortium
    accused: str
    accuser: str

    @property
    def place(self) -> dict[str, Any]:
        return {"task_id": TASK, "round": 1, "accused": self.accused}

    @property
    def dispute(self) -> Any:
        return next(each for each in self.consortium.view("disputes", task_id=TASK) if each["accused"] == self.accused)

    def open(self) -> None:
        self.consortium.by(self.accuser, "open_dispute", **self.place, reason="its updates point elsewhere")

    def advance(self) -> Any:
        return self.consortium.by(self.accuser, "advance_dispute", **self.place)

    def advance_late(self) -> Any:
        self.consortium.heartbeats(self.consortium.hospitals, self.dispute["limit"])
        return self.advance()

    def speak(self, conduct: Conduct) -> None:
        """Everybody who speaks does what the phase asks of it."""
        dispute = self.dispute
        kind, members = {
            "seating": ("dispute_seat", dispute["committee"]),
            "opening": ("dispute_share", dispute["quorum"]),
            "finding": ("finding_commit", dispute["committee"]),
            "revealing": ("finding", dispute["committed"]),
        }[dispute["phase"]]
        for mspid in members:
            if conduct.speaks(mspid, kind):
                getattr(self, f"_{kind}")(mspid, conduct)

    def _dispute_seat(self, mspid: str, _: Conduct) -> None:
        self.consortium.by(mspid, "take_seat", **self.place, sealing_key=digest(mspid))

    def _dispute_share(self, mspid: str, conduct: Conduct) -> None:
        self.consortium.by(mspid, "share_disputed", **self.place, digest=None if conduct.withheld else digest("shares", mspid))

    def _finding(self, mspid: str, conduct: Conduct) -> None:
        found = self.found(mspid, conduct)
        found.pop("mspid")
        self.consortium.by(mspid, "reveal_finding", **self.place, **found)

    def _finding_commit(self, mspid: str, conduct: Conduct) -> None:
        commitment = finding_commitment(TASK, 1, self.accused, self.found(mspid, conduct))
        self.consortium.by(mspid, "commit_finding", **self.place, digest=commitment)

    def found(self, mspid: str, conduct: Conduct) -> dict[str, str]:
        finding = conduct.finding
        if mspid in conduct.dissenters:
            finding = verdicts.HARMFUL if finding == verdicts.SOUND else verdicts.SOUND
        return {"mspid": mspid, "finding": finding, "nonce": digest("nonce", mspid), "opened_digest": OPENED}

    def play(self, conduct: Conduct) -> Any:
        """Open the dispute and play it to its end; the record then."""
        self.open()
        while self.dispute["phase"] != "closed":
            phase = self.dispute["phase"]
            self.speak(conduct)
            assert self.consortium.tokens() == self.consortium.minted()
            self.advance_late()
            assert self.dispute["phase"] != phase
        assert self.consortium.tokens() == self.consortium.minted()
        return self.dispute

    def account(self, mspid: str) -> tuple[int, int]:
        found = self.consortium.view("organisation", mspid=mspid)
        return found["balance_micro"], found["bond_micro"]


def case_of(consortium: Consortium, **terms: Any) -> Case:
    consortium.start(rounds=8, **terms)
    settlement = consortium.play_round()
    group = settlement["groups"][0]["members"]
    accuser = next(mspid for mspid in consortium.hospitals if mspid not in group)
    return Case(consortium, group[0], accuser)


@pytest.fixture
def case() -> Case:
    return case_of(Consortium(9))


def test_judges_are_neither_the_parties_nor_in_a_sum_with_the_accused(case: Case) -> None:
    case.open()
    near = next(each["members"] for each in case.consortium.settlement(1)["groups"] if case.accused in each["members"])
    assert len(case.dispute["committee"]) == 5
    assert not {case.accuser, *near} & set(case.dispute["committee"])
    assert len(case.dispute["quorum"]) == case.consortium.task()["threshold"]
    assert case.accused not in case.dispute["quorum"]
    assert [each["accused"] for each in case.consortium.task()["disputes"]] == [case.accused]


def test_a_guilty_update_costs_its_bond_and_the_accuser_nothing(case: Case) -> None:
    before = case.account(case.accuser)
    dispute = case.play(Conduct(verdicts.HARMFUL))
    assert (dispute["outcome"], dispute["treasury_micro"], dispute["escrow_micro"]) == ("guilty", 0, 0)
    assert case.account(case.accuser) == before
    assert case.account(case.accused)[1] == 0
    (slashed,) = case.consortium.ledger.records("slash")
    assert (slashed["mspid"], slashed["reason"], slashed["evidence_digest"]) == (
        case.accused,
        "harmful_update",
        dispute["ciphertext_digest"],
    )
    assert slashed["vesting_micro"] > 0
    case.consortium.play_round()
    assert case.accused not in case.consortium.round()["participants"]


def test_a_failed_accusation_burns_the_accusers_bond(case: Case) -> None:
    balance, _ = case.account(case.accuser)
    dispute = case.play(Conduct())
    assert (dispute["outcome"], dispute["treasury_micro"]) == ("unfounded", BOND)
    assert case.account(case.accuser)[0] == balance - BOND
    assert case.account(case.accused)[1] == 100_000_000


def test_an_opened_update_counts_as_a_sum_under_the_tasks_key(case: Case) -> None:
    before = case.consortium.task()["decryptions"]
    case.open()
    assert case.consortium.task()["decryptions"] == before + 1


def test_a_key_whose_rounds_need_all_it_bears_opens_no_update() -> None:
    # 8 rounds of 3 groups open 24 sums; a key for so many values bears 25 of them, and for a few more only 24.
    case_of(Consortium(9), parameters=134_000_000).open()
    case = case_of(Consortium(9), parameters=139_000_000)
    with refused("KEY_WOULD_WEAR_OUT"):
        case.open()


def test_an_update_is_disputed_once(case: Case) -> None:
    case.play(Conduct(verdicts.HARMFUL))
    with refused("ALREADY_DISPUTED"):
        case.open()
    with refused("WRONG_PHASE"):
        case.advance()
    assert len(case.consortium.ledger.records("slash")) == 1


def test_two_convictions_slash_once(case: Case) -> None:
    """Two rounds' updates of one hospital: the second accuser is right too, and there is nothing left to take."""
    case.consortium.play_round()
    case.play(Conduct(verdicts.HARMFUL))
    second = dataclasses.replace(case)
    settlement = case.consortium.settlement(2)
    near = next(each["members"] for each in settlement["groups"] if case.accused in each["members"])
    second.accuser = next(mspid for mspid in case.consortium.hospitals if mspid not in near)
    place = {"task_id": TASK, "round": 2, "accused": case.accused}
    case.consortium.by(second.accuser, "open_dispute", **place, reason="again")
    case.consortium.heartbeats(case.consortium.hospitals, 3)
    case.consortium.by(second.accuser, "advance_dispute", **place)
    assert case.consortium.tokens() == case.consortium.minted()
    assert len(case.consortium.ledger.records("slash")) == 1


def test_a_minority_of_judges_convicts_nobody_and_loses_nothing(case: Case) -> None:
    case.open()
    minority = frozenset(case.dispute["committee"][:2])
    case.speak(Conduct())
    case.advance()
    for _ in range(3):
        case.speak(Conduct(dissenters=minority))
        case.advance()
    assert case.dispute["outcome"] == "unfounded"
    assert case.dispute["fined"] == []
    assert all(case.account(mspid)[1] == 100_000_000 for mspid in case.consortium.hospitals)


def test_a_ciphertext_that_nobody_gets_is_a_failed_opening(case: Case) -> None:
    dispute = case.play(Conduct(withheld=True))
    assert dispute["outcome"] == "guilty"
    assert case.consortium.ledger.records("slash")[0]["reason"] == "failed_opening"


def test_one_key_holder_that_got_it_clears_the_accused_of_withholding(case: Case) -> None:
    case.open()
    case.speak(Conduct())
    case.advance()
    honest, *others = case.dispute["quorum"]
    for mspid in others:
        case._dispute_share(mspid, Conduct(withheld=True))
    case._dispute_share(honest, Conduct())
    case.advance()
    assert case.dispute["outcome"] == "lapsed"
    assert case.account(case.accused)[1] == 100_000_000


@pytest.mark.parametrize("kind", PHASES)
def test_silence_costs_the_silent_a_deposit(case: Case, kind: str) -> None:
    case.open()
    silent = frozenset(case.dispute["quorum"][:1] if kind == "dispute_share" else case.dispute["committee"][:1])
    while case.dispute["phase"] != "closed":
        case.speak(Conduct(silent={kind: silent}))
        case.advance_late()
    assert set(case.dispute["fined"]) == silent
    assert [case.account(mspid)[1] for mspid in silent] == [99_000_000]
    assert case.dispute["outcome"] == ("lapsed" if kind == "dispute_share" else "unfounded")
    assert case.dispute["treasury_micro"] == DEPOSIT + (BOND if case.dispute["outcome"] == "unfounded" else 0)


def test_nothing_is_due_before_all_spoke_or_time_is_up(case: Case) -> None:
    case.open()
    with refused("NOT_DUE"):
        case.advance()
    judge = case.dispute["committee"][0]
    case._dispute_seat(judge, Conduct())
    with refused("ALREADY_COMMITTED"):
        case._dispute_seat(judge, Conduct())
    with refused("NOT_A_PARTICIPANT"):
        case._dispute_seat(case.accused, Conduct())
    with refused("WRONG_PHASE"):
        case._dispute_share(case.dispute["quorum"][0], Conduct())


def test_a_finding_is_the_one_that_was_committed_to(case: Case) -> None:
    case.open()
    for _ in range(3):
        case.speak(Conduct())
        case.advance()
    judge = case.dispute["committee"][0]
    with refused("COMMITMENT_MISMATCH"):
        case._finding(judge, Conduct(verdicts.HARMFUL))
    with refused("NOT_A_PARTICIPANT"):
        case._finding(case.accuser, Conduct())


class TestRefusals:
    def test_who_and_what_can_be_disputed(self, case: Case) -> None:
        consortium = case.consortium
        with refused("BAD_ARGUMENT"):
            consortium.by(case.accused, "open_dispute", **case.place, reason="mine")
        with refused("NOT_SUMMED"):
            consortium.by(case.accuser, "open_dispute", **{**case.place, "accused": "LabMSP"}, reason="who?")
        with refused("WRONG_PHASE"):
            consortium.by(case.accuser, "open_dispute", **{**case.place, "round": 2}, reason="too early")
        with refused("NOT_FOUND"):
            case.advance()
        consortium.register_hospital("NewMSP")
        with refused("NOT_A_PARTICIPANT"):
            consortium.by("NewMSP", "open_dispute", **case.place, reason="from outside")

    def test_an_update_whose_ciphertext_is_gone(self, case: Case) -> None:
        for _ in range(3):
            case.consortium.play_round()
        with refused("TOO_LATE"):
            case.open()

    def test_a_consortium_of_one_group_has_no_judges(self) -> None:
        consortium = Consortium(4)
        consortium.start()
        consortium.play_round()
        with refused("TOO_FEW_JUDGES"):
            consortium.by("H01MSP", "open_dispute", task_id=TASK, round=1, accused="H02MSP", reason="of one group")

    def test_an_accuser_without_tokens(self, case: Case) -> None:
        name = key("account", case.accuser)
        case.consortium.ledger._write(name, canonical.dumps({"balance_micro": BOND - 1, "bond_micro": 100_000_000, "schema": 2}))
        with refused("INSUFFICIENT_BALANCE"):
            case.open()


def test_the_last_rounds_of_a_task_stay_open_to_dispute() -> None:
    consortium = Consortium(9)
    consortium.start(rounds=1)
    group = consortium.play_round()["groups"][0]["members"]
    case = Case(consortium, group[0], next(mspid for mspid in consortium.hospitals if mspid not in group))
    assert consortium.task()["phase"] == "finished"
    assert case.play(Conduct(verdicts.MALFORMED))["outcome"] == "guilty"


@st.composite
def conducts(draw: st.DrawFn, hospitals: list[str]) -> Conduct:
    def some() -> frozenset[str]:
        return frozenset(draw(st.sets(st.sampled_from(hospitals), max_size=6)))

    return Conduct(
        finding=draw(st.sampled_from([verdicts.SOUND, verdicts.MALFORMED, verdicts.HARMFUL, verdicts.UNREADABLE])),
        dissenters=some(),
        withheld=draw(st.booleans()),
        silent={kind: some() for kind in PHASES},
    )


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_whatever_happens_tokens_are_conserved_and_the_audit_comes_to_the_same(data: st.DataObject) -> None:
    recording = Recording(6)
    case = case_of(recording.consortium)
    conduct = data.draw(conducts(recording.consortium.hospitals))
    dispute = case.play(conduct)
    spoke = {mspid for mspid in case.consortium.hospitals if all(conduct.speaks(mspid, kind) for kind in PHASES)}
    for mspid in spoke - {case.accused}:
        assert case.account(mspid)[1] == 100_000_000
    if dispute["outcome"] != "guilty":
        assert case.account(case.accused)[1] >= 100_000_000 - len(PHASES) * DEPOSIT
    auditor, books = Auditor(), Bookkeeping()
    for block in recording.blocks:
        for call in contract_calls(auditor.accept(block)):
            books.observe(call)
    assert auditor.report().problems == ()
    assert sum(entry.amount_micro for entry in books.entries) == case.consortium.minted()
    assert books.held(case.accuser, "balance") == case.account(case.accuser)[0]


@pytest.mark.parametrize(
    ("change", "finding"),
    [({"outcome": "unfounded"}, "recomputed guilty"), ({"treasury_micro": 5}, "of a dispute, recomputed")],
)
async def test_a_false_outcome_is_found(change: dict[str, Any], finding: str) -> None:
    recording = Recording(6)
    case = case_of(recording.consortium)
    case.open()
    while case.dispute["phase"] != "revealing":
        case.speak(Conduct(verdicts.HARMFUL))
        case.advance()
    case.speak(Conduct(verdicts.HARMFUL))
    (record,) = case.consortium.ledger.records("dispute")
    del record["schema"]
    closed = {**record, "phase": "closed", "outcome": "guilty", "escrow_micro": 0, "clock": {}, "rules": "1.1", **change}
    recording.forge("H01MSP", "advance_dispute", {}, ("dispute", canonical.dumps(closed)))
    report = await verify_ledger(Blocks(recording.blocks))
    assert any(finding in problem for problem in report.problems)


def findings(*votes: str) -> dict[str, Any]:
    return {str(judge): {"finding": vote, "opened_digest": OPENED} for judge, vote in enumerate(votes)}


@pytest.mark.parametrize(
    ("judges", "votes", "expected"),
    [
        (3, ("harmful", "harmful", "sound"), ("guilty", "harmful_update")),
        (3, ("malformed", "malformed"), ("guilty", "failed_opening")),
        (4, ("harmful", "harmful", "sound", "sound"), ("unfounded", "")),
        (4, ("harmful", "harmful", "malformed", "malformed"), ("unfounded", "")),
        (5, ("harmful", "harmful"), ("unfounded", "")),
        (2, ("harmful", "harmful"), ("guilty", "harmful_update")),
        (3, ("unreadable", "unreadable", "sound"), ("lapsed", "")),
        (3, ("unreadable", "sound", "sound"), ("unfounded", "")),
    ],
)
def test_verdicts(judges: int, votes: Iterable[str], expected: tuple[str, str]) -> None:
    assert verdicts.verdict(judges, findings(*votes)) == expected


def test_judges_that_opened_something_else_do_not_count_together() -> None:
    votes = findings("harmful", "harmful", "harmful")
    votes["2"]["opened_digest"] = digest("another")
    assert verdicts.verdict(4, votes) == ("unfounded", "")


@pytest.mark.parametrize(
    ("answers", "quorum", "expected"),
    [((None, None), 3, True), ((None,), 3, False), ((None, None, OPENED), 3, False), ((), 2, False), ((None, None), 2, True)],
)
def test_withholding(answers: tuple[str | None, ...], quorum: int, expected: bool) -> None:
    assert verdicts.withheld({str(number): answer for number, answer in enumerate(answers)}, quorum) is expected
