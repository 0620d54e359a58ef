"""An audit over the blocks of two versions of the contract: each call is computed again by the rules that decided it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.contract.release import RELEASE
from gateway.auditor.verify import Auditor, AuditReport, Recomputed
from tests.contract.test_upgrade import CALLS, PEOPLE, as_it_stood
from tests.support import chain
from tests.support.next_contract import NEXT
from tests.support.stub import as_args

MSPIDS = sorted({person.mspid for person in PEOPLE.values()})
BLOCK = 20  # calls


class Upgraded:
    """The history of contract 1.0.0, its first `done` calls as 1.0.0 decided them, and the others as this contract does."""

    def __init__(self, done: int) -> None:
        self.chain = chain.Consortium(tuple(chain.org(mspid) for mspid in MSPIDS))
        self._members = {org.mspid: org.client for org in self.chain.hospitals}
        self._peers = [org.peer for org in self.chain.hospitals]
        self._pending: list[bytes] = []
        for call in CALLS[:done]:
            self.call(call, {name: value.encode() for name, value in call["writes"].items()}, call["event"])
        ledger = as_it_stood(done)
        for call in CALLS[done:]:
            endorsed = ledger.endorse(PEOPLE[call["caller"]], call["function"], call["argument"])
            ledger.block([endorsed])
            event = endorsed.simulation.event
            self.call(call, endorsed.simulation.writes, [event[0], event[1].decode()] if event else None)

    def call(self, call: dict[str, Any], writes: dict[str, bytes | None], event: list[str] | None) -> None:
        self._pending.append(
            self.chain.transaction(
                call["function"].encode(),
                *as_args(call["argument"]),
                creator=self._members[PEOPLE[call["caller"]].mspid],
                endorsers=self._peers[: len(self._peers) // 2 + 1],
                writes=sorted(writes.items()),
                event=(event[0], event[1].encode()) if event else None,
            )
        )
        if len(self._pending) == BLOCK:
            self.cut()

    def cut(self) -> None:
        if self._pending:
            self.chain.add(self._pending)
            self._pending = []

    def audited(self, **options: Any) -> AuditReport:
        self.cut()
        auditor = Auditor(**options)
        for block in self.chain.blocks:
            auditor.accept(block)
        return auditor.report()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, len(CALLS)))
def test_an_audit_over_two_versions_finds_nothing_wrong(done: int) -> None:
    report = Upgraded(done).audited()
    assert (report.reason, report.problems) == ("", ())
    assert report.recomputed == Recomputed(trust=True, balances=True, budgets=True)
    assert report.transactions == len(CALLS) + 1
    assert report.contracts == ()  # these blocks hold no definition


def test_an_upgrade_hides_no_forged_trust() -> None:
    """The rules that a settlement names are those it is held to."""
    upgraded = Upgraded(len(CALLS))
    settled = next(call for call in reversed(CALLS) if call["function"] == "advance" and call["event"][0] == "settled")
    forged = json.loads(settled["event"][1])
    forged["hospitals"][0]["trust"]["trust_ppm"] += 1
    upgraded.call(settled, {}, ["settled", json.dumps(forged, sort_keys=True, separators=(",", ":"))])
    report = upgraded.audited()
    assert not report.recomputed.trust


def test_an_auditor_of_this_version_says_that_it_does_not_know_the_rules_of_the_next() -> None:
    """One sentence, not hundreds of differences that mean nothing; and the blocks themselves verify."""
    upgraded = Upgraded(len(CALLS))
    for _ in range(2):
        upgraded.call(
            {**CALLS[0], "function": "heartbeat", "argument": None}, {}, ["heartbeat", json.dumps({"count": 1, "rules": NEXT.rules})]
        )
    report = upgraded.audited()
    (problem,) = report.problems
    assert problem == (
        f"block {report.height - 1}: from here on contract {NEXT.rules} decides, and this program computes again what contracts up to "
        f"{RELEASE.rules} decided; audit with a program that knows it"
    )
    assert report.recomputed == Recomputed(trust=False, balances=False, budgets=False)
    assert report.first_bad_block is None
    assert upgraded.audited(rules=NEXT.rules).verified


@pytest.mark.parametrize("rules", ["", "1", "1.1.0", "one.one", "9.0"])
def test_rules_that_no_contract_has_are_a_finding(rules: str) -> None:
    upgraded = Upgraded(len(CALLS))
    upgraded.call({**CALLS[0], "function": "heartbeat", "argument": None}, {}, ["heartbeat", json.dumps({"rules": rules})])
    assert len(upgraded.audited().problems) == 1
