"""Faults in the middle of a round: the task completes, no debit, reward or contribution is counted twice, and the audit verifies."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from fabric_protos.peer import transaction_pb2

from fabric.canonical import dumps
from fabric.client.errors import ContractRefused, LedgerError
from fabric.client.events import ChaincodeEvent
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from fabric.contract import budget
from fabric.devpki import Organisation
from fabric.ledger import Ledger
from fabric.transactions import EndorserTransaction, parse_envelope
from gateway.auditor.verify import Recomputed, verify_ledger
from gateway.channel.current import read_channel
from gateway.channel.definition import define
from gateway.channel.update import propose, sign, submit
from tests.real_fabric.consortium import DATASET, GATEWAY, MSPIDS, SPENDS, Consortium, registered
from tests.support.fabric_network import FabricNetwork, running
from tests.support.faulty_proxy import Fault, FaultyProxy, proxy_before
from tests.support.mortal_service import ANSWER
from tests.support.raw_client import raw_client

pytestmark = pytest.mark.fabric

ALPHA, BETA, GAMMA = MSPIDS
# Programs take long to come back on a machine that is busy. Pauses are short: on one that is not they are back at once.
PATIENT = Patience(call_s=60.0, unavailable_s=200.0, conflict_s=200.0, commit_s=200.0, longest_pause_s=0.3)
SKEW_NS = 10 * 60 * 10**9


@pytest.fixture(scope="module")
def network(fabric_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricNetwork]:
    with running(fabric_home, tmp_path_factory.mktemp("network") / "fabric", orderers=3) as network:
        yield network


@pytest.fixture
async def consortium(network: FabricNetwork, connect: Callable[..., Gateway]) -> Consortium:
    return await registered(network, partial(connect, patience=PATIENT))


@pytest.fixture
def auditor(connect: Callable[..., Gateway]) -> Gateway:
    return connect(GAMMA, "user3", chaincode="consortium", patience=PATIENT)


Spent = dict[str, list[tuple[int, ...]]]


@dataclass(frozen=True)
class Round:
    """The one round of a task, open for contributions."""

    task_id: str
    consortium: Consortium

    async def spent(self) -> Spent:
        """Each hospital's filters of the patients that pay for a round."""
        paying = {spend.partition for spend in SPENDS}
        found = {mspid: await self.consortium.any.budget(mspid, DATASET) for mspid in MSPIDS}
        return {mspid: [each.spent_micro for each in view.filters if each.partition in paying] for mspid, view in found.items()}


@pytest.fixture
def opened(consortium: Consortium, auditor: Gateway) -> Callable[[str], Any]:
    """`async with opened("name") as round_`: a task's round, open before and carried to its end after."""

    @asynccontextmanager
    async def round_of(task_id: str) -> AsyncIterator[Round]:
        round_ = Round(task_id, consortium)
        await consortium.submit(task_id, rounds=1)
        await consortium.approve(task_id, rounds=1)
        await consortium.make_key(task_id)
        before, tokens = await round_.spent(), await _tokens(consortium)
        yield round_
        await consortium.decrypt(task_id, 1)
        await consortium.judge(task_id, 1)
        await _counted_once(round_, before, tokens)
        report = await verify_ledger(auditor)
        assert (report.reason, report.problems, report.recomputed) == ("", (), Recomputed(trust=True, balances=True, budgets=True))

    return round_of


async def _tokens(consortium: Consortium) -> int:
    task_ids = [each.task_id for each in await consortium.any.tasks()]
    escrows = [(await consortium.any.task(task_id)).escrow_micro for task_id in task_ids]
    return sum(each.balance_micro + each.bond_micro + each.vesting_micro for each in await consortium.any.organisations()) + sum(escrows)


async def _counted_once(round_: Round, before: Spent, tokens: int) -> None:
    consortium = round_.consortium
    task = await consortium.any.task(round_.task_id)
    assert (task.phase, task.round, task.escrow_micro) == ("finished", 1, 0)
    settlement = await consortium.any.settlement(round_.task_id, 1)
    assert settlement.accepted
    assert [entry.mspid for entry in settlement.hospitals if entry.contributed] == list(MSPIDS)
    costs = [budget.rdp_cost_micro(each.mechanism, each.noise_multiplier_micro, each.sampling_rate_ppm, each.steps) for each in SPENDS]
    once = {mspid: [budget.add(spent, cost) for spent, cost in zip(filters, costs, strict=True)] for mspid, filters in before.items()}
    assert await round_.spent() == once
    assert await _tokens(consortium) + settlement.remainder_micro == tokens


async def heard(client: Gateway, start: int, task_id: str, count: int) -> list[ChaincodeEvent]:
    """Wait until hospitals have announced so many steps of the task since block `start`."""
    listening, steps = client.chaincode_events(start_block=start), []
    while len(steps) < count:
        event = await anext(listening)
        steps += [event] if event.name == "progress" and task_id.encode() in event.payload else []
    await listening.aclose()
    return steps


async def test_each_of_three_orderers_is_killed_and_restarted(network: FabricNetwork, auditor: Gateway, opened) -> None:
    """One of them leads. A step of all hospitals is under way when one is killed, and ends before it is back."""
    async with AsyncExitStack() as last, opened("orderers") as round_:
        for number, step in ((1, round_.consortium.debit_and_commit), (2, round_.consortium.reveal)):
            start = await auditor.height()
            stepping = asyncio.create_task(step(round_.task_id, 1))
            await heard(auditor, start, round_.task_id, 1)
            network.kill(f"orderer-{number}")
            try:
                await stepping
            finally:
                network.start(f"orderer-{number}")
        network.kill("orderer-3")  # what is left of the round goes on without it
        last.callback(network.start, "orderer-3")


async def test_a_peer_is_killed(network: FabricNetwork, auditor: Gateway, opened) -> None:
    """Its hospital cannot debit without it; the others can, and it catches up."""
    async with opened("peer") as round_:
        start = await auditor.height()
        network.kill(f"peer-{BETA}")
        contributing = asyncio.create_task(round_.consortium.contribute(round_.task_id, 1))
        try:
            await heard(auditor, start, round_.task_id, 4)  # two debits, two commitments
        finally:
            network.start(f"peer-{BETA}")
        await contributing


async def test_a_chaincode_service_is_killed_at_each_message_of_a_debit(network: FabricNetwork, opened) -> None:
    service = f"chaincode-{ALPHA}"
    async with opened("service") as round_:
        network.kill(service)
        deaths = network.start_mortal(ALPHA, "debit")
        await round_.consortium.hospitals[ALPHA].debit(task_id=round_.task_id, round_number=1, spends=SPENDS)
        died = deaths.read_text().splitlines()
        network.stop(service)
        network.start(service)
        assert died[-1] == ANSWER
        assert {"GET_STATE", "PUT_STATE", "GET_STATE_METADATA"} <= set(died)
        await contribute_after(round_, {ALPHA})


async def contribute_after(round_: Round, debited: set[str]) -> None:
    """The rest of the contributions, where some hospitals have debited already."""
    with_debits = {mspid: _Debited(ledger) if mspid in debited else ledger for mspid, ledger in round_.consortium.hospitals.items()}
    await Consortium(with_debits, round_.consortium.researcher).contribute(round_.task_id, 1)  # type: ignore[arg-type]


class _Debited:
    """A ledger on which the hospital has debited: to do so again is refused."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def debit(self, **again: Any) -> None:
        with pytest.raises(ContractRefused, match="ALREADY_DEBITED"):
            await self._ledger.debit(**again)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


@pytest.fixture
async def line(network: FabricNetwork) -> AsyncIterator[FaultyProxy]:
    """A line to Beta's peer that can be cut."""
    files = network.organisation(BETA).files("peer")
    async with proxy_before(network.endpoint(BETA), network.tls_ca(BETA), files.tls_certificate, files.tls_private_key) as proxy:
        yield proxy


async def test_the_line_between_a_gateway_and_its_peer_is_cut(
    line: FaultyProxy, connect, consortium: Consortium, auditor: Gateway, opened
) -> None:
    """At every call of a round: before the peer has it, and before its answer is back. The stream of events is cut, too."""
    own = connect(BETA, GATEWAY, chaincode="consortium", patience=PATIENT, endpoint=line.endpoint)
    behind = replace(consortium, hospitals={**consortium.hospitals, BETA: Ledger(own)})
    async with opened("line") as round_:
        for method in ("Endorse", "Submit", "CommitStatus"):
            line.faults[method].extend([Fault(), Fault(delivered=True)] * 4)
        line.faults["ChaincodeEvents"].extend([Fault(), Fault(messages=1), Fault(messages=2)])
        start = await auditor.height()
        listening = [asyncio.create_task(heard(each, start, round_.task_id, 9)) for each in (own, auditor)]
        await behind.contribute(round_.task_id, 1)
        through, straight = await asyncio.gather(*listening)
        assert through == straight
        assert {method: len(left) for method, left in line.faults.items() if left} == {}


async def test_a_debit_is_handed_in_many_times(network: FabricNetwork, auditor: Gateway, opened) -> None:
    async with opened("duplicate") as round_, AsyncExitStack() as stack:
        places = [network.place(mspid, "consortium") for mspid in MSPIDS]
        peers = [await stack.enter_async_context(raw_client(place, network.identity(ALPHA, GATEWAY))) for place in places]
        argument = {"task_id": round_.task_id, "round": 1, "spends": [asdict(spend) for spend in SPENDS]}
        proposals = [peers[0].proposal(b"debit", dumps(argument)) for _ in range(2)]
        # Two transactions that each would debit, endorsed before either is written, each handed in at every peer, and once more after.
        envelopes = [(each.tx_id, peers[0].envelope(await peers[0].endorse(each))) for each in proposals]
        await asyncio.gather(*(peer.send(*each) for peer in peers for each in envelopes))
        codes = [await peers[0].status(tx_id) for tx_id, _ in envelopes]
        await peers[0].send(*envelopes[0])
        assert [await peers[0].status(tx_id) for tx_id, _ in envelopes] == codes
        await contribute_after(round_, {ALPHA})
        report = await verify_ledger(auditor)
        assert report.codes["DUPLICATE_TXID"] >= len(envelopes) * (len(peers) - 1)
        assert sorted(code for code, _ in codes) == [transaction_pb2.VALID, transaction_pb2.MVCC_READ_CONFLICT]


async def test_clocks_that_are_ten_minutes_off(connect, consortium: Consortium, auditor: Gateway, opened) -> None:
    """One hospital's is ahead, another's behind. The contract knows no time; peers let such calls and listeners pass."""
    off = {BETA: SKEW_NS, GAMMA: -SKEW_NS}
    gateways = {
        mspid: connect(mspid, GATEWAY, chaincode="consortium", patience=PATIENT, time_ns=lambda by=by: time.time_ns() + by)
        for mspid, by in off.items()
    }
    skewed = replace(consortium, hospitals={**consortium.hospitals, **{mspid: Ledger(each) for mspid, each in gateways.items()}})
    async with opened("clocks") as round_:
        start = await auditor.height()
        await skewed.contribute(round_.task_id, 1)
        for mspid, gateway in gateways.items():
            assert await gateway.height() > start
            await heard(gateway, start, round_.task_id, 1)
            times = [each.timestamp async for each in transactions_of(auditor, start, mspid)]
            apart = [abs((datetime.now(UTC) - each).total_seconds()) for each in times if each]
            assert apart and all(seconds > 300 for seconds in apart)


async def transactions_of(client: Gateway, start: int, mspid: str) -> AsyncIterator[EndorserTransaction]:
    async for block in client.blocks(start=start, stop=await client.height() - 1):
        for data in block.data.data:
            parsed = parse_envelope(data)
            if isinstance(parsed, EndorserTransaction) and mspid.encode() in parsed.creator:
                yield parsed


async def test_the_channels_configuration_is_updated(network: FabricNetwork, connect, tmp_path: Path, opened) -> None:
    """A hospital revokes a certificate while the others contribute: from then on its holder is a stranger, and nobody else is."""
    admin, revoked = connect(BETA, "admin", patience=PATIENT), connect(BETA, "user3", patience=PATIENT)
    await revoked.evaluate("caller")
    async with opened("update") as round_:
        contributing = asyncio.create_task(round_.consortium.contribute(round_.task_id, 1))
        organisation, crl = network.organisation(BETA), tmp_path / "crl.pem"
        crl.write_bytes(revocation_list(organisation, "user3"))
        definition = define(
            BETA,
            authorities=[organisation.ca],
            intermediates=[],
            tls_authorities=[organisation.tls_ca],
            revocation_lists=[crl],
            anchor_peers=[],
            now=datetime.now(UTC),
        )
        current, identity = await read_channel(admin), network.identity(BETA, "admin")
        await submit(admin, sign(current, propose(current, definition), identity), identity)
        with pytest.raises(LedgerError, match="access denied"):
            await revoked.evaluate("caller")
        await contributing


def revocation_list(organisation: Organisation, name: str) -> bytes:
    authority = x509.load_pem_x509_certificate(organisation.ca.read_bytes())
    key: Any = serialization.load_pem_private_key(organisation.ca_key.read_bytes(), password=None)
    serial = x509.load_pem_x509_certificate(organisation.files(name).certificate.read_bytes()).serial_number
    now = datetime.now(UTC) - timedelta(minutes=1)
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject).last_update(now).next_update(now + timedelta(days=1))
    builder = builder.add_revoked_certificate(entry).add_extension(issuer, critical=False).add_extension(x509.CRLNumber(1), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
