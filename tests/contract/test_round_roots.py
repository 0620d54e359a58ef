"""A round's root: the model before it and all commitments, in one hash that shows any one of them."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric import canonical
from fabric.contract import merkle
from fabric.contract.keys import key
from fabric.contract.round_roots import leaves
from gateway.auditor.verify import verify_ledger
from tests.support.consortium import DIGEST, TASK, Behaviour, Consortium, digest, refused
from tests.support.ledger_file import Blocks
from tests.support.recorded_task import played
from tests.support.stub import person

# Entries and roots of the test tree of RFC 6962's reference implementation, by number of entries.
ENTRIES = [
    bytes.fromhex(each) for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("count", ROOTS)
def test_known_roots(count: int) -> None:
    assert merkle.root(ENTRIES[:count]).hex() == ROOTS[count]


def test_the_root_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256(b"").digest()


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_a_path_shows_its_entry_and_no_other(entries: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    root, hashes = merkle.root(entries), merkle.path(entries, index)
    assert merkle.leads_to(entries[index], index, len(entries), hashes, root)
    assert not merkle.leads_to(entries[index] + b"!", index, len(entries), hashes, root)
    assert not merkle.leads_to(entries[index], index, len(entries), [*hashes, root], root)
    assert not merkle.leads_to(entries[index], len(entries), len(entries), hashes, root)
    if hashes:
        assert not merkle.leads_to(entries[index], index, len(entries), hashes[:-1], root)


def root_of(consortium: Consortium, number: int) -> Any:
    return {each["root"]: each for each in consortium.ledger.records("round_root")}[consortium.round(number)["root"]]


def test_a_round_has_its_root_once_commits_are_closed() -> None:
    consortium = Consortium(3)
    consortium.start(rounds=3)
    assert consortium.round()["root"] == ""
    commitments = {mspid: consortium.commitment(mspid, 1) for mspid in consortium.hospitals}
    consortium.play_round()
    expected = merkle.root(leaves(DIGEST, commitments))
    assert consortium.round(1)["root"] == expected.hex()
    entries = leaves(DIGEST, commitments)
    assert merkle.leads_to(f"H02MSP {commitments['H02MSP']}".encode(), 2, 4, merkle.path(entries, 2), expected)


def test_the_model_before_is_the_last_that_was_accepted() -> None:
    consortium = Consortium(3)
    consortium.start(rounds=4)
    consortium.play_round()
    consortium.play_round(Behaviour(candidate_micro=-900_000))
    consortium.play_round()
    consortium.play_round()
    assert [root_of(consortium, number)["model_digest"] for number in (1, 2, 3, 4)] == [
        DIGEST,
        digest("model", 1),
        digest("model", 1),
        digest("model", 3),
    ]


async def test_the_audit_finds_a_root_that_does_not_follow() -> None:
    recording = played(3, 2, Behaviour(), normalisation=True)
    assert (await verify_ledger(Blocks(recording.blocks))).problems == ()
    forged = {"model_digest": DIGEST, "root": digest("another"), "schema": 2}
    recording.forge("H01MSP", "heartbeat", {key("round_root", TASK, 2): canonical.dumps(forged)})
    report = await verify_ledger(Blocks(recording.blocks))
    assert any(problem.startswith(f"round_root {TASK}/00000002: root is") for problem in report.problems)


def test_what_comes_after_the_close_is_not_in_the_round() -> None:
    consortium = Consortium(4)
    consortium.start()
    late, *others = consortium.hospitals
    for mspid in others:
        consortium.debit_and_commit(mspid, 1)
    consortium.debit(late, 1)
    consortium.advance_late(Behaviour(offline={late}))
    with refused("WRONG_PHASE"):
        consortium.by(late, "commit", task_id=TASK, round=1, digest=consortium.commitment(late, 1))
    (record,) = consortium.ledger.records("round_root")
    assert record["root"] == merkle.root(leaves(DIGEST, {mspid: consortium.commitment(mspid, 1) for mspid in others})).hex()


def test_registering_twice_is_refused() -> None:
    consortium = Consortium(3)
    with refused("ALREADY_REGISTERED"):
        consortium.submit(person("H01MSP", "admin", "admin"), "register_organisation", name="Again", kind="hospital")
