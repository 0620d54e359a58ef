"""Policies against an oracle that counts, and the key-level and collection policies of endorsement."""

from itertools import combinations

import pytest
from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

from fabric.channel import BLOCK_VALIDATION, ENDORSEMENT, ChannelConfig, genesis_envelope
from fabric.crypto import SigningIdentity
from fabric.endorsement import EndorsementRules
from fabric.msp import Member
from fabric.policies import PolicyError, distinct, signature_policy_satisfied
from fabric.rwset import CollectionRwset, HashedWrite, MetadataWrite, NamespaceRwset, Version, Write
from fabric.worldstate import StateInMemory, Updates
from tests.support.chain import CHAINCODE, CHANNEL, NOW, Org, org

ENDORSEMENT_POLICY_FAILURE, INVALID_CHAINCODE = 10, 25


@pytest.fixture(scope="module")
def orgs() -> list[Org]:
    return [org(f"Org{number}MSP") for number in range(4)]


def config(orgs: list[Org]) -> ChannelConfig:
    orderer = org("OrdererMSP")
    data = genesis_envelope(CHANNEL, [one.msp for one in orgs], [orderer.msp], orderer.orderer, b"n" * 24, timestamp=NOW)
    return ChannelConfig.parse(data)


def member(organisation: Org, who: SigningIdentity) -> Member:
    return organisation.msp.member(who.certificate_pem, None)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_majority_of_organisations_must_endorse(orgs: list[Org], count: int) -> None:
    channel = config(orgs[:count])
    peers = [member(one, one.peer) for one in orgs[:count]]
    for size in range(count + 1):
        for signers in combinations(peers, size):
            assert channel.policies.satisfied(ENDORSEMENT, signers) == (2 * size > count)


def test_a_second_signature_of_one_certificate_counts_for_nothing(orgs: list[Org]) -> None:
    peer = member(orgs[0], orgs[0].peer)
    assert distinct([peer, peer]) == [peer]
    assert not config(orgs[:2]).policies.satisfied(ENDORSEMENT, [peer, peer])


def test_only_orderers_sign_blocks(orgs: list[Org]) -> None:
    assert not config(orgs).policies.satisfied(BLOCK_VALIDATION, [member(one, one.orderer) for one in orgs])


def test_a_policy_that_does_not_exist_is_never_satisfied(orgs: list[Org]) -> None:
    channel, everybody = config(orgs), [member(one, one.admin) for one in orgs]
    assert not channel.policies.satisfied("/Channel/Application/Nothing", everybody)
    assert not channel.policies.satisfied("/Channel/Nowhere/Admins", everybody)
    assert channel.policies.satisfied("/Channel/Application/Admins", everybody)


def signature_policy(needed: int, *parts: tuple[str, int]) -> policies_pb2.SignaturePolicyEnvelope:
    principals = [
        msp_principal_pb2.MSPPrincipal(principal=msp_principal_pb2.MSPRole(msp_identifier=mspid, role=role).SerializeToString())
        for mspid, role in parts
    ]
    rules = [policies_pb2.SignaturePolicy(signed_by=index) for index in range(len(parts))]
    rule = policies_pb2.SignaturePolicy(n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=needed, rules=rules))
    return policies_pb2.SignaturePolicyEnvelope(rule=rule, identities=principals)


def test_one_signature_serves_one_part_of_a_policy(orgs: list[Org]) -> None:
    first, second = member(orgs[0], orgs[0].peer), member(orgs[0], orgs[0].client)
    both = signature_policy(2, ("Org0MSP", msp_principal_pb2.MSPRole.MEMBER), ("Org0MSP", msp_principal_pb2.MSPRole.MEMBER))
    assert not signature_policy_satisfied(both, [first])
    assert signature_policy_satisfied(both, [first, second])
    clients = signature_policy(1, ("Org0MSP", msp_principal_pb2.MSPRole.CLIENT))
    assert signature_policy_satisfied(clients, [first, second])
    assert not signature_policy_satisfied(clients, [first])


def test_a_policy_that_names_an_undefined_principal_is_an_error() -> None:
    broken = policies_pb2.SignaturePolicyEnvelope(rule=policies_pb2.SignaturePolicy(signed_by=3))
    with pytest.raises(PolicyError):
        signature_policy_satisfied(broken, [])


class TestKeyPolicies:
    """A key may name who must endorse its changes: then that alone decides for this key."""

    def rules(self, orgs: list[Org]) -> EndorsementRules:
        own = signature_policy(1, ("Org3MSP", msp_principal_pb2.MSPRole.PEER)).SerializeToString()
        state = StateInMemory()
        updates = Updates(state)
        policy = (MetadataWrite("budget", (("VALIDATION_PARAMETER", own),)),)
        updates.apply([NamespaceRwset(CHAINCODE, writes=(Write("budget", b"1"),), metadata_writes=policy)], Version(1, 0))
        state.commit(updates)
        return EndorsementRules(config(orgs), state)

    def failures(self, orgs: list[Org], rwset: NamespaceRwset, *endorsers: int) -> set[int]:
        signers = [member(orgs[number], orgs[number].peer) for number in endorsers]
        return set(self.rules(orgs).failures(CHAINCODE, [rwset], signers))

    @pytest.mark.parametrize(
        "rwset",
        [
            NamespaceRwset(CHAINCODE, writes=(Write("budget", b"2"),)),
            NamespaceRwset(CHAINCODE, writes=(Write("budget", None),)),
            NamespaceRwset(CHAINCODE, metadata_writes=(MetadataWrite("budget", ()),)),
        ],
    )
    def test_the_keys_own_organisation_must_endorse_and_is_enough(self, orgs: list[Org], rwset: NamespaceRwset) -> None:
        assert self.failures(orgs, rwset, 0, 1, 2) == {ENDORSEMENT_POLICY_FAILURE}
        assert self.failures(orgs, rwset, 3) == set()

    def test_another_key_beside_it_needs_the_majority_too(self, orgs: list[Org]) -> None:
        both = NamespaceRwset(CHAINCODE, writes=(Write("budget", b"2"), Write("other", b"2")))
        assert self.failures(orgs, both, 3) == {ENDORSEMENT_POLICY_FAILURE}
        assert self.failures(orgs, both, 1, 2, 3) == set()

    def test_an_organisations_implicit_collection_needs_that_organisation(self, orgs: list[Org]) -> None:
        private = CollectionRwset("_implicit_org_Org2MSP", (), (HashedWrite(b"k" * 32, b"v" * 32),), ())
        rwset = NamespaceRwset(CHAINCODE, collections=(private,))
        assert self.failures(orgs, rwset, 0, 1, 3) == {ENDORSEMENT_POLICY_FAILURE}
        assert self.failures(orgs, rwset, 2) == set()
