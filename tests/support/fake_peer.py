"""A peer's side of the chaincode protocol, for tests of our service: it answers state requests from a dictionary.

async with fake_peer(port) as peer:
    message = await peer.invoke("tx1", "get", b"key")      # the COMPLETED or ERROR message that ends the call
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import chaincode_pb2, chaincode_shim_pb2, chaincode_shim_pb2_grpc, proposal_pb2

from fabric.chaincode.messages import Message

CHANNEL = "channel-1"
PAGE = 2


class FakePeer:
    """`state` holds the committed values; `broken` the message types answered with ERROR, `mute` those not answered."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.state: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, bytes]] = {}  # committed, by key
        self.metadata_writes: defaultdict[str, dict[str, tuple[str, bytes]]] = defaultdict(dict)  # by transaction
        self.writes: defaultdict[str, dict[str, bytes | None]] = defaultdict(dict)  # by transaction
        self.broken: set[int] = set()
        self.mute: set[int] = set()
        self.asked = asyncio.Event()
        self.registered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.serving: asyncio.Task[None] | None = None
        """Ends with the stream, or raises how it broke."""
        self._turn = asyncio.Lock()  # gRPC takes one message at a time
        self._ended: defaultdict[str, asyncio.Future[Any]] = defaultdict(asyncio.get_running_loop().create_future)
        self._pages: dict[str, list[tuple[str, bytes]]] = {}

    async def invoke(self, tx_id: str, function: str, *args: bytes, transient: Mapping[str, bytes] | None = None) -> Any:
        payload = chaincode_pb2.ChaincodeInput(args=[function.encode(), *args]).SerializeToString()
        message = Message(type=Message.TRANSACTION, channel_id=CHANNEL, txid=tx_id, payload=payload)
        message.proposal.proposal_bytes = _proposal(transient or {})
        return await self.send(message)

    async def send(self, message: Any) -> Any:
        """Send any message and wait for the one that ends its transaction."""
        await self.tell(message)
        return await self._ended[message.txid]

    async def tell(self, message: Any) -> None:
        """Send a message that has no answer."""
        async with self._turn:
            await self._call.write(message)

    async def serve(self) -> None:
        """Answer the service until the stream ends."""
        while (message := await self._call.read()) is not grpc.aio.EOF:
            if message.type == Message.REGISTER:
                self.registered.set_result(chaincode_pb2.ChaincodeID.FromString(message.payload).name)
                await self.tell(Message(type=Message.REGISTERED))
                await self.tell(Message(type=Message.READY))
            elif message.type in (Message.COMPLETED, Message.ERROR):
                self._ended[message.txid].set_result(message)
            else:
                await self._answer(message)

    async def _answer(self, message: Any) -> None:
        self.asked.set()
        if message.type in self.mute:
            return
        kind = Message.ERROR if message.type in self.broken else Message.RESPONSE
        payload = b"the value patient-4711 cannot be had" if kind == Message.ERROR else self._result(message)
        await self.tell(Message(type=kind, channel_id=message.channel_id, txid=message.txid, payload=payload))

    def _result(self, message: Any) -> bytes:
        if message.type == Message.GET_STATE:
            return self.state.get(chaincode_shim_pb2.GetState.FromString(message.payload).key, b"")
        if message.type == Message.PUT_STATE:
            written = chaincode_shim_pb2.PutState.FromString(message.payload)
            self.writes[message.txid][written.key] = written.value
            return b""
        if message.type == Message.DEL_STATE:
            self.writes[message.txid][chaincode_shim_pb2.DelState.FromString(message.payload).key] = None
            return b""
        if message.type == Message.GET_STATE_METADATA:
            known = self.metadata.get(chaincode_shim_pb2.GetStateMetadata.FromString(message.payload).key, {})
            entries = [chaincode_shim_pb2.StateMetadata(metakey=name, value=value) for name, value in known.items()]
            return bytes(chaincode_shim_pb2.StateMetadataResult(entries=entries).SerializeToString())
        if message.type == Message.PUT_STATE_METADATA:
            put = chaincode_shim_pb2.PutStateMetadata.FromString(message.payload)
            self.metadata_writes[message.txid][put.key] = (put.metadata.metakey, put.metadata.value)
            return b""
        if message.type == Message.GET_STATE_BY_RANGE:
            wanted = chaincode_shim_pb2.GetStateByRange.FromString(message.payload)
            self._pages[message.txid] = sorted(item for item in self.state.items() if wanted.startKey <= item[0] < wanted.endKey)
        return self._page(message.txid)

    def _page(self, tx_id: str) -> bytes:
        page, self._pages[tx_id] = self._pages[tx_id][:PAGE], self._pages[tx_id][PAGE:]
        response = chaincode_shim_pb2.QueryResponse(id=tx_id, has_more=bool(self._pages[tx_id]))
        for key, value in page:
            response.results.add(resultBytes=kv_query_result_pb2.KV(key=key, value=value).SerializeToString())
        data: bytes = response.SerializeToString()
        return data


def _proposal(transient: Mapping[str, bytes]) -> bytes:
    creator = identities_pb2.SerializedIdentity(mspid="AlphaMSP", id_bytes=b"a certificate").SerializeToString()
    header = common_pb2.Header(signature_header=common_pb2.SignatureHeader(creator=creator).SerializeToString())
    payload = proposal_pb2.ChaincodeProposalPayload(TransientMap=transient)
    proposal = proposal_pb2.Proposal(header=header.SerializeToString(), payload=payload.SerializeToString())
    data: bytes = proposal.SerializeToString()
    return data


@asynccontextmanager
async def fake_peer(
    port: int, credentials: grpc.ChannelCredentials | None = None, *, server_name: str = "localhost"
) -> AsyncIterator[FakePeer]:
    """Connect to the service on `port` as a peer does; leaves the stream without a word at the end.

    With `credentials`, only if the service's certificate is valid for `server_name`.
    """
    target = f"localhost:{port}"
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    options = [*unlimited, ("grpc.ssl_target_name_override", server_name)]
    transport = grpc.aio.secure_channel(target, credentials, options) if credentials else grpc.aio.insecure_channel(target, options)
    async with transport:
        call = chaincode_shim_pb2_grpc.ChaincodeStub(transport).Connect()
        peer = FakePeer(call)
        serving = peer.serving = asyncio.create_task(peer.serve())
        try:
            await asyncio.wait({serving, peer.registered}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
            yield peer
        finally:
            call.cancel()
            await asyncio.gather(serving, return_exceptions=True)
