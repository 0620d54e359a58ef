"""Evidence about one transaction: it convinces with the first block's hash or the roots alone, and no part of it can be exchanged."""

import asyncio
import base64
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import canonical
from fabric.blocks import SIGNATURES, data_hash, header_bytes, header_hash
from fabric.checkpoint import sign_checkpoint
from fabric.crypto import SigningIdentity
from fabric.decoding import decode
from fabric.evidence import Content, EvidenceError, EvidenceStep, Roots, evidence_block, sign_evidence, verify_evidence
from fabric.transactions import open_envelope
from gateway.auditor.checkpoints import write_checkpoint
from gateway.auditor.export import read_blocks
from gateway.auditor.proof import check_proof, prove
from gateway.auditor.verify import verify_ledger
from gateway.errors import ConfigError, InputError, VerificationFailed
from tests.support.chain import MVCC_READ_CONFLICT, NOW, VALID, Consortium, Org
from tests.support.ledger_file import Blocks

VECTORS = Path(__file__).parent / "vectors"
Tamper = Callable[[Consortium, Content], Content]


@pytest.fixture(scope="module")
def chain() -> Consortium:
    chain = Consortium()
    chain.put(a=b"1")
    chain.add(
        [chain.transaction(b"pay", b"BetaMSP", reads=[("a", (1, 0))], writes=[("a", value)]) for value in (b"2", b"3")],
        [VALID, MVCC_READ_CONFLICT],
    )
    chain.put(b=b"4")
    chain.put(b=b"5")
    return chain


def auditor(chain: Consortium) -> SigningIdentity:
    return chain.hospitals[2].client


def tx_id(chain: Consortium, block: int, position: int) -> str:
    return open_envelope(chain.blocks[block].data.data[position]).headers.tx_id


def genesis(chain: Consortium) -> bytes:
    return header_hash(chain.blocks[0].header)


def roots(chain: Consortium) -> Roots:
    return Roots({one.mspid: [one.ca.pem] for one in chain.hospitals}, {chain.orderer.mspid: [chain.orderer.ca.pem]})


async def proof(chain: Consortium, path: Path, block: int = 2, position: int = 0, checkpoint: Path | None = None) -> bytes:
    """Write the evidence to `path` and give its bytes."""
    await prove(Blocks(chain.blocks), tx_id(chain, block, position), path, auditor(chain), now=NOW, checkpoint=checkpoint)
    return await asyncio.to_thread(path.read_bytes)


@pytest.fixture(scope="module")
def evidence(chain: Consortium, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return asyncio.run(proof(chain, tmp_path_factory.mktemp("evidence") / "file"))


async def test_evidence_convinces_with_the_first_hash_or_the_roots_alone(chain: Consortium, evidence: bytes) -> None:
    for trusted in ({"genesis_hash": genesis(chain)}, {"roots": roots(chain)}, {"genesis_hash": genesis(chain), "roots": roots(chain)}):
        proven = verify_evidence(evidence, **trusted)
        assert (proven.block, proven.position, proven.code) == (2, 0, "VALID")
        assert proven.block_hash == header_hash(chain.blocks[2].header)
        assert (proven.transaction.function, proven.transaction.args[1]) == ("pay", b"BetaMSP")
        assert (proven.creator.name, proven.endorsing) == ("client.AlphaMSP of AlphaMSP", ("AlphaMSP", "BetaMSP"))
        assert [orderer.mspid for orderer in proven.orderers] == ["OrdererMSP"]
        assert (proven.checkpoint.height, proven.checkpoint.block_hash) == (5, header_hash(chain.blocks[-1].header))
        assert proven.prover.signer == "client.GammaMSP of GammaMSP"
    with pytest.raises(ValueError, match="against nothing"):
        verify_evidence(evidence)


async def test_a_transaction_without_effect_is_proved_to_have_none(chain: Consortium, tmp_path: Path) -> None:
    data = await proof(chain, tmp_path / "file", position=1)
    assert verify_evidence(data, roots=roots(chain)).code == "MVCC_READ_CONFLICT"


async def test_evidence_can_end_at_a_checkpoint_kept_before(chain: Consortium, tmp_path: Path) -> None:
    early = Consortium(chain.hospitals, chain.orderer, list(chain.blocks[:4]), nonces=1000)
    del early.blocks[4:]
    write_checkpoint(tmp_path / "kept", await verify_ledger(Blocks(early.blocks)), chain.hospitals[1].client, now=NOW)
    proven = verify_evidence(await proof(chain, tmp_path / "file", checkpoint=tmp_path / "kept"), roots=roots(chain))
    assert (proven.checkpoint.height, proven.checkpoint.signer) == (4, "client.BetaMSP of BetaMSP")
    with pytest.raises(InputError, match="up to block 3, which is the checkpoint's"):
        await proof(chain, tmp_path / "file", block=4, checkpoint=tmp_path / "kept")


async def test_nothing_is_written_that_would_not_convince(chain: Consortium, tmp_path: Path) -> None:
    path, source = tmp_path / "file", Blocks(chain.blocks)
    with pytest.raises(InputError, match="no call of a contract with the transaction id"):
        await prove(source, "ab" * 32, path, auditor(chain), now=NOW)
    with pytest.raises(VerificationFailed, match="would not convince anybody"):
        await prove(source, tx_id(chain, 2, 0), path, Consortium().hospitals[0].client, now=NOW)
    broken = list(chain.blocks)
    del broken[3]
    with pytest.raises(VerificationFailed, match="nothing can be proved, for block 3 is bad"):
        await prove(Blocks(broken), tx_id(chain, 2, 0), path, auditor(chain), now=NOW)
    assert not path.exists()


@settings(max_examples=300, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_changed_byte_is_found(chain: Consortium, evidence: bytes, position: float, mask: int) -> None:
    changed = bytearray(evidence)
    changed[int(position * len(evidence))] ^= mask
    with pytest.raises(EvidenceError):
        verify_evidence(bytes(changed), genesis_hash=genesis(chain), roots=roots(chain))


@settings(max_examples=40, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), extra=st.binary(max_size=4))
def test_evidence_cut_or_lengthened_is_found(chain: Consortium, evidence: bytes, position: float, extra: bytes) -> None:
    offset = int(position * len(evidence))
    for changed in (evidence[:offset], evidence + b"\n", evidence[:offset] + b"~" + extra + evidence[offset:]):
        with pytest.raises(EvidenceError):
            verify_evidence(changed, genesis_hash=genesis(chain))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_byte_that_a_member_changes_and_signs_is_found(chain: Consortium, evidence: bytes, data: st.DataObject) -> None:
    """In what others signed; of its own the prover states the code."""
    content = content_of(evidence)
    part = data.draw(st.sampled_from(["block", "configurations", "checkpoint"]))
    if part == "checkpoint":
        changed = {part: flipped(content.checkpoint.encode(), data).decode("latin-1")}
    elif part == "block":
        changed = {part: base64.b64encode(flipped(base64.b64decode(content.block), data)).decode()}
    else:
        changed = {part: (base64.b64encode(flipped(base64.b64decode(content.configurations[0]), data)).decode(),)}
    with pytest.raises(EvidenceError):
        verify_evidence(sign_evidence(auditor(chain), replace(content, **changed)), genesis_hash=genesis(chain))


def flipped(original: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(original)
    changed[data.draw(st.integers(0, len(original) - 1))] ^= data.draw(st.integers(1, 255))
    return bytes(changed)


def content_of(evidence: bytes) -> Content:
    return decode(Content, canonical.loads(evidence)["content"], strict=True)


def edited(text: str, change: Callable[[common_pb2.Block], None]) -> str:
    block = common_pb2.Block.FromString(base64.b64decode(text))
    change(block)
    return base64.b64encode(block.SerializeToString()).decode()


def _other_transaction(_: Consortium, content: Content) -> Content:
    return replace(content, position=1)


def _other_block(chain: Consortium, content: Content) -> Content:
    return replace(content, block=evidence_block(chain.blocks[3]), data_hashes=content.data_hashes[1:])


def _changed_argument(_: Consortium, content: Content) -> Content:
    def change(block: common_pb2.Block) -> None:
        block.data.data[0] = block.data.data[0].replace(b"BetaMSP", b"GammaMS", 1)
        block.header.data_hash = data_hash(block.data.data)

    return replace(content, block=edited(content.block, change))


def _resigned_by_a_hospital(chain: Consortium, content: Content) -> Content:
    def change(block: common_pb2.Block) -> None:
        block.data.data.append(b"more")
        block.header.data_hash = data_hash(block.data.data)
        metadata = common_pb2.Metadata.FromString(block.metadata.metadata[SIGNATURES])
        forger = chain.hospitals[2].peer
        name = common_pb2.SignatureHeader(creator=forger.serialized, nonce=b"n" * 24).SerializeToString()
        metadata.signatures[0].signature_header = name
        metadata.signatures[0].signature = forger.sign(metadata.value + name + header_bytes(block.header))
        block.metadata.metadata[SIGNATURES] = metadata.SerializeToString()

    return replace(content, block=edited(content.block, change))


def _unsigned(_: Consortium, content: Content) -> Content:
    def change(block: common_pb2.Block) -> None:
        metadata = common_pb2.Metadata.FromString(block.metadata.metadata[SIGNATURES])
        del metadata.signatures[:]
        block.metadata.metadata[SIGNATURES] = metadata.SerializeToString()

    return replace(content, block=edited(content.block, change))


def _other_genesis(_: Consortium, content: Content) -> Content:
    return replace(content, configurations=(evidence_block(Consortium().blocks[0]),))


def _later_configuration_hidden(chain: Consortium, content: Content) -> Content:
    return replace(content, configurations=())


def _repeated_configuration(_: Consortium, content: Content) -> Content:
    return replace(content, configurations=(*content.configurations, *content.configurations))


def _block_left_out(_: Consortium, content: Content) -> Content:
    return replace(content, data_hashes=content.data_hashes[:-1])


def _invented_header(_: Consortium, content: Content) -> Content:
    return replace(content, data_hashes=("ab" * 32, *content.data_hashes[1:]))


def _strangers_checkpoint(chain: Consortium, content: Content) -> Content:
    return replace(content, checkpoint=checkpoint(chain, Consortium().hospitals[0].client))


def _checkpoint_of_another_ledger(chain: Consortium, content: Content) -> Content:
    return replace(content, checkpoint=checkpoint(chain, chain.hospitals[0].client, genesis_hash=b"g" * 32))


def checkpoint(chain: Consortium, signer: SigningIdentity, genesis_hash: bytes = b"") -> str:
    return sign_checkpoint(
        signer,
        channel="consortium",
        height=5,
        genesis_hash=genesis_hash or genesis(chain),
        block_hash=header_hash(chain.blocks[-1].header),
        made_at=NOW,
    ).decode()


@pytest.mark.parametrize(
    ("tamper", "step"),
    [
        (lambda _, content: replace(content, tx_id="ab" * 32), EvidenceStep.TRANSACTION),
        (lambda _, content: replace(content, code="FINE"), EvidenceStep.TRANSACTION),
        (lambda _, content: replace(content, position=2), EvidenceStep.TRANSACTION),
        (lambda _, content: replace(content, position=-1), EvidenceStep.TRANSACTION),
        (lambda _, content: replace(content, channel="another"), EvidenceStep.CONFIGURATION),
        (lambda _, content: replace(content, block="????"), EvidenceStep.BLOCK),
        (lambda _, content: replace(content, checkpoint="{}"), EvidenceStep.FORM),
        (lambda _, content: replace(content, data_hashes=("zz",)), EvidenceStep.HEADERS),
        (lambda _, content: replace(content, made_at="today"), EvidenceStep.PROVER),
        (lambda _, content: replace(content, made_at="2020-01-01T00:00:00+00:00"), EvidenceStep.PROVER),
        (_other_transaction, EvidenceStep.TRANSACTION),
        (_other_block, EvidenceStep.TRANSACTION),
        (_changed_argument, EvidenceStep.BLOCK),
        (_resigned_by_a_hospital, EvidenceStep.BLOCK),
        (_unsigned, EvidenceStep.BLOCK),
        (_other_genesis, EvidenceStep.CONFIGURATION),
        (_later_configuration_hidden, EvidenceStep.CONFIGURATION),
        (_repeated_configuration, EvidenceStep.CONFIGURATION),
        (_block_left_out, EvidenceStep.HEADERS),
        (_invented_header, EvidenceStep.HEADERS),
        (_strangers_checkpoint, EvidenceStep.CHECKPOINT),
        (_checkpoint_of_another_ledger, EvidenceStep.CHECKPOINT),
    ],
)
def test_a_member_who_signs_false_evidence_convinces_nobody(
    chain: Consortium,
    evidence: bytes,
    tamper: Tamper,
    step: EvidenceStep,
) -> None:
    """The prover's own signature is good throughout: what is checked lies below it."""
    content = content_of(evidence)
    assert verify_evidence(sign_evidence(auditor(chain), content), genesis_hash=genesis(chain)).code == "VALID"
    forged = sign_evidence(auditor(chain), tamper(chain, content))
    for trusted in ({"genesis_hash": genesis(chain)}, {"roots": roots(chain)}):
        with pytest.raises(EvidenceError) as caught:
            verify_evidence(forged, **trusted)
        assert caught.value.step is step


def test_a_transaction_that_one_organisation_endorsed_cannot_pass_for_valid(chain: Consortium) -> None:
    alone = Consortium(chain.hospitals, chain.orderer)
    alone.add([alone.transaction(endorsers=[chain.hospitals[0].peer, chain.hospitals[0].peer, chain.hospitals[1].client])])
    content = Content(
        channel="consortium",
        tx_id=tx_id(alone, 1, 0),
        code="VALID",
        position=0,
        configurations=(evidence_block(alone.blocks[0]),),
        block=evidence_block(alone.blocks[1]),
        data_hashes=(),
        checkpoint=checkpoint_of(alone),
        made_at=NOW.isoformat(),
    )
    with pytest.raises(EvidenceError, match="1 of 3 organisations endorsed it") as caught:
        verify_evidence(sign_evidence(auditor(chain), content), genesis_hash=genesis(alone))
    assert caught.value.step is EvidenceStep.TRANSACTION


def checkpoint_of(chain: Consortium) -> str:
    return sign_checkpoint(
        auditor(chain),
        channel="consortium",
        height=len(chain.blocks),
        genesis_hash=genesis(chain),
        block_hash=header_hash(chain.blocks[-1].header),
        made_at=NOW,
    ).decode()


class TestRoots:
    async def test_a_ledger_of_others_does_not_convince(self, chain: Consortium, tmp_path: Path) -> None:
        others = Consortium()
        others.put(a=b"1")
        data = await proof(others, tmp_path / "file", block=1)
        with pytest.raises(EvidenceError, match="root certificate for AlphaMSP that is not among the given ones"):
            verify_evidence(data, roots=roots(chain))
        with pytest.raises(EvidenceError, match="this is another ledger"):
            verify_evidence(data, genesis_hash=genesis(chain))

    async def test_a_member_cannot_stand_for_the_others(self, chain: Consortium, tmp_path: Path) -> None:
        """A hospital makes a channel of its own, with the others' names on its own authority, or without them."""
        alpha = chain.hospitals[0]
        for hospitals in ((alpha, org_as(alpha, "BetaMSP"), org_as(alpha, "GammaMSP")), (alpha, org_as(alpha, "DeltaMSP"))):
            invented = Consortium(hospitals, chain.orderer)
            invented.put(a=b"1")
            path = tmp_path / "file"
            await prove(Blocks(invented.blocks), tx_id(invented, 1, 0), path, alpha.client, now=NOW)
            with pytest.raises(EvidenceError, match=r"not among the given ones|do not name DeltaMSP"):
                verify_evidence(path.read_bytes(), roots=roots(chain))

    async def test_a_channel_without_the_others_gives_no_majority(self, chain: Consortium, tmp_path: Path) -> None:
        small = Consortium(chain.hospitals[:1], chain.orderer)
        small.add([small.transaction(endorsers=[chain.hospitals[0].peer], writes=[("a", b"1")])])
        path = tmp_path / "file"
        await prove(Blocks(small.blocks), tx_id(small, 1, 0), path, chain.hospitals[0].client, now=NOW)
        with pytest.raises(EvidenceError, match="1 of 3 organisations"):
            verify_evidence(path.read_bytes(), roots=roots(chain))

    async def test_a_file_of_roots_is_read_with_the_certificates_it_names(self, chain: Consortium, tmp_path: Path) -> None:
        await proof(chain, tmp_path / "evidence")
        for one in (*chain.hospitals, chain.orderer):
            (tmp_path / f"{one.mspid}.pem").write_bytes(chain.hospitals[0].ca.pem + one.ca.pem)
        names = "".join(f'{one.mspid} = "{one.mspid}.pem"\n' for one in chain.hospitals)
        file = tmp_path / "roots.toml"
        file.write_text(f'[application]\n{names}[orderer]\nOrdererMSP = "OrdererMSP.pem"\n')
        assert check_proof(tmp_path / "evidence", roots=file).code == "VALID"
        (tmp_path / "OrdererMSP.pem").write_bytes(b"nothing")
        with pytest.raises(InputError, match="does not hold certificates"):
            check_proof(tmp_path / "evidence", roots=file)
        file.write_text("[applications]\n")
        with pytest.raises(ConfigError, match="applications"):
            check_proof(tmp_path / "evidence", roots=file)


def org_as(org: Org, mspid: str) -> Org:
    """An organisation that exists in name only: its identities are another's."""
    peer, client = (SigningIdentity(mspid, one.certificate_pem, one.private_key) for one in (org.peer, org.client))
    return replace(org, mspid=mspid, peer=peer, client=client)


@pytest.mark.parametrize("name", ["fabric-2.5", "fabric-3.1"])
async def test_evidence_follows_a_real_channel_through_its_configuration_updates(name: str, tmp_path: Path) -> None:
    """The evidence holds configurations before the transaction and after it; no hospital of the recording can sign, so none is written."""
    path = tmp_path / "blocks"
    path.write_bytes(gzip.decompress((VECTORS / f"{name}.blocks.gz").read_bytes()))
    blocks = list(read_blocks(path))
    found = next(
        (block.header.number, headers.tx_id)
        for block in blocks[8:]
        if (headers := open_envelope(block.data.data[0]).headers).chaincode == "probe"
    )
    outsider = Consortium().hospitals[0].client
    with pytest.raises(VerificationFailed, match="cannot be relied upon") as caught:
        await prove(Blocks(blocks), found[1], tmp_path / "file", outsider, now=NOW)
    # Every step before the checkpoint's signer passed: configurations, orderers, endorsements, headers.
    assert caught.value.__cause__.step is EvidenceStep.CHECKPOINT
