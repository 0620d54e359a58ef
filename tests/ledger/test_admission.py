"""The door for transactions: nothing passes that an auditor would judge differently from the ledger."""

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.channel import ChannelConfig
from fabric.crypto import IdentityError, SigningIdentity
from fabric.devledger.admission import Admission
from fabric.devledger.own_transactions import Endorsed, OwnTransactions
from fabric.devledger.store import open_store
from fabric.devledger.validation import KeyPolicies, endorsement_code
from fabric.endorsement import EndorsementRules
from fabric.examination import examine_envelope
from fabric.transactions import MalformedTransaction
from fabric.validation import Judge, KnownIds
from fabric.worldstate import StateInMemory
from tests.support import key_value_contract
from tests.support.ledger import Network, prepare, running
from tests.support.raw_client import raw_client
from tests.support.state_table import Table


class Door:
    """A channel's admission, one endorsed transaction, its creator, and the auditor's judge of the same channel."""

    def __init__(self, folder: Path) -> None:
        network = prepare(folder, mspids=("AlphaMSP", "BetaMSP", "GammaMSP"))
        self.creator: SigningIdentity = network.identity("AlphaMSP")
        self.payload = asyncio.run(self._endorsed(network))
        store = open_store(network.config.ledger.data)
        channel = ChannelConfig.parse(common_pb2.Block.FromString(store.block(0)).data.data[0])
        store.close()
        self.own = OwnTransactions()
        self.admission = Admission(channel, network.chaincode, lambda: datetime.datetime.now(datetime.UTC), self.own)
        self.rules = EndorsementRules(channel, KeyPolicies(Table().policy, network.chaincode))
        self.judge = Judge(channel, channel.members, StateInMemory(), KnownIds())

    @staticmethod
    async def _endorsed(network: Network) -> bytes:
        async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
            return await client.endorse(client.proposal(b"put", b"k", b"v"))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("door"))


def test_the_untouched_transaction_passes(door: Door) -> None:
    submission = door.admission.accept(door.payload, door.creator.sign(door.payload))
    assert [member.mspid for member in submission.endorsers] == ["AlphaMSP", "BetaMSP"]
    assert door.judge.envelope(examine_envelope(submission.envelope)).code == 0


def test_what_was_assembled_here_passes_as_what_a_stranger_brings(door: Door) -> None:
    signature = door.creator.sign(door.payload)
    stranger = door.admission.accept(door.payload, signature)
    door.own.remember(Endorsed(replace(stranger.transaction, signature=b""), stranger.endorsers))
    assert door.admission.accept(door.payload, signature) == stranger


def test_what_was_assembled_here_needs_its_creator_s_signature(door: Door) -> None:
    stranger = door.admission.accept(door.payload, door.creator.sign(door.payload))
    door.own.remember(Endorsed(replace(stranger.transaction, signature=b""), stranger.endorsers))
    with pytest.raises(IdentityError, match="does not match"):
        door.admission.accept(door.payload, door.creator.sign(b"something else"))


def test_no_byte_can_be_changed_after_signing(door: Door) -> None:
    signature = door.creator.sign(door.payload)
    for place in range(0, len(door.payload), 7):
        changed = door.payload[:place] + bytes([door.payload[place] ^ 1]) + door.payload[place + 1 :]
        with pytest.raises((MalformedTransaction, IdentityError)):
            door.admission.accept(changed, signature)
    for place in range(len(signature)):
        with pytest.raises(IdentityError):
            door.admission.accept(door.payload, signature[:place] + bytes([signature[place] ^ 1]) + signature[place + 1 :])


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_whatever_a_member_signs_the_ledger_and_the_auditor_agree(door: Door, data: st.DataObject) -> None:
    """A member may sign any bytes. Either they are refused at the door, or both sides give them the same code."""
    place = data.draw(st.integers(0, len(door.payload) - 1))
    removed, added = data.draw(st.integers(0, 4)), data.draw(st.binary(max_size=4))
    payload = door.payload[:place] + added + door.payload[place + removed :]
    try:
        submission = door.admission.accept(payload, door.creator.sign(payload))
    except (MalformedTransaction, IdentityError):
        return
    code = endorsement_code(submission.transaction, submission.endorsers, door.rules)
    assert door.judge.envelope(examine_envelope(submission.envelope)).code == code


@given(noise=st.binary(max_size=200))
def test_noise_is_refused_by_name(door: Door, noise: bytes) -> None:
    with pytest.raises((MalformedTransaction, IdentityError)):
        door.admission.accept(noise, b"signature")
