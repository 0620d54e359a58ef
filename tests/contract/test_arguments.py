"""What comes in from outside: any bytes are either a proper argument or one BAD_ARGUMENT, and nothing is written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.contract import entry
from fabric.contract.errors import ContractError, parse_refusal
from tests.support.consortium import TASK, Consortium, digest, refused
from tests.support.stub import person

CONSORTIUM = Consortium(3)
CONSORTIUM.start()
ADMIN = person("H01MSP", "admin", "admin")
AUDITOR = person("H01MSP", "auditor")
CONSORTIUM.submit(ADMIN, "register_identity", role="auditor", fingerprint=AUDITOR.fingerprint, endpoint="")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["task_id", "round", "digest", "spends", "sums", "scores", "nonce", "mspid", "name", "kind", "attempt", "on", "reason"]
)


def run(function: str, data: bytes) -> str | None:
    """The refusal's code, None if the call passed. Endorses only: nothing is committed."""
    for caller in (CONSORTIUM.gateway("H01MSP"), ADMIN, CONSORTIUM.researcher, AUDITOR):
        try:
            CONSORTIUM.ledger.endorse(caller, function, data)
        except ContractError as refusal:
            assert parse_refusal(str(refusal)) == (refusal.code, refusal.sentence)
            if refusal.code != "DENIED":
                return refusal.code
        else:
            return None
    return "DENIED"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(entry.FUNCTIONS)), st.binary(max_size=200))
def test_random_bytes(function: str, data: bytes) -> None:
    assert run(function, data) == "BAD_ARGUMENT"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(entry.FUNCTIONS)), st.dictionaries(FIELDS, json_values, max_size=6))
def test_random_objects(function: str, value: dict[str, object]) -> None:
    data = json.dumps(value, allow_nan=True).encode("utf-8", "surrogatepass")
    run(function, data)  # a ContractError or an answer, never another exception


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"task_id":"a-task","task_id":"a-task"}',
        b'{"task_id":1}',
        b'{"task_id":1.0}',
        b'{"task_id":NaN}',
        b'{"task_id":"' + b"x" * 70_000 + b'"}',
        b"[" * 100_000,
        b'{"task_id":"\\ud800"}',
        b'{"task_id":"breast-cancer\\u0000"}',
        '{"task_id":"breast-c\u0430ncer"}'.encode(),  # a Cyrillic letter that looks like an a
        b'{"task_id":"breast-cancer","extra":1}',
        b"{" + b'"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"task_id":' + b"9" * 5000 + b"}",
    ],
)
def test_hostile_bytes(data: bytes) -> None:
    assert run("task", data) == "BAD_ARGUMENT"


def test_the_number_of_arguments_is_checked() -> None:
    gateway = CONSORTIUM.gateway("H01MSP")
    for args in ([], [b"{}", b"{}"]):
        with refused("BAD_ARGUMENT"):
            entry.invoke(CONSORTIUM.ledger.endorse(gateway, "version").simulation, "task", args)


def test_the_sentence_names_the_field_and_what_it_must_be() -> None:
    cases = {
        '{"round":1}': "the argument lacks task_id",
        '{"task_id":"x","round":1}': "task_id must be a task id",
        '{"task_id":"abc","round":true}': "round must be an integer",
        '{"task_id":"abc","round":-1}': "round must lie between 0 and",
        '{"task_id":"abc","round":1.5}': "amounts are integers",
    }
    for data, expected in cases.items():
        with pytest.raises(ContractError) as refusal:
            CONSORTIUM.ledger.endorse(CONSORTIUM.researcher, "round", data.encode())
        assert expected in refusal.value.sentence and refusal.value.code == "BAD_ARGUMENT"


def test_nested_fields_are_named_by_their_place() -> None:
    sums = [{"group": 0, "members": ["H01MSP", "bad name"], "digest": digest()}]
    with pytest.raises(ContractError, match=r"members\[1\] must be an MSP id"):
        CONSORTIUM.by("H01MSP", "post_sums", task_id=TASK, round=1, sums=sums)


def test_a_refusal_writes_nothing() -> None:
    before = dict(CONSORTIUM.ledger.state)
    with pytest.raises(ContractError):
        CONSORTIUM.propose(reward_micro=10**12)
    assert CONSORTIUM.ledger.state == before
