"""The ordering service's own door, for what no peer's gateway hands in: channel configuration updates."""

from collections.abc import Sequence

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2_grpc

from fabric.client.errors import Failure, LedgerUnavailable, SubmitError

_ANSWER_SECONDS = 30.0


async def broadcast(orderers: Sequence[tuple[str, bytes]], envelope: bytes) -> None:
    """Hand in `common.Envelope` bytes at the first of the orderers (endpoint "host:port", TLS roots in PEM) that takes it.

    Raises SubmitError if an orderer judges it and refuses, LedgerUnavailable if none of them answers. It is ordered, not yet in a block.
    """
    failures = []
    for endpoint, tls_roots in orderers:
        async with grpc.aio.secure_channel(endpoint, grpc.ssl_channel_credentials(tls_roots)) as transport:
            call = ab_pb2_grpc.AtomicBroadcastStub(transport).Broadcast(timeout=_ANSWER_SECONDS)
            try:
                await call.write(common_pb2.Envelope.FromString(envelope))
                answer = await call.read()
            except grpc.aio.AioRpcError as error:
                failures.append(f"{endpoint}: {Failure.of(error)}")
                continue
        if answer is grpc.aio.EOF or answer.status == common_pb2.SERVICE_UNAVAILABLE:
            failures.append(f"{endpoint}: {'no answer' if answer is grpc.aio.EOF else answer.info}")
        elif answer.status == common_pb2.SUCCESS:
            return
        else:
            raise SubmitError(f"{endpoint} refused the update: {common_pb2.Status.Name(answer.status)} {answer.info}")
    raise LedgerUnavailable(f"no orderer takes the update ({'; '.join(failures) or 'the channel names none'})")
