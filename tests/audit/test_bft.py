"""Blocks of a BFT ordering service: signers named by number, and a quorum of them needed."""

from collections.abc import Sequence

import pytest
from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import identities_pb2, msp_principal_pb2

from fabric.blocks import SIGNATURES, data_hash, header_bytes, header_hash
from fabric.crypto import SigningIdentity
from fabric.verify import Step, VerificationError, verify_blocks
from tests.support.chain import Consortium, identity

QUORUM = 3  # of four orderers, one of which may lie


@pytest.fixture(scope="module")
def chain() -> Consortium:
    return Consortium()


@pytest.fixture(scope="module")
def consenters(chain: Consortium) -> list[SigningIdentity]:
    return [identity("OrdererMSP", f"orderer{number}", ["orderer"], chain.orderer.ca) for number in range(4)]


def genesis(chain: Consortium, consenters: Sequence[SigningIdentity]) -> common_pb2.Block:
    """The chain's first block, with the ordering service made BFT as configtxgen does it."""
    envelope = common_pb2.Envelope.FromString(chain.blocks[0].data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    config = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    orderers = config.config.channel_group.groups["Orderer"]
    mapping = [
        configuration_pb2.Consenter(id=number, msp_id="OrdererMSP", identity=consenter.certificate_pem)
        for number, consenter in enumerate(consenters, start=1)
    ]
    orderers.values["Orderers"].value = configuration_pb2.Orderers(consenter_mapping=mapping).SerializeToString()
    orderers.policies["BlockValidation"].policy.CopyFrom(quorum_policy(consenters))
    payload.data = config.SerializeToString()
    data = common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString()
    block = common_pb2.Block()
    block.header.data_hash = data_hash([data])
    block.data.data.append(data)
    block.metadata.metadata.extend([b""] * 5)
    return block


def quorum_policy(consenters: Sequence[SigningIdentity]) -> policies_pb2.Policy:
    principals = [
        msp_principal_pb2.MSPPrincipal(
            principal_classification=msp_principal_pb2.MSPPrincipal.IDENTITY,
            principal=identities_pb2.SerializedIdentity(mspid="OrdererMSP", id_bytes=consenter.certificate_pem).SerializeToString(),
        )
        for consenter in consenters
    ]
    rules = [policies_pb2.SignaturePolicy(signed_by=index) for index in range(len(consenters))]
    rule = policies_pb2.SignaturePolicy(n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=QUORUM, rules=rules))
    envelope = policies_pb2.SignaturePolicyEnvelope(rule=rule, identities=principals)
    return policies_pb2.Policy(type=policies_pb2.Policy.SIGNATURE, value=envelope.SerializeToString())


def block(chain: Consortium, first: common_pb2.Block, signers: dict[int, SigningIdentity]) -> common_pb2.Block:
    following = common_pb2.Block()
    data = chain.transaction(writes=[("k", b"v")])
    following.header.number = 1
    following.header.previous_hash = header_hash(first.header)
    following.header.data_hash = data_hash([data])
    following.data.data.append(data)
    value = common_pb2.OrdererBlockMetadata(last_config=common_pb2.LastConfig()).SerializeToString()
    metadata = common_pb2.Metadata(value=value)
    for number, signer in signers.items():
        name = common_pb2.IdentifierHeader(identifier=number, nonce=b"n" * 24).SerializeToString()
        signature = signer.sign(value + name + header_bytes(following.header))
        metadata.signatures.append(common_pb2.MetadataSignature(identifier_header=name, signature=signature))
    following.metadata.metadata.extend([b""] * 5)
    following.metadata.metadata[SIGNATURES] = metadata.SerializeToString()
    following.metadata.metadata[2] = b"\x00"
    return following


def test_a_quorum_of_numbered_orderers_signs_a_block(chain: Consortium, consenters: list[SigningIdentity]) -> None:
    first = genesis(chain, consenters)
    for numbers in ((1, 2, 3), (4, 2, 1), (1, 2, 3, 4)):
        signed = block(chain, first, {number: consenters[number - 1] for number in numbers})
        assert verify_blocks([first, signed]).height == 2


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({1: 0, 2: 1}, "do not satisfy"),
        ({1: 0, 2: 1, 3: 3}, "does not match"),
        ({1: 0, 2: 1, 9: 2}, "number 9 is not in"),
    ],
)
def test_less_is_not_enough(chain: Consortium, consenters: list[SigningIdentity], numbers: dict[int, int], reason: str) -> None:
    first = genesis(chain, consenters)
    signed = block(chain, first, {number: consenters[index] for number, index in numbers.items()})
    with pytest.raises(VerificationError, match=reason) as caught:
        verify_blocks([first, signed])
    assert (caught.value.block_number, caught.value.step) == (1, Step.ORDERER_SIGNATURES)
