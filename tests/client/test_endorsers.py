"""Whom a client asks to endorse: enough for every policy, its own peer first, and others where one fails."""

import asyncio
from collections.abc import Sequence

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2
from hypothesis import given
from hypothesis import strategies as st

from fabric.client.attempts import Attempts
from fabric.client.endorse import _others_tried
from fabric.client.endorsers import Endorsers, Organisations
from fabric.client.errors import ContractRefused, Failure, LedgerUnavailable
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from tests.client.conftest import Connect
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.ledger import MSPIDS

NAMES = [f"Org{number:02d}MSP" for number in range(24)]


def endorsers(members: Sequence[str], owners: Sequence[str], *, own: str, clock: list[float] | None = None) -> Endorsers:
    async def read() -> Organisations:
        return Organisations(members, owners)

    now = clock or [0.0]
    return Endorsers(lambda: own, read, clock=lambda: now[0])


@given(st.integers(1, 24).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size), st.data())))
def test_an_owner_names_itself_a_majority_of_all_and_a_majority_of_the_owners(drawn: tuple[int, int, st.DataObject]) -> None:
    size, owning, data = drawn
    members, owners = NAMES[:size], NAMES[:owning]
    own = data.draw(st.sampled_from(owners))
    named = asyncio.run(endorsers(members, owners, own=own).named())
    assert own in named
    assert len(set(named)) == len(named) > size / 2
    assert len(set(named) & set(owners)) > owning / 2


async def test_who_failed_is_asked_again_only_after_a_while_or_where_the_others_are_too_few() -> None:
    now = [0.0]
    asking = endorsers(NAMES[:4], NAMES[:4], own=NAMES[0], clock=now)
    asking.avoid([NAMES[0]])
    assert set(await asking.named()) == set(NAMES[1:4])
    assert NAMES[0] in await asking.named(by_own=True)
    asking.avoid([NAMES[1]])
    assert set(NAMES[2:4]) < set(await asking.named())
    now[0] = 11.0
    assert (await asking.named())[0] == NAMES[0]


async def test_every_one_is_drawn_in_time() -> None:
    asking = endorsers(NAMES[:6], NAMES[:6], own=NAMES[0])
    drawn = {mspid for _ in range(200) for mspid in await asking.named()}
    assert drawn == set(NAMES[:6])


async def test_the_organisations_are_read_once_and_again_when_they_were_not_enough() -> None:
    answers = [Organisations(NAMES[:3], NAMES[:3]), Organisations(NAMES[:5], NAMES[:5])]

    async def read() -> Organisations:
        return answers.pop(0)

    asking = Endorsers(lambda: NAMES[0], read)
    assert [len(await asking.named()) for _ in range(2)] == [2, 2]
    asking.forget()
    assert len(await asking.named()) == 3


async def test_a_caller_who_may_not_ask_leaves_the_choice_to_the_peer() -> None:
    async def refused() -> Organisations:
        raise ContractRefused("DENIED", "not registered")

    assert await Endorsers(lambda: NAMES[0], refused).named() == []


@pytest.fixture
def naming(connect: Connect) -> Gateway:
    async def read(_: Gateway) -> Organisations:
        return Organisations(MSPIDS, MSPIDS)

    client = connect()
    client.name_endorsers(read)
    return client


def named_in(request: bytes) -> list[str]:
    return list(gateway_pb2.EndorseRequest.FromString(request).endorsing_organizations)


async def test_the_request_names_a_majority_and_the_transaction_is_valid(naming: Gateway, proxy: FaultyProxy) -> None:
    assert (await naming.submit("increment", b"counter")).result == b"1"
    (named,) = map(named_in, proxy.seen["Endorse"])
    assert (named[0], len(named)) == ("AlphaMSP", 2)


async def test_one_that_no_peer_sees_is_left_out_the_next_time(naming: Gateway, proxy: FaultyProxy) -> None:
    proxy.faults["Endorse"].append(Fault(grpc.StatusCode.UNAVAILABLE, "failed to find any endorsing peers for org(s): AlphaMSP"))
    await naming.submit("increment", b"counter")
    first, second = map(named_in, proxy.seen["Endorse"])
    assert "AlphaMSP" in first
    assert set(second) == {"BetaMSP", "GammaMSP"}


async def test_too_few_are_asked_for_once_more_from_the_ledger(connect: Connect, proxy: FaultyProxy) -> None:
    """As where an organisation has joined since: what a majority was before is none now, and the block says so."""
    known = [MSPIDS[:1], MSPIDS]

    async def read(_: Gateway) -> Organisations:
        return Organisations(known[0], known.pop(0))

    client = connect()
    client.name_endorsers(read)
    assert (await client.submit("increment", b"counter")).result == b"1"
    assert [len(named_in(request)) for request in proxy.seen["Endorse"]] == [1, 2]
    assert await client.evaluate("get", b"counter") == b"1"


async def test_a_refusal_is_final_and_not_asked_for_twice(naming: Gateway, proxy: FaultyProxy) -> None:
    with pytest.raises(ContractRefused):
        await naming.submit("refuse")
    assert len(proxy.seen["Endorse"]) == 1


def failed(*details: tuple[str, str]) -> Failure:
    texts = tuple(f"{mspid} at peer:7051: {text}" for mspid, text in details)
    message = "failed to collect enough transaction endorsements, see attached details for more info"
    return Failure(grpc.StatusCode.ABORTED, message, texts, tuple(mspid for mspid, _ in details))


BEHIND = "chaincode response 500, WRONG_PHASE: not yet"
DEAD = "rpc error: code = Unavailable desc = connection refused"


@pytest.mark.parametrize(
    ("failure", "again", "avoided"),
    [
        (failed(("Org01MSP", BEHIND)), True, set()),  # another organisation's peer has not seen the newest block
        (failed(("Org01MSP", DEAD)), True, {"Org01MSP"}),
        (failed(("Org01MSP", DEAD), ("Org02MSP", BEHIND)), True, {"Org01MSP"}),
        (failed(("Org00MSP", BEHIND)), False, set()),  # the caller's own peer has
        (failed(("Org00MSP", BEHIND), ("Org01MSP", DEAD), ("Org02MSP", BEHIND)), False, set()),
        (failed(("Org00MSP", DEAD), ("Org01MSP", BEHIND), ("Org02MSP", BEHIND)), False, set()),  # nobody endorsed
        (failed(("Org01MSP", "ProposalResponsePayloads do not match")), True, {"Org01MSP"}),
    ],
)
async def test_others_are_asked_unless_the_contract_refuses(connect: Connect, failure: Failure, again: bool, avoided: set[str]) -> None:
    asking = endorsers(NAMES[:5], NAMES[:5], own=NAMES[0])
    attempts = Attempts(connect()._connection)
    assert await _others_tried(asking, attempts, NAMES[:3], failure) is again
    drawn = {mspid for _ in range(50) for mspid in await asking.named()}
    assert set(NAMES[:5]) - drawn == avoided


async def test_no_ledger_no_endorsers(connect: Connect) -> None:
    async def read(_: Gateway) -> Organisations:
        raise LedgerUnavailable("the ledger is away")

    client = connect(patience=Patience(unavailable_s=0.0))
    client.name_endorsers(read)
    with pytest.raises(LedgerUnavailable, match="is away"):
        await client.submit("increment", b"counter")
