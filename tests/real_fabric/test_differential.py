"""The same generated transactions on the embedded ledger and on real Fabric give the same answers, effects, codes and events."""

import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabric.canonical import dumps
from fabric.contract.key_policies import owner_policy
from tests.real_fabric.twins import Call, Failed, Twins, twins
from tests.support.fabric_network import MSPIDS, FabricNetwork
from tests.support.scripted_calls import STEPS

pytestmark = [pytest.mark.fabric, pytest.mark.asyncio(loop_scope="module")]

Step = list[Any]

ROOM = "§"  # stands in scripts for the names of one example, so that none sees another's keys
KEYS = (f"{ROOM}a", f"{ROOM}b", f"{ROOM}ключ", f"{ROOM}\U0001f511", f"\x00{ROOM}\x00dose\x00", f"\x00{ROOM}\x00dose\x00a\x00")
MANY = f"{ROOM}many-"
RANGES = (
    (ROOM, f"{ROOM}\U0010ffff"),
    (f"{ROOM}a", f"{ROOM}b"),
    (f"{ROOM}b", f"{ROOM}a"),
    (f"\x00{ROOM}\x00", f"\x00{ROOM}\x00\U0010ffff"),
    (MANY, f"{MANY}~"),
)
POLICIES = tuple(owner_policy(mspid, MSPIDS).hex() for mspid in MSPIDS)
PAGE = 100  # entries that a peer hands over at once; it lists 50 reads, and makes a hash tree of more

keys, values = st.sampled_from(KEYS), st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
parts: st.SearchStrategy[list[Step]] = st.one_of(
    st.builds(lambda key: [["get", key]], keys),
    st.builds(lambda key, value: [["put", key, value]], keys, values),
    st.builds(lambda key: [["delete", key]], keys),
    st.builds(lambda between, most: [["range", *between, most]], st.sampled_from(RANGES), st.integers(0, 3)),
    st.builds(lambda key: [["policy", key]], keys),
    st.builds(lambda key, value, policy: [["put", key, value], ["set_policy", key, policy]], keys, values, st.sampled_from(POLICIES)),
    st.builds(lambda name, payload: [["event", name, payload]], st.sampled_from(("dose", "готово")), values),
    st.sampled_from(([["caller"]], [["transient"]])),
)
endings: st.SearchStrategy[list[Step]] = st.sampled_from([*[[]] * 8, [["refuse", "NOT_ALLOWED", "you may not: ask"]], [["crash"]]])
scripts = st.builds(lambda drawn, ending: [*itertools.chain(*drawn), *ending], st.lists(parts, max_size=5), endings)
endorsers = st.sampled_from([MSPIDS, MSPIDS, (), (), MSPIDS[:2], MSPIDS[1:], MSPIDS[:1], MSPIDS[2:]])
transient = st.dictionaries(st.text(max_size=2), st.binary(max_size=3), max_size=2)
blocks = st.lists(st.tuples(scripts, st.sampled_from(MSPIDS), endorsers, transient, st.integers(1, 2)), min_size=1, max_size=5)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both(network: FabricNetwork, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twins]:
    async with twins(network, tmp_path_factory.mktemp("embedded")) as both:
        yield both


def room() -> str:
    return f"{secrets.token_hex(8)}-"


def script(steps: Sequence[Sequence[Any]], here: str, **more: Any) -> Call:
    own = [[word.replace(ROOM, here) if isinstance(word, str) else word for word in step] for step in steps]
    return Call("script", (dumps(own),), **more)


async def everything(both: Twins, here: str) -> None:
    """What an example left is the same, whoever is asked."""
    for start, end in RANGES:
        await both.evaluate(script([["range", start, end, 1000]], here))
    await both.evaluate(script([[call, key] for key in KEYS for call in ("get", "policy")], here))


@settings(
    max_examples=15,
    deadline=None,
    # An example waits for blocks of a real network; the fixtures are the module's and hold nothing of an example.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(rounds=st.lists(blocks, min_size=1, max_size=3))
async def test_generated_transactions_have_the_same_outcome_on_both(both: Twins, rounds: Any) -> None:
    """Those of one list are endorsed on the same state and handed in one after the other, so that they collide."""
    here = room()
    for block in rounds:
        calls = [
            script(steps, here, caller=caller, endorsers=organisations, transient=secret, times=times)
            for steps, caller, organisations, secret, times in block
        ]
        await both.evaluate(calls[0])
        await both.commit(calls)
    await everything(both, here)


async def test_every_call_of_the_stub(both: Twins) -> None:
    here = room()
    write = [
        *(["put", key, f"value of {key}"] for key in KEYS),
        ["put", KEYS[0], "the last value counts"],
        ["set_policy", KEYS[1], POLICIES[0]],
        ["event", "first", "is overwritten"],
        ["event", "dose", "5 µg"],
        ["caller"],
        ["transient"],
        ["get", KEYS[0]],
    ]
    read = [*([call, key] for key in KEYS for call in ("get", "policy")), *(["range", *each, 10] for each in RANGES), ["delete", KEYS[2]]]
    assert {step[0] for step in (*write, *read)} | {"fill", "refuse", "crash"} == set(STEPS)
    secret = {"salt": b"only for the contract's eyes"}
    assert await both.commit([script(write, here, caller=MSPIDS[1], transient=secret)]) == ["VALID"]
    assert await both.commit([script(read, here)]) == ["VALID"]
    for ending in (["refuse", "NOT_ALLOWED", "you may not"], ["crash"], ["no such step"], ["get"]):
        call = script([["put", KEYS[0], "never written"], ending], here)
        assert isinstance(await both.evaluate(call), Failed)
        assert await both.commit([call]) == []
    await both.evaluate(Call("no-such-function", ()))
    await everything(both, here)


@pytest.mark.parametrize(
    "step",
    [
        *(["put", "", "v"], ["put", KEYS[0], ""], ["get", ""], ["delete", ""], ["event", "", "payload"]),
        *(["policy", ""], ["set_policy", "", POLICIES[0]], ["set_policy", KEYS[0], ""]),
    ],
    ids=str,
)
async def test_what_is_empty_is_refused_by_both(both: Twins, step: Step) -> None:
    call = script([step], room())
    assert isinstance(await both.evaluate(call), Failed)
    assert await both.commit([call]) == []


@pytest.mark.parametrize("count", [49, 50, 51, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1])
async def test_ranges_around_a_peers_limits(both: Twins, count: int) -> None:
    """Read whole, and left before and after a page's end: other readers' and writers' fates follow from what was read."""
    here = room()
    await both.commit([script([["fill", MANY, count]], here)])
    halves = sorted({1, min(PAGE, count), min(PAGE + 1, count), count + 1})
    reads = [script([["range", MANY, f"{MANY}~", most], ["put", f"{ROOM}{most}", "read"]], here) for most in halves]
    assert await both.commit(reads) == ["VALID"] * len(reads)
    await both.commit([script([["put", f"{MANY}{number:03}", "changed"]], here) for number in (0, PAGE, count)] + reads)
    await everything(both, here)


async def test_transactions_of_one_block_that_collide(both: Twins) -> None:
    here, (a, b) = room(), KEYS[:2]
    await both.commit([script([["put", a, "1"], ["put", b, "1"]], here)])
    calls = [
        script([["get", a], ["put", a, "2"]], here, times=2),
        script([["get", a], ["put", a, "3"]], here, caller=MSPIDS[1]),
        script([["range", *RANGES[0], 10], ["put", b, "4"]], here),
        script([["put", a, "blind"]], here),
        script([["put", b, "5"]], here, endorsers=MSPIDS[:1]),
        script([["get", b], ["delete", b]], here),
    ]
    codes = await both.commit(calls)
    assert codes == [
        *("VALID", "DUPLICATE_TXID", "MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT"),
        *("VALID", "ENDORSEMENT_POLICY_FAILURE", "VALID"),
    ]
    await everything(both, here)


async def test_keys_with_policies_of_their_own(both: Twins) -> None:
    """Set, obeyed, exchanged, and gone with their keys."""
    here, (owned, plain) = room(), KEYS[:2]
    await both.commit([script([["put", owned, "1"], ["set_policy", owned, POLICIES[0]]], here)])
    writes = [
        script([["put", key, "2"]], here, endorsers=organisations) for key in (owned, plain) for organisations in (MSPIDS, MSPIDS[1:])
    ]
    assert await both.commit(writes) == ["VALID", "ENDORSEMENT_POLICY_FAILURE", "VALID", "VALID"]
    moved = [["put", owned, "3"], ["set_policy", owned, POLICIES[2]]]
    late = [script(moved, here), script([["put", owned, "4"]], here), script([["delete", owned]], here, endorsers=MSPIDS[1:])]
    await both.commit(late)
    await both.commit(late[1:])
    await both.commit([script(moved, here), script(moved, here, endorsers=MSPIDS[:1])])
    await everything(both, here)


async def test_a_megabyte_passes(both: Twins) -> None:
    here = room()
    assert await both.commit([script([["put", KEYS[0], "x" * 1_000_000]], here)]) == ["VALID"]
    await both.evaluate(script([["get", KEYS[0]]], here))


async def test_both_chains_of_all_these_tests_verify(both: Twins) -> None:
    await both.verify()
