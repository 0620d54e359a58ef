"""The verifier on hand-made ledgers: honest ones pass, and each kind of tampering fails at its block and step."""

from collections.abc import Callable
from typing import Any

import pytest
from fabric_protos.common import common_pb2, policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import transaction_pb2

from fabric.blocks import LAST_CONFIG, ORDERER, SIGNATURES, TRANSACTIONS_FILTER, build_block, data_hash, header_hash
from fabric.checkpoint import Checkpoint
from fabric.contract.key_policies import owner_policy
from fabric.crypto import SigningIdentity
from fabric.mvcc import summarise
from fabric.rwset import RangeQuery, Read, Version
from fabric.verify import Step, VerificationError, verify_blocks
from tests.support.chain import MVCC_READ_CONFLICT, VALID, Consortium

Tamper = Callable[[Consortium], None]


def ledger() -> Consortium:
    chain = Consortium()
    chain.put(a=b"1", b=b"2")
    chain.add(
        [
            chain.transaction(reads=[("a", (1, 0))], writes=[("a", b"3")]),
            chain.transaction(reads=[("a", (1, 0))], writes=[("a", b"4")]),
        ],
        [VALID, MVCC_READ_CONFLICT],
    )
    chain.put(c=b"5")
    return chain


def failure(chain: Consortium) -> tuple[int, Step]:
    with pytest.raises(VerificationError) as caught:
        verify_blocks(chain.blocks)
    return caught.value.block_number, caught.value.step


def test_an_honest_ledger_verifies_and_its_state_is_that_of_the_valid_transactions() -> None:
    chain = ledger()
    found = verify_blocks(chain.blocks)
    assert (found.height, found.channel, found.last_hash) == (4, "consortium", header_hash(chain.blocks[-1].header))
    assert found.organisations == ("AlphaMSP", "BetaMSP", "GammaMSP")
    assert found.codes == {"VALID": 4, "MVCC_READ_CONFLICT": 1}
    assert (found.transactions, found.valid, found.invalid) == (5, 4, 1)
    assert found.state.public("consortium") == {"a": b"3", "b": b"2", "c": b"5"}


def _flip_code(chain: Consortium) -> None:
    chain.blocks[2].metadata.metadata[TRANSACTIONS_FILTER] = bytes([VALID, VALID])


def _drop_code(chain: Consortium) -> None:
    chain.blocks[2].metadata.metadata[TRANSACTIONS_FILTER] = bytes([VALID])


def _swap_transactions(chain: Consortium) -> None:
    data = chain.blocks[2].data.data
    data[0], data[1] = data[1], data[0]


def _swap_transactions_and_rehash(chain: Consortium) -> None:
    _swap_transactions(chain)
    chain.blocks[2].header.data_hash = data_hash(chain.blocks[2].data.data)


def _drop_block(chain: Consortium) -> None:
    del chain.blocks[2]


def _renumbered_drop(chain: Consortium) -> None:
    del chain.blocks[2]
    chain.blocks[2].header.number = 2


def _fork(chain: Consortium) -> None:
    other = ledger()
    other.hospitals, other.orderer = chain.hospitals, chain.orderer
    chain.blocks[2:] = other.blocks[2:]


def _foreign_orderer(chain: Consortium) -> None:
    block = chain.blocks[3]
    chain.blocks[3] = build_block(3, block.header.previous_hash, list(block.data.data), [VALID], Consortium().orderer.orderer, 0, b"n" * 24)


def _hospital_as_orderer(chain: Consortium) -> None:
    block = chain.blocks[3]
    chain.blocks[3] = build_block(3, block.header.previous_hash, list(block.data.data), [VALID], chain.hospitals[0].peer, 0, b"n" * 24)


def _no_signature(chain: Consortium) -> None:
    metadata = common_pb2.Metadata.FromString(chain.blocks[3].metadata.metadata[SIGNATURES])
    del metadata.signatures[:]
    chain.blocks[3].metadata.metadata[SIGNATURES] = metadata.SerializeToString()


def _second_name(chain: Consortium) -> None:
    metadata = common_pb2.Metadata.FromString(chain.blocks[3].metadata.metadata[SIGNATURES])
    metadata.signatures[0].identifier_header = common_pb2.IdentifierHeader(identifier=7).SerializeToString()
    chain.blocks[3].metadata.metadata[SIGNATURES] = metadata.SerializeToString()


def _repeated_signature(chain: Consortium) -> None:
    metadata = common_pb2.Metadata.FromString(chain.blocks[3].metadata.metadata[SIGNATURES])
    metadata.signatures.append(metadata.signatures[0])
    chain.blocks[3].metadata.metadata[SIGNATURES] = metadata.SerializeToString()


def _last_config(chain: Consortium) -> None:
    value = common_pb2.LastConfig(index=1).SerializeToString()
    chain.blocks[3].metadata.metadata[LAST_CONFIG] = common_pb2.Metadata(value=value).SerializeToString()


def _orderer_slot(chain: Consortium) -> None:
    chain.blocks[3].metadata.metadata[ORDERER] = b"\x0a\x01x"


def _commit_hash_appears(chain: Consortium) -> None:
    chain.blocks[3].metadata.metadata[4] = common_pb2.Metadata(value=b"h" * 32).SerializeToString()


def _commit_hash_invented(chain: Consortium) -> None:
    chain.blocks[1].metadata.metadata[4] = common_pb2.Metadata(value=b"h" * 32).SerializeToString()


def _extra_slot(chain: Consortium) -> None:
    chain.blocks[3].metadata.metadata.append(b"")


def _unknown_field(chain: Consortium) -> None:
    chain.blocks[3].MergeFromString(b"\x7a\x03abc")


def _genesis_orderer_slot(chain: Consortium) -> None:
    chain.blocks[0].metadata.metadata[ORDERER] = b"\x0a\x01x"


@pytest.mark.parametrize(
    ("tamper", "block", "step"),
    [
        (_flip_code, 2, Step.TRANSACTIONS),
        (_drop_code, 2, Step.TRANSACTIONS),
        (_swap_transactions, 2, Step.DATA_HASH),
        (_swap_transactions_and_rehash, 2, Step.ORDERER_SIGNATURES),
        (_drop_block, 2, Step.NUMBER),
        (_renumbered_drop, 2, Step.PREVIOUS_HASH),
        (_fork, 2, Step.PREVIOUS_HASH),
        (_foreign_orderer, 3, Step.ORDERER_SIGNATURES),
        (_hospital_as_orderer, 3, Step.ORDERER_SIGNATURES),
        (_no_signature, 3, Step.ORDERER_SIGNATURES),
        (_second_name, 3, Step.ORDERER_SIGNATURES),
        (_repeated_signature, 3, Step.ORDERER_SIGNATURES),
        (_last_config, 3, Step.METADATA),
        (_orderer_slot, 3, Step.METADATA),
        (_commit_hash_appears, 3, Step.METADATA),
        (_commit_hash_invented, 1, Step.METADATA),
        (_extra_slot, 3, Step.ENCODING),
        (_unknown_field, 3, Step.ENCODING),
        (_genesis_orderer_slot, 0, Step.METADATA),
    ],
)
def test_tampering_is_found_at_its_block(tamper: Tamper, block: int, step: Step) -> None:
    chain = ledger()
    tamper(chain)
    assert failure(chain) == (block, step)


def test_an_empty_ledger_does_not_verify() -> None:
    with pytest.raises(VerificationError, match="empty"):
        verify_blocks([])


def test_a_checkpoint_exposes_a_rollback_and_a_fork() -> None:
    chain = ledger()
    kept = Checkpoint(3, header_hash(chain.blocks[3].header))
    assert verify_blocks(chain.blocks, checkpoints=[kept]).height == 4
    with pytest.raises(VerificationError, match="rolled back") as rolled_back:
        verify_blocks(chain.blocks[:3], checkpoints=[kept])
    assert (rolled_back.value.block_number, rolled_back.value.step) == (3, Step.CHECKPOINT)
    with pytest.raises(VerificationError, match="forked") as forked:
        verify_blocks(chain.blocks, checkpoints=[Checkpoint(1, b"x" * 32)])
    assert (forked.value.block_number, forked.value.step) == (1, Step.CHECKPOINT)


class TestEndorsement:
    """Transactions that the orderers signed into a block, but that the recorded code calls valid without right."""

    def expect(self, chain: Consortium, envelope: bytes, code: str) -> None:
        wanted = transaction_pb2.TxValidationCode.Value(code)
        chain.add([envelope])
        with pytest.raises(VerificationError, match=code) as caught:
            verify_blocks(chain.blocks)
        assert caught.value.step is Step.TRANSACTIONS
        chain.blocks[-1].metadata.metadata[TRANSACTIONS_FILTER] = bytes([wanted])
        assert verify_blocks(chain.blocks).codes[code] == 1

    def test_one_organisation_is_no_majority(self) -> None:
        chain = ledger()
        self.expect(chain, chain.transaction(endorsers=[chain.hospitals[0].peer]), "ENDORSEMENT_POLICY_FAILURE")

    def test_two_endorsements_by_one_organisation_are_no_majority(self) -> None:
        chain = ledger()
        peer = chain.hospitals[0].peer
        self.expect(chain, chain.transaction(endorsers=[peer, peer]), "ENDORSEMENT_POLICY_FAILURE")

    def test_clients_cannot_endorse(self) -> None:
        chain = ledger()
        self.expect(chain, chain.transaction(endorsers=[hospital.client for hospital in chain.hospitals]), "ENDORSEMENT_POLICY_FAILURE")

    def test_a_peer_of_another_consortium_cannot_endorse(self) -> None:
        chain = ledger()
        forged = Consortium().hospitals[1].peer  # same MSP id, another certificate authority
        self.expect(chain, chain.transaction(endorsers=[chain.hospitals[0].peer, forged]), "ENDORSEMENT_POLICY_FAILURE")

    def test_an_endorsement_of_another_result_does_not_count(self) -> None:
        chain = ledger()
        envelope = common_pb2.Envelope.FromString(chain.transaction(writes=[("k", b"honest")]))
        payload = envelope.payload.replace(b"honest", b"forged")
        client = chain.hospitals[0].client
        forged = common_pb2.Envelope(payload=payload, signature=client.sign(payload)).SerializeToString()
        self.expect(chain, forged, "ENDORSEMENT_POLICY_FAILURE")

    def test_a_creator_must_have_signed(self) -> None:
        chain = ledger()
        envelope = common_pb2.Envelope.FromString(chain.transaction())
        envelope.signature = chain.hospitals[1].client.sign(envelope.payload)
        self.expect(chain, envelope.SerializeToString(), "BAD_CREATOR_SIGNATURE")

    def test_a_creator_must_belong_to_the_channel(self) -> None:
        chain = ledger()
        self.expect(chain, chain.transaction(creator=Consortium().hospitals[0].client), "BAD_CREATOR_SIGNATURE")

    def test_arguments_must_be_those_that_were_endorsed(self) -> None:
        chain = ledger()
        envelope = common_pb2.Envelope.FromString(chain.transaction(b"pay", b"0001"))
        payload = envelope.payload.replace(b"0001", b"9999")
        signed = common_pb2.Envelope(payload=payload, signature=chain.hospitals[0].client.sign(payload))
        self.expect(chain, signed.SerializeToString(), "INVALID_ENDORSER_TRANSACTION")

    def test_a_transaction_id_must_be_the_digest_of_nonce_and_creator(self) -> None:
        chain = ledger()
        envelope = chain.transaction()
        tx_id = verify_tx_id(envelope)
        payload = common_pb2.Envelope.FromString(envelope).payload.replace(tx_id.encode(), b"0" * 64)
        signed = common_pb2.Envelope(payload=payload, signature=chain.hospitals[0].client.sign(payload))
        self.expect(chain, signed.SerializeToString(), "BAD_PROPOSAL_TXID")

    def test_a_transaction_cannot_be_replayed_in_a_later_block(self) -> None:
        chain = ledger()
        envelope = chain.transaction(writes=[("k", b"v")])
        chain.add([envelope])
        self.expect(chain, envelope, "DUPLICATE_TXID")

    def test_a_transaction_cannot_stand_twice_in_one_block(self) -> None:
        chain = ledger()
        envelope = chain.transaction(writes=[("k", b"v")])
        chain.add([envelope, envelope], [VALID, transaction_pb2.DUPLICATE_TXID])
        assert verify_blocks(chain.blocks).codes["DUPLICATE_TXID"] == 1
        chain.blocks[-1].metadata.metadata[TRANSACTIONS_FILTER] = bytes([VALID, VALID])
        assert failure(chain) == (4, Step.TRANSACTIONS)

    def test_bytes_that_are_no_transaction_are_invalid(self) -> None:
        chain = ledger()
        self.expect(chain, b"\xff\xff", "INVALID_OTHER_REASON")
        chain.add([common_pb2.Envelope(payload=b"\xff").SerializeToString()], [transaction_pb2.BAD_PAYLOAD])
        assert verify_blocks(chain.blocks).codes["BAD_PAYLOAD"] == 1

    def test_an_invalid_transaction_cannot_be_called_invalid_for_another_reason(self) -> None:
        chain = ledger()
        chain.add([chain.transaction(endorsers=[])], [transaction_pb2.BAD_CREATOR_SIGNATURE])
        assert failure(chain) == (4, Step.TRANSACTIONS)


class TestKeyPolicies:
    """The first hospital's budget, whose policy asks for its own peer and a majority."""

    def guarded(self) -> Consortium:
        chain = ledger()
        mspids = [hospital.mspid for hospital in chain.hospitals]
        chain.add([chain.transaction(writes=[("budget", b"1")], policies=[("budget", owner_policy(mspids[0], mspids))])])
        return chain

    @pytest.mark.parametrize("endorsers", [(1, 2), (0,), (1,), ()])
    @pytest.mark.parametrize("write", [{"writes": [("budget", b"2")]}, {"writes": [("budget", None)]}, {"policies": [("budget", b"")]}])
    def test_without_the_owner_and_a_majority_nothing_of_it_changes(self, endorsers: tuple[int, ...], write: dict[str, Any]) -> None:
        chain = self.guarded()
        peers = [chain.hospitals[number].peer for number in endorsers]
        TestEndorsement().expect(chain, chain.transaction(**write, endorsers=peers), "ENDORSEMENT_POLICY_FAILURE")

    def test_an_endorsement_in_the_owners_name_by_another_key_does_not_count(self) -> None:
        chain = self.guarded()
        owner, second, third = (hospital.peer for hospital in chain.hospitals)
        forged = SigningIdentity(owner.mspid, owner.certificate_pem, second.private_key)
        envelope = chain.transaction(writes=[("budget", b"2")], endorsers=[forged, second, third])
        TestEndorsement().expect(chain, envelope, "ENDORSEMENT_POLICY_FAILURE")

    def test_with_them_it_changes_and_keeps_its_policy(self) -> None:
        chain = self.guarded()
        for endorsers in ((0, 1), (2, 0)):
            chain.add([chain.transaction(writes=[("budget", b"2")], endorsers=[chain.hospitals[number].peer for number in endorsers])])
        TestEndorsement().expect(
            chain,
            chain.transaction(writes=[("budget", b"3")], endorsers=[h.peer for h in chain.hospitals[1:]]),
            "ENDORSEMENT_POLICY_FAILURE",
        )

    def test_one_key_with_a_policy_does_not_excuse_the_others_of_the_contracts(self) -> None:
        chain = self.guarded()
        mspids = [hospital.mspid for hospital in chain.hospitals]
        alone = [chain.hospitals[0].peer]
        chain.add([chain.transaction(writes=[("loose", b"1")], policies=[("loose", peer_of(mspids[0]))])])
        chain.add([chain.transaction(writes=[("loose", b"2")], endorsers=alone)])  # Fabric asks for nothing but the key's own policy
        both = chain.transaction(writes=[("loose", b"3"), ("free", b"1")], endorsers=alone)
        TestEndorsement().expect(chain, both, "ENDORSEMENT_POLICY_FAILURE")

    @pytest.mark.parametrize("first", [{"policies": [("a", b"")]}, {"policies": [("a", b"")], "reads": [("a", (9, 9))]}])
    def test_a_policy_that_changes_makes_later_writers_of_its_block_invalid(self, first: dict[str, Any]) -> None:
        """Even where the change itself comes to nothing, for a read that was overtaken: endorsements are judged before reads."""
        chain = ledger()
        everyone = [hospital.peer for hospital in chain.hospitals]
        change = chain.transaction(**first, endorsers=everyone)
        writer, other = chain.transaction(writes=[("a", b"2")], endorsers=everyone), chain.transaction(writes=[("b", b"2")])
        failure_code = transaction_pb2.ENDORSEMENT_POLICY_FAILURE
        codes = [MVCC_READ_CONFLICT if "reads" in first else VALID, failure_code, VALID]
        chain.add([change, writer, other], codes)
        verify_blocks(chain.blocks)
        chain.blocks[-1].metadata.metadata[TRANSACTIONS_FILTER] = bytes([codes[0], VALID, VALID])
        assert failure(chain) == (4, Step.TRANSACTIONS)
        chain.blocks.pop()
        chain.add([writer, change], [VALID, codes[0]])
        verify_blocks(chain.blocks)

    def test_a_change_that_is_not_endorsed_keeps_nobody_out(self) -> None:
        chain = ledger()
        change = chain.transaction(policies=[("a", b"")], endorsers=[])
        codes = [transaction_pb2.ENDORSEMENT_POLICY_FAILURE, VALID]
        chain.add([change, chain.transaction(writes=[("a", b"2")])], codes)
        verify_blocks(chain.blocks)


def peer_of(mspid: str) -> bytes:
    """A policy that one organisation satisfies alone, which the contract never sets."""
    role = msp_principal_pb2.MSPRole(msp_identifier=mspid, role=msp_principal_pb2.MSPRole.PEER)
    principal = msp_principal_pb2.MSPPrincipal(principal=role.SerializeToString())
    rule = policies_pb2.SignaturePolicy(signed_by=0)
    policy: bytes = policies_pb2.SignaturePolicyEnvelope(rule=rule, identities=[principal]).SerializeToString()
    return policy


class TestConflicts:
    @pytest.mark.parametrize(("version", "code"), [((2, 0), VALID), ((1, 0), MVCC_READ_CONFLICT), (None, MVCC_READ_CONFLICT)])
    def test_a_read_must_name_the_committed_version(self, version: tuple[int, int] | None, code: int) -> None:
        chain = ledger()
        chain.add([chain.transaction(reads=[("a", version)])], [code])
        verify_blocks(chain.blocks)
        chain.blocks[-1].metadata.metadata[TRANSACTIONS_FILTER] = bytes([VALID + MVCC_READ_CONFLICT - code])
        assert failure(chain) == (4, Step.TRANSACTIONS)

    def test_a_deleted_key_has_no_version(self) -> None:
        chain = ledger()
        chain.add([chain.transaction(writes=[("a", None)])])
        chain.add([chain.transaction(reads=[("a", None)])])
        chain.add([chain.transaction(reads=[("a", (2, 0))])], [MVCC_READ_CONFLICT])
        assert "a" not in verify_blocks(chain.blocks).state.public("consortium")

    def query(self, *reads: tuple[str, tuple[int, int]], start: str = "a", end: str = "c", exhausted: bool = True) -> RangeQuery:
        return RangeQuery(start, end, exhausted, tuple(Read(key, Version(*version)) for key, version in reads))

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ((("a", (2, 0)), ("b", (1, 0))), VALID),
            ((("a", (2, 0)),), transaction_pb2.PHANTOM_READ_CONFLICT),
            ((("a", (1, 0)), ("b", (1, 0))), transaction_pb2.PHANTOM_READ_CONFLICT),
        ],
    )
    def test_a_range_must_hold_what_it_held(self, query: tuple[tuple[str, tuple[int, int]], ...], code: int) -> None:
        chain = ledger()
        chain.add([chain.transaction(queries=[self.query(*query)])], [code])
        verify_blocks(chain.blocks)

    def test_a_key_that_appears_in_the_same_block_is_a_phantom(self) -> None:
        chain = ledger()
        reads = chain.transaction(queries=[self.query(("a", (2, 0)), ("b", (1, 0)))])
        chain.add([chain.transaction(writes=[("aa", b"new")]), reads], [VALID, transaction_pb2.PHANTOM_READ_CONFLICT])
        verify_blocks(chain.blocks)

    def test_a_reader_that_stopped_early_is_bound_only_to_what_it_saw(self) -> None:
        chain = ledger()
        chain.add([chain.transaction(queries=[self.query(("a", (2, 0)), end="a", exhausted=False)])])
        verify_blocks(chain.blocks)

    def test_a_long_range_is_compared_by_its_merkle_summary(self) -> None:
        reads = [(f"k{index:03}", Version(1, index)) for index in range(200)]
        summary = summarise(reads, 3)
        assert summary is not None
        assert summary.max_level > 1
        assert len(summary.hashes) <= 3
        assert summarise(reads[:3], 3) is None
        assert summarise(reads[:-1], 3) != summary


def verify_tx_id(envelope: bytes) -> str:
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    return str(common_pb2.ChannelHeader.FromString(payload.header.channel_header).tx_id)
