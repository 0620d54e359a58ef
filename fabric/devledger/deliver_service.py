"""Fabric's peer Deliver service: whole blocks and filtered blocks, as `common/deliver` in Fabric's source serves them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import chaincode_event_pb2, events_pb2, events_pb2_grpc, transaction_pb2
from google.protobuf.message import DecodeError

from fabric.blocks import transaction_codes
from fabric.channel import ChannelConfig
from fabric.crypto import IdentityError, verify_signature
from fabric.devledger.errors import LedgerStopping
from fabric.devledger.ledger import Ledger
from fabric.msp import MspRegistry
from fabric.transactions import EndorserTransaction, parse_envelope

TIME_WINDOW = timedelta(minutes=15)  # Fabric's: an older request may be a replay
FOR_EVER = 2**64 - 1

Context = grpc.aio.ServicerContext[object, object]
Wrap = Callable[[common_pb2.Block], events_pb2.DeliverResponse]


class _Refused(Exception):  # noqa: N818 - ends one seek with the status it carries
    """The seek request is answered with this `common.Status`."""

    def __init__(self, status: int) -> None:
        super().__init__(common_pb2.Status.Name(status))
        self.status = status


@dataclass(frozen=True)
class _Seek:
    """Blocks `first` to `last`, both included; `wait` for those that do not exist yet, else end at the tip with NOT_FOUND."""

    first: int
    last: int
    wait: bool


class DeliverService(events_pb2_grpc.DeliverServicer):  # type: ignore[misc] # the bindings publish no types
    """Streams blocks to any member of the channel. Private data does not exist here, so its stream stays unimplemented."""

    def __init__(self, ledger: Ledger, channel: ChannelConfig, clock: Callable[[], datetime]) -> None:
        self._ledger, self._channel, self._clock = ledger, channel.channel, clock
        self._organisations = MspRegistry({msp.mspid: msp for msp in channel.application})

    async def Deliver(  # noqa: N802 - Fabric's name
        self, requests: AsyncIterator[common_pb2.Envelope], context: Context
    ) -> AsyncIterator[events_pb2.DeliverResponse]:
        """Whole blocks."""
        async for response in self._serve(requests, _whole):
            yield response

    async def DeliverFiltered(  # noqa: N802 - Fabric's name
        self, requests: AsyncIterator[common_pb2.Envelope], context: Context
    ) -> AsyncIterator[events_pb2.DeliverResponse]:
        """Transaction ids, codes and event names, without payloads."""
        async for response in self._serve(requests, self._filtered):
            yield response

    async def _serve(self, requests: AsyncIterator[common_pb2.Envelope], wrap: Wrap) -> AsyncIterator[events_pb2.DeliverResponse]:
        """Answer each seek request in turn; the first that is refused ends the stream, as at a peer."""
        async for envelope in requests:
            try:
                seek = self._seek(envelope)
                async for block in self._blocks(seek):
                    yield wrap(block)
            except _Refused as refusal:
                yield events_pb2.DeliverResponse(status=refusal.status)
                return
            except LedgerStopping:
                yield events_pb2.DeliverResponse(status=common_pb2.SERVICE_UNAVAILABLE)
                return
            yield events_pb2.DeliverResponse(status=common_pb2.SUCCESS)

    async def _blocks(self, seek: _Seek) -> AsyncIterator[common_pb2.Block]:
        if not seek.wait and seek.first >= self._ledger.height:
            raise _Refused(common_pb2.NOT_FOUND)
        async for number in self._ledger.follow(seek.first):
            yield common_pb2.Block.FromString(self._ledger.block(number))
            if number == seek.last:
                return
            if not seek.wait and number + 1 >= self._ledger.height:
                raise _Refused(common_pb2.NOT_FOUND)

    def _seek(self, envelope: common_pb2.Envelope) -> _Seek:
        try:
            payload = common_pb2.Payload.FromString(envelope.payload)
            channel = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
            creator = common_pb2.SignatureHeader.FromString(payload.header.signature_header).creator
            seek = ab_pb2.SeekInfo.FromString(payload.data)
        except DecodeError as error:
            raise _Refused(common_pb2.BAD_REQUEST) from error
        self._check_time(channel)
        if channel.channel_id != self._channel:
            raise _Refused(common_pb2.NOT_FOUND)
        self._check_creator(creator, envelope)
        return self._positions(seek)

    def _check_time(self, channel: common_pb2.ChannelHeader) -> None:
        try:
            sent = channel.timestamp.ToDatetime(tzinfo=self._clock().tzinfo)
        except (ValueError, OverflowError) as error:
            raise _Refused(common_pb2.BAD_REQUEST) from error
        if abs(self._clock() - sent) > TIME_WINDOW:
            raise _Refused(common_pb2.BAD_REQUEST)

    def _check_creator(self, creator: bytes, envelope: common_pb2.Envelope) -> None:
        try:
            member = self._organisations.authenticate(creator, self._clock())
            verify_signature(member.certificate, envelope.payload, envelope.signature)
        except IdentityError as error:
            raise _Refused(common_pb2.FORBIDDEN) from error

    def _positions(self, seek: ab_pb2.SeekInfo) -> _Seek:
        tip = self._ledger.height - 1
        first, last = _position(seek.start, tip), _position(seek.stop, tip)
        if first is None or last is None or last < first:
            raise _Refused(common_pb2.BAD_REQUEST)
        return _Seek(first, last, seek.behavior == ab_pb2.SeekInfo.BLOCK_UNTIL_READY)

    def _filtered(self, block: common_pb2.Block) -> events_pb2.DeliverResponse:
        pairs = zip(block.data.data, transaction_codes(block), strict=True)
        filtered = events_pb2.FilteredBlock(
            channel_id=self._channel, number=block.header.number, filtered_transactions=[_filtered_transaction(*pair) for pair in pairs]
        )
        return events_pb2.DeliverResponse(filtered_block=filtered)


def _whole(block: common_pb2.Block) -> events_pb2.DeliverResponse:
    return events_pb2.DeliverResponse(block=block)


def _position(position: ab_pb2.SeekPosition, tip: int) -> int | None:
    kind = position.WhichOneof("Type")
    if kind == "specified":
        return int(position.specified.number)
    return {"oldest": 0, "newest": tip, "next_commit": tip + 1}.get(kind)


def _filtered_transaction(data: bytes, code: int) -> events_pb2.FilteredTransaction:
    transaction = parse_envelope(data)
    filtered = events_pb2.FilteredTransaction(txid=transaction.tx_id, type=transaction.headers.type, tx_validation_code=code)
    if code == transaction_pb2.VALID and isinstance(transaction, EndorserTransaction) and transaction.event is not None:
        event = chaincode_event_pb2.ChaincodeEvent(
            chaincode_id=transaction.event.chaincode, tx_id=transaction.event.tx_id, event_name=transaction.event.name
        )
        filtered.transaction_actions.chaincode_actions.append(events_pb2.FilteredChaincodeAction(chaincode_event=event))
    return filtered
