"""The contract's view of a real peer's ledger: every read is a question to the peer over the stream."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import chaincode_shim_pb2

from fabric.chaincode.errors import PeerError
from fabric.chaincode.messages import Invocation, Message
from fabric.contract.stub import checked_event, checked_key, checked_policy, checked_value
from fabric.rwset import VALIDATION_PARAMETER

# Sends a message to the peer and blocks until its answer is there; raises PeerError if none can come any more.
Ask = Callable[[Any], Any]


class PeerStub:
    """`fabric.contract.stub.Stub` for one invocation; used by one worker thread, as the peer takes one question at a time."""

    def __init__(self, invocation: Invocation, ask: Ask) -> None:
        self._invocation = invocation
        self._ask = ask
        self._put: set[str] = set()
        self.event: tuple[str, bytes] | None = None
        self.peer_failed = False  # the call must then fail even if the contract caught the error and went on

    @property
    def tx_id(self) -> str:
        return self._invocation.tx_id

    @property
    def mspid(self) -> str:
        return self._invocation.mspid

    @property
    def certificate_pem(self) -> bytes:
        return self._invocation.certificate_pem

    @property
    def transient(self) -> Mapping[str, bytes]:
        """What the caller sent for the contract's eyes only; it stands in no block."""
        return self._invocation.transient

    def get_state(self, key: str) -> bytes | None:
        value = self._request(Message.GET_STATE, chaincode_shim_pb2.GetState(key=checked_key(key)))
        return value or None  # a peer answers with no bytes where nothing is stored

    def put_state(self, key: str, value: bytes) -> None:
        self._request(Message.PUT_STATE, chaincode_shim_pb2.PutState(key=checked_key(key), value=checked_value(key, value)))
        self._put.add(key)

    def delete_state(self, key: str) -> None:
        self._request(Message.DEL_STATE, chaincode_shim_pb2.DelState(key=checked_key(key)))
        self._put.discard(key)

    def get_state_validation_parameter(self, key: str) -> bytes:
        answer = self._request(Message.GET_STATE_METADATA, chaincode_shim_pb2.GetStateMetadata(key=checked_key(key)))
        entries = chaincode_shim_pb2.StateMetadataResult.FromString(answer).entries
        return next((bytes(entry.value) for entry in entries if entry.metakey == VALIDATION_PARAMETER), b"")

    def set_state_validation_parameter(self, key: str, policy: bytes) -> None:
        value = checked_policy(checked_key(key), policy, put=key in self._put)
        metadata = chaincode_shim_pb2.StateMetadata(metakey=VALIDATION_PARAMETER, value=value)
        self._request(Message.PUT_STATE_METADATA, chaincode_shim_pb2.PutStateMetadata(key=key, metadata=metadata))

    def get_state_by_range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Fetched in the peer's own page size; the peer closes an iterator left half-way when the call ends."""
        question = chaincode_shim_pb2.GetStateByRange(startKey=start, endKey=end)
        page = chaincode_shim_pb2.QueryResponse.FromString(self._request(Message.GET_STATE_BY_RANGE, question))
        while True:
            for result in page.results:
                entry = kv_query_result_pb2.KV.FromString(result.resultBytes)
                yield entry.key, entry.value
            if not page.has_more:
                return
            following = chaincode_shim_pb2.QueryStateNext(id=page.id)
            page = chaincode_shim_pb2.QueryResponse.FromString(self._request(Message.QUERY_STATE_NEXT, following))

    def set_event(self, name: str, payload: bytes) -> None:
        self.event = (checked_event(name), payload)

    def _request(self, kind: int, question: Any) -> bytes:
        """Ask the peer and return its answer's bytes; a peer's ERROR is raised, never taken for a value."""
        message = Message(type=kind, channel_id=self._invocation.channel, txid=self._invocation.tx_id, payload=question.SerializeToString())
        try:
            answer = self._ask(message)
            if answer.type != Message.RESPONSE:
                raise PeerError(f"the peer answered {Message.Type.Name(kind)} with {Message.Type.Name(answer.type)}")
        except PeerError:
            self.peer_failed = True
            raise
        payload: bytes = answer.payload
        return payload
