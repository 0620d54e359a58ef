"""Who ordered a block: its orderers' signatures against the channel configuration in force."""

from collections.abc import Sequence

from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2

from fabric.blocks import SIGNATURES, BlockSignature, MalformedBlock, block_signatures, metadata_message
from fabric.channel import BLOCK_VALIDATION, ChannelConfig
from fabric.crypto import IdentityError
from fabric.examination import check_of, signature_flaw
from fabric.msp import Member, MspRegistry
from fabric.policies import distinct


class UnsignedBlock(ValueError):  # noqa: N818 - says what the block is
    """A block's signatures do not show that the channel's ordering service made it; the message says why."""


def orderers_of(
    block: common_pb2.Block,
    config: ChannelConfig,
    members: MspRegistry,
    flaws: Sequence[str | None],
) -> list[Member]:
    """The members who signed a block, enough of them for the channel's block validation policy.

    `flaws` are those of `fabric.examination.examine_block`. Raises UnsignedBlock, and PolicyError for a policy that cannot be read.
    """
    try:
        check_form(block)
        signatures = block_signatures(block)
        signers = [_signer(signature, flaw, config, members) for signature, flaw in zip(signatures, flaws, strict=True)]
    except (MalformedBlock, IdentityError) as error:
        raise UnsignedBlock(str(error)) from error
    if len(distinct(signers)) != len(signers):
        raise UnsignedBlock("one orderer's signature stands twice")
    if not config.policies.satisfied(BLOCK_VALIDATION, signers):
        raise UnsignedBlock("its signatures do not satisfy the channel's block validation policy")
    return signers


def check_form(block: common_pb2.Block) -> None:
    """Refuse bytes in the signatures' slot that nothing signs: other encodings, unknown fields, a second signer's name."""
    metadata = metadata_message(block, SIGNATURES)
    metadata.DiscardUnknownFields()
    if metadata.SerializeToString() != block.metadata.metadata[SIGNATURES]:
        raise MalformedBlock("the orderers' signatures are not in canonical form")
    if any(bool(signature.signature_header) == bool(signature.identifier_header) for signature in metadata.signatures):
        raise MalformedBlock("an orderer's signature must name its signer exactly once")


def _signer(signature: BlockSignature, flaw: str | None, config: ChannelConfig, members: MspRegistry) -> Member:
    if signature.consenter is None:
        creator = signature.creator
    else:
        consenter = config.consenters.get(signature.consenter)
        if consenter is None:
            raise IdentityError(f"orderer number {signature.consenter} is not in the channel's configuration")
        creator = identities_pb2.SerializedIdentity(mspid=consenter.mspid, id_bytes=consenter.identity_pem).SerializeToString()
        flaw = signature_flaw(check_of(creator, signature.signed_bytes, signature.signature))
    member = members.authenticate(creator, None)
    if flaw:
        raise IdentityError(flaw)
    return member
