"""What a peer does with a proposal: check who sent it, run the contract on the committed state, sign the outcome.

Every organisation's peer key is held here, so one simulation is signed by as many of them as the endorsement policy needs.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import proposal_pb2

from fabric.channel import ChannelConfig
from fabric.contract.errors import ContractError
from fabric.crypto import IdentityError, SigningIdentity, verify_signature
from fabric.devledger.ledger import Ledger
from fabric.devledger.own_transactions import Endorsed, OwnTransactions
from fabric.devledger.simulation import Contract, SimulatedStub
from fabric.devledger.store import Store
from fabric.devledger.validation import KeyPolicies
from fabric.endorsement import EndorsementRules
from fabric.msp import Member, MspRegistry
from fabric.rwset import NamespaceRwset
from fabric.transactions import (
    Endorsement,
    Event,
    MalformedTransaction,
    Proposal,
    Response,
    assemble,
    check_tx_id,
    parse_proposal,
)

SUCCESS = 200
FAILURE = 500
INTERNAL = "INTERNAL: the contract failed on this call; the ledger's log names the error"

_log = logging.getLogger(__name__)


class ProposalRefused(Exception):  # noqa: N818 - Fabric's peers speak of refused proposals
    """A peer will not run the proposal; the message is what a Fabric peer says."""


@dataclass(frozen=True)
class Simulation:
    """The contract's answer (status 200, or 500 with its refusal) and, if it succeeded, its effects."""

    response: Response
    rwset: NamespaceRwset
    policies: Mapping[str, bytes]
    """The endorsement policies of the keys that it changes, where they have their own."""
    event: Event | None


class Endorser:
    """All organisations' peers in one; `organisations` are the MSPs whose members may call, `version` is the contract's in force."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: Store,
        channel: ChannelConfig,
        chaincode: str,
        organisations: MspRegistry,
        peers: Sequence[SigningIdentity],
        contract: Contract,
        version: str,
        clock: Callable[[], datetime],
        own: OwnTransactions,
    ) -> None:
        self._ledger, self._store, self._config, self._channel, self._chaincode = ledger, store, channel, channel.channel, chaincode
        self._organisations, self._contract, self._version, self._clock, self._own = organisations, contract, version, clock, own
        self._peers = {peer.mspid: (peer, peer.serialized) for peer in peers}
        self._members = {peer.mspid: organisations.authenticate(peer.serialized, None) for peer in peers}

    @property
    def first(self) -> str:
        """The organisation that answers for this ledger: the first of the configuration."""
        return next(iter(self._peers))

    def enough(self, simulation: Simulation, caller: str) -> list[str]:
        """The organisations that endorse where the client leaves the choice: as few as satisfy the policies of what is written.

        Taken in the configuration's order, the caller's own first if it takes more than the first majority. Raises ProposalRefused
        where all together are not enough.
        """
        rules = EndorsementRules(self._config, KeyPolicies(lambda key: simulation.policies.get(key, b""), self._chaincode))
        for mspids in self._choices(caller):
            if not rules.failures(self._chaincode, [simulation.rwset], [self._members[mspid] for mspid in mspids]):
                return mspids
        raise ProposalRefused("no combination of peers can be derived which satisfy the endorsement policy")

    def _choices(self, caller: str) -> Iterator[list[str]]:
        majority = len(self._peers) // 2 + 1
        yield list(self._peers)[:majority]
        ordered = sorted(self._peers, key=lambda mspid: mspid != caller)
        yield from (ordered[:size] for size in range(majority, len(ordered) + 1))

    def unknown(self, mspids: Sequence[str]) -> list[str]:
        """Those of `mspids` that have no peer here."""
        return [mspid for mspid in mspids if mspid not in self._peers]

    def admit(self, signed: proposal_pb2.SignedProposal) -> tuple[Proposal, Member]:
        """Check a signed proposal as a peer does before it runs anything.

        Raises MalformedTransaction if it cannot be read, ProposalRefused if its sender, id or target is not acceptable.
        """
        proposal = parse_proposal(signed.proposal_bytes)
        if proposal.headers.channel != self._channel:
            raise ProposalRefused(f"channel '{proposal.headers.channel}' not found")
        if proposal.headers.type != common_pb2.ENDORSER_TRANSACTION:
            raise ProposalRefused(f"error validating proposal: invalid header type {proposal.headers.type}")
        try:
            check_tx_id(proposal.headers)
            member = self._sender(signed, proposal)
        except (IdentityError, MalformedTransaction) as error:
            raise ProposalRefused(f"error validating proposal: access denied: channel [{self._channel}]: {error}") from error
        if self._ledger.transaction(proposal.headers.tx_id) is not None:
            raise ProposalRefused(f"duplicate transaction found [{proposal.headers.tx_id}]. Creator [{proposal.headers.creator.hex()}]")
        if proposal.chaincode != self._chaincode:
            raise ProposalRefused(
                f"make sure the chaincode {proposal.chaincode} has been successfully defined on channel {self._channel} and try again: "
                f"chaincode {proposal.chaincode} not found"
            )
        return proposal, member

    def _sender(self, signed: proposal_pb2.SignedProposal, proposal: Proposal) -> Member:
        if not proposal.headers.nonce:
            raise IdentityError("the nonce is empty")
        member = self._organisations.authenticate(proposal.headers.creator, self._clock())
        verify_signature(member.certificate, signed.proposal_bytes, signed.signature)
        return member

    def simulate(self, proposal: Proposal, member: Member) -> Simulation:
        """Run the contract on a snapshot of the committed state. Never raises: a refusal or a failure is the response."""
        with self._store.snapshot() as state:
            stub = SimulatedStub(
                state,
                tx_id=proposal.headers.tx_id,
                mspid=member.mspid,
                certificate_pem=_certificate(proposal),
                transient=proposal.transient,
            )
            response, rwset = self._call(stub, proposal), stub.rwset(self._chaincode)
            policies = {key: policy for key in _changed(rwset) if (policy := state.policy(key))}
        return Simulation(response, rwset, policies, stub.event(self._chaincode))

    def _call(self, stub: SimulatedStub, proposal: Proposal) -> Response:
        try:
            return Response(SUCCESS, "", self._contract(stub, proposal.function, proposal.args[1:]))
        except ContractError as refusal:
            return Response(FAILURE, str(refusal), b"")
        except Exception:  # a mistake in the contract must fail this call only
            _log.exception("the contract failed in transaction %s", proposal.headers.tx_id)
            return Response(FAILURE, INTERNAL, b"")

    def endorse(self, proposal: Proposal, simulation: Simulation, mspids: Sequence[str]) -> bytes:
        """`common.Payload` bytes of the transaction, endorsed by the peers of `mspids`, for the client to sign."""
        transaction = assemble(
            proposal,
            chaincode_version=self._version,
            rwset=simulation.rwset,
            response=simulation.response,
            event=simulation.event,
            sign=lambda response: [Endorsement(name, peer.sign(response + name)) for peer, name in map(self._peers.__getitem__, mspids)],
        )
        self._own.remember(Endorsed(transaction, tuple(self._members[mspid] for mspid in mspids)))
        return transaction.payload


def _certificate(proposal: Proposal) -> bytes:
    pem: bytes = identities_pb2.SerializedIdentity.FromString(proposal.headers.creator).id_bytes
    return pem


def _changed(rwset: NamespaceRwset) -> Iterator[str]:
    """The keys that a simulation writes or gives another policy."""
    yield from (write.key for write in rwset.writes)
    yield from (str(write.key) for write in rwset.metadata_writes)
