"""Blocks whose transactions change policies of keys, judged twice: as the embedded ledger does it, and as the verifier replays it."""

from collections.abc import Sequence

from fabric_protos.peer import transaction_pb2
from hypothesis import given
from hypothesis import strategies as st

from fabric.channel import ChannelConfig
from fabric.contract.key_policies import owner_policy
from fabric.devledger.simulation import SimulatedStub
from fabric.devledger.validation import KeyPolicies, PendingBlock, endorsement_code
from fabric.endorsement import EndorsementRules
from fabric.msp import Member
from fabric.rwset import VALIDATION_PARAMETER, MetadataWrite, NamespaceRwset, Read, Version, Write
from fabric.transactions import EndorserTransaction
from fabric.validation import Judged, in_order
from fabric.worldstate import Space, StateInMemory, Updates, WorldState
from tests.ledger.test_validation import transaction
from tests.support.chain import Consortium
from tests.support.state_table import Table

VALID = int(transaction_pb2.VALID)

CHAIN = Consortium()
CONFIG = ChannelConfig.parse(CHAIN.blocks[0].data.data[0])
HOSPITALS = tuple(hospital.mspid for hospital in CHAIN.hospitals)
PEERS = [hospital.msp.member(hospital.peer.certificate_pem, None) for hospital in CHAIN.hospitals]
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["read", "policy", "write", "delete", "guard"]), st.sampled_from("abc"), st.sampled_from(HOSPITALS)),
    min_size=1,
    max_size=3,
)
CALLS = st.tuples(OPERATIONS, st.lists(st.sampled_from(PEERS), max_size=3))


def simulated(state: Table, tx_id: str, operations: list[tuple[str, str, str]]) -> EndorserTransaction:
    stub = SimulatedStub(state, tx_id=tx_id, mspid="AlphaMSP", certificate_pem=b"")
    for operation, name, owner in operations:
        match operation:
            case "read":
                stub.get_state(name)
            case "policy":
                stub.get_state_validation_parameter(name)
            case "write":
                stub.put_state(name, tx_id.encode())
            case "delete":
                stub.delete_state(name)
            case "guard":
                stub._policies[name] = owner_policy(owner, HOSPITALS)  # with no value, too, as other chaincode may write it
    return transaction(tx_id, stub.rwset("cc"))


@given(blocks=st.lists(st.lists(CALLS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_ledger_and_verifier_agree_on_codes_state_and_policies(blocks: list[list[tuple[list[tuple[str, str, str]], list[Member]]]]) -> None:
    table, state = Table(), StateInMemory()
    for number, calls in enumerate(blocks):
        block = [(simulated(table, f"{number}-{index}", operations), signers) for index, (operations, signers) in enumerate(calls)]
        codes = judged_by_the_ledger(table, number, block)
        replayed, updates = judged_by_the_verifier(state, number, block)
        assert codes == replayed
        state.commit(updates)
        for position, (code, (tx, _)) in enumerate(zip(codes, block, strict=True)):
            if code == VALID:
                table.apply(tx.writes, Version(number, position), tx.policies)
        entries = {str(name): entry for name, entry in state.spaces.get(Space("cc"), {}).items()}
        assert {name: (entry.value, entry.version) for name, entry in entries.items()} == {
            name: (entry.value, entry.version) for name, entry in table.entries.items()
        }
        assert all(state.validation_parameter(Space("cc"), name) == entry.policy for name, entry in table.entries.items())


def judged_by_the_ledger(table: Table, number: int, block: Sequence[tuple[EndorserTransaction, list[Member]]]) -> list[int]:
    rules = EndorsementRules(CONFIG, KeyPolicies(table.policy, "cc"))
    pending = PendingBlock(table, number)
    return [pending.judge(tx, endorsement_code(tx, signers, rules), committed_before=False) for tx, signers in block]


def judged_by_the_verifier(
    state: WorldState, number: int, block: Sequence[tuple[EndorserTransaction, list[Member]]]
) -> tuple[list[int], Updates]:
    rules = EndorsementRules(CONFIG, state)
    codes = [next(iter(rules.failures(tx.chaincode, tx.rwsets, signers)), VALID) for tx, signers in block]
    judged = [Judged(code, "", tx.tx_id, transaction=tx) for code, (tx, _) in zip(codes, block, strict=True)]
    final, updates = in_order(judged, number, state)
    return [one.code for one in final], updates


def test_a_policy_alone_moves_the_version_of_a_key_that_exists_and_makes_none() -> None:
    state = Table()
    state.apply((Write("a", b"1"),), Version(0, 0))
    pending = PendingBlock(state, 1)
    policies = NamespaceRwset("cc", metadata_writes=tuple(MetadataWrite(name, ((VALIDATION_PARAMETER, b"p"),)) for name in "ab"))
    assert pending.judge(transaction("t1", policies), VALID, committed_before=False) == VALID
    stale = transaction("t2", NamespaceRwset("cc", reads=(Read("a", Version(0, 0)),)))
    assert pending.judge(stale, VALID, committed_before=False) == transaction_pb2.MVCC_READ_CONFLICT
    absent = transaction("t3", NamespaceRwset("cc", reads=(Read("b", None),)))
    assert pending.judge(absent, VALID, committed_before=False) == VALID
