"""A network's rules change while it lives: records of earlier versions are brought up to date when read, and never by a transaction.

`vectors/history-1.0.0.json.gz` is a task of seven hospitals, one of which says no and one of which falls silent, as contract 1.0.0 decided
it: every call with its argument, its writes and its event.
"""

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import canonical
from fabric.contract import entry
from fabric.contract.errors import ContractError
from fabric.contract.keys import key
from fabric.contract.release import RELEASE, Release, rules_number
from fabric.decoding import decode
from fabric.ledger_views import OrganisationView, RoundView, SettlementView, TaskView
from tests.support import next_contract
from tests.support.consortium import TASK, Consortium
from tests.support.next_contract import NEXT
from tests.support.stub import MemoryLedger, Person

HISTORY = json.loads(gzip.decompress((Path(__file__).parent / "vectors" / "history-1.0.0.json.gz").read_bytes()))
CALLS: list[dict[str, Any]] = HISTORY["calls"]
PEOPLE = {name: Person(each["mspid"], each["certificate"].encode()) for name, each in HISTORY["people"].items()}
RESEARCHER = next(PEOPLE[call["caller"]] for call in CALLS if call["function"] == "submit_task")


def as_it_stood(calls: int) -> MemoryLedger:
    """The ledger of contract 1.0.0 after so many of its calls, under the contract of today."""
    ledger = MemoryLedger()
    for call in CALLS[:calls]:
        for name, value in call["writes"].items():
            ledger._write(name, value.encode())
    return ledger


def up_to_date(ledger: MemoryLedger, release: Release = RELEASE) -> dict[str, Any]:
    """Every record as this version of the contract reads it."""
    return {name: release.current(name.split("\x00")[1], json.loads(value)) for name, (value, _) in ledger.state.items()}


@settings(deadline=None)
@given(st.integers(0, len(CALLS)))
def test_a_task_of_1_0_goes_on_wherever_the_upgrade_meets_it(done: int) -> None:
    """The gateways, which are still those of 1.0, make the calls that remain, and all comes out as it did without the upgrade.

    But for tokens: what is forfeited from then on goes to the honest instead of the treasury, and what is earned is due later.
    """
    ledger = as_it_stood(done)
    for call in CALLS[done:]:
        ledger.submit(PEOPLE[call["caller"]], call["function"], call["argument"])
    after, unchanged = up_to_date(ledger), up_to_date(as_it_stood(len(CALLS)))
    assert without_notes(after) == without_notes(unchanged)
    assert tokens(after) == tokens(unchanged)


def without_notes(records: dict[str, Any]) -> dict[str, Any]:
    """The state but for the note of what is debited, which 1.0 did not keep beside a task's filter, for who gets what when, and
    for what held-out patients give and statements say, of which 1.0 knew nothing."""
    left_out = ("debited", "balance_micro", "honest", "share_micro", "released_micro")
    return {
        name: without_trust({field: value for field, value in record.items() if field not in left_out})
        for name, record in records.items()
        if name.split("\x00")[1] not in ("treasury", "vesting", "round_root", "statement") and "\x00test\x00" not in name
    }


def without_trust(record: dict[str, Any]) -> dict[str, Any]:
    """Trust goes on by the rules of 1.1, which credit a hospital with what its group's rank says of it alone; so does what follows."""
    of_trust = ("trust", "trust_ppm", "positive", "negative", "history_ppm", "utility_ppm", "pay_micro", "remainder_micro", "weights")
    kept = {field: value for field, value in record.items() if field not in of_trust}
    hospitals = [{field: value for field, value in each.items() if field not in of_trust} for each in record.get("hospitals", ())]
    return kept | {"hospitals": hospitals}


def tokens(records: dict[str, Any]) -> int:
    """Balances, bonds, escrow, treasury, and rewards that vest."""
    held = ("balance_micro", "bond_micro", "escrow_micro", "amount_micro")
    return sum(sum(record.get(field, 0) for field in held) + sum(record.get("due_micro", ())) for record in records.values())


@settings(deadline=None)
@given(st.integers(0, len(CALLS)))
def test_views_show_what_1_0_wrote(done: int) -> None:
    ledger = as_it_stood(done)
    if key("task", TASK) not in ledger.state or key("identity", RESEARCHER.mspid, RESEARCHER.fingerprint) not in ledger.state:
        return
    task = decode(TaskView, ledger.evaluate(RESEARCHER, "task", {"task_id": TASK}), strict=False)
    assert task.terms.normalisation is False
    for number in range(1, task.round + 1):
        place = {"task_id": TASK, "round": number}
        decode(RoundView, ledger.evaluate(RESEARCHER, "round", place), strict=False)
        if key("settlement", TASK, number) in ledger.state:
            decode(SettlementView, ledger.evaluate(RESEARCHER, "settlement", place), strict=False)
    for view in ("organisations", "identities", "tasks", "trust"):
        assert all(record.get("schema", RELEASE.schema) == RELEASE.schema for record in ledger.evaluate(RESEARCHER, view))


def test_records_stay_as_they_are_until_a_rule_writes_them() -> None:
    done = next(number for number, call in enumerate(CALLS) if call["function"] == "commit")
    ledger, call = as_it_stood(done), CALLS[done]
    endorsed = ledger.endorse(PEOPLE[call["caller"]], call["function"], call["argument"])
    assert endorsed.simulation.writes.keys() == call["writes"].keys()
    before = {name: value for name, (value, _) in ledger.state.items()}
    ledger.block([endorsed])
    changed = {name for name, (value, _) in ledger.state.items() if before.get(name) != value}
    assert changed == call["writes"].keys()
    assert all(json.loads(ledger.state[name][0])["schema"] == RELEASE.schema for name in changed)


def test_a_debit_of_1_0_is_not_made_again() -> None:
    """Which rounds 1.0 had debited stands in no record of the filter; the contract asks the record of the debit."""
    debits = [number for number, call in enumerate(CALLS) if call["function"] == "debit"]
    for number in debits:
        again = CALLS[number]
        with pytest.raises(ContractError, match="ALREADY_DEBITED"):
            as_it_stood(number + 1).endorse(PEOPLE[again["caller"]], "debit", again["argument"])
        commit = next(call for call in CALLS[number:] if call["function"] == "commit" and call["caller"] == again["caller"])
        with pytest.raises(ContractError, match="NOT_DEBITED"):
            as_it_stood(number).endorse(PEOPLE[commit["caller"]], "commit", commit["argument"])


def records() -> Iterator[tuple[str, dict[str, Any]]]:
    seen = set()
    for call in CALLS:
        for name, value in call["writes"].items():
            kind = name.split("\x00")[1]
            if (kind, value) not in seen:
                seen.add((kind, value))
                yield kind, json.loads(value)


@pytest.mark.parametrize("release", [RELEASE, NEXT], ids=["this", "next"])
def test_a_migration_is_pure_and_loses_nothing(release: Release) -> None:
    for kind, record in records():
        given_record = copy.deepcopy(record)
        migrated = release.current(kind, record)
        assert record == given_record
        assert release.current(kind, record) == migrated
        assert release.current(kind, migrated) == migrated
        assert {name: migrated[name] for name in record if name != "schema"} == {n: v for n, v in record.items() if n != "schema"}
        assert migrated["schema"] == release.schema
        canonical.dumps(migrated)


def test_migrations_follow_each_other() -> None:
    """From 1 to 3 is from 1 to 2 and then from 2 to 3."""
    for kind, record in records():
        assert NEXT.current(kind, record) == NEXT.current(kind, RELEASE.current(kind, record))


def test_every_migration_is_of_an_earlier_schema_and_of_a_kind_there_is() -> None:
    kinds = {kind for kind, _ in records()}
    assert all(kind in kinds and 1 <= schema < RELEASE.schema for kind, schema in RELEASE.migrations)


def upgraded(consortium: Consortium) -> None:
    consortium.ledger.contract = next_contract.invoke


def test_the_next_version_takes_over_in_the_middle_of_a_round() -> None:
    consortium = Consortium(4)
    consortium.start(rounds=2)
    consortium.by(consortium.hospitals[0], "debit", **_debit())
    upgraded(consortium)
    for mspid in consortium.hospitals:
        if mspid != consortium.hospitals[0]:
            consortium.by(mspid, "debit", **_debit())
        consortium.by(mspid, "commit", task_id=TASK, round=1, digest=consortium.commitment(mspid, 1))
    consortium.advance()
    assert consortium.round()["remarks"] == []
    first = consortium.play_round()
    second = consortium.play_round()
    assert (first["accepted"], second["accepted"], second["task_phase"]) == (True, True, "finished")
    assert consortium.tokens() == consortium.minted()


def _debit() -> dict[str, Any]:
    from tests.support.consortium import TRAIN, VALIDATION

    return {"task_id": TASK, "round": 1, "spends": [TRAIN, VALIDATION]}


def test_a_contract_refuses_what_a_later_one_wrote() -> None:
    """An organisation that has not upgraded can neither read nor overwrite what it does not understand."""
    consortium = Consortium(3)
    upgraded(consortium)
    consortium.by(consortium.hospitals[0], "declare_contact", contact="it@hospital.example")
    consortium.ledger.contract = entry.invoke
    for attempt in (
        lambda: consortium.by(consortium.hospitals[0], "declare_leave", on=True),
        lambda: consortium.view("organisations"),
        lambda: consortium.view("organisation", mspid=consortium.hospitals[0]),
    ):
        with pytest.raises(ContractError, match=r"^NEWER_SCHEMA: a record of kind organisation has schema \d+, .* upgrade it$"):
            attempt()
    with pytest.raises(ContractError, match="UNKNOWN_FUNCTION"):
        consortium.by(consortium.hospitals[0], "declare_contact", contact="it@hospital.example")


def test_who_has_not_upgraded_goes_on_with_what_is_still_of_its_schema() -> None:
    """A transaction that the earlier contract endorsed meets the later one's writes: it is invalid where it read them, else it stands."""
    consortium = Consortium(3)
    first, second, _ = consortium.hospitals
    late = [consortium.endorse(mspid, "declare_leave", on=True) for mspid in (first, second)]
    upgraded(consortium)
    consortium.by(first, "declare_contact", contact="it@hospital.example")
    assert consortium.ledger.block(late) == [False, True]
    assert consortium.view("organisation", mspid=second)["contact"] == ""
    assert consortium.view("organisation", mspid=first)["leave"] is False


def test_gateways_of_this_version_read_the_views_of_the_next() -> None:
    consortium = Consortium(3)
    upgraded(consortium)
    consortium.by(consortium.hospitals[0], "declare_contact", contact="it@hospital.example")
    (shown,) = [each for each in consortium.view("organisations") if each["mspid"] == consortium.hospitals[0]]
    assert shown["contact"] == "it@hospital.example"
    assert decode(OrganisationView, shown, strict=False).mspid == consortium.hospitals[0]


def test_events_name_the_rules_that_decided() -> None:
    consortium = Consortium(3)
    upgraded(consortium)
    consortium.heartbeats(consortium.hospitals[:1])
    rules = [event["rules"] for _, event in consortium.ledger.events]
    assert rules == [RELEASE.rules] * (len(rules) - 1) + [NEXT.rules]


def test_rules_are_compared_as_numbers() -> None:
    assert Release("1.12.3", 7, {}).rules == "1.12"
    assert rules_number("1.9") < rules_number("1.12") < rules_number("2.0")
    for text in ("1", "1.2.3", "one.two", ""):
        with pytest.raises(ValueError, match=r"unpack|literal"):
            rules_number(text)
