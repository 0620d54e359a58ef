"""What a peer's failed call is taken for."""

import grpc
import grpc.aio
import pytest
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2

from fabric import rpc_status
from fabric.client.errors import Failure

ABORTED = grpc.StatusCode.ABORTED


def _failure(message: str, *details: str, trailer: bytes | None = None) -> Failure:
    packed = [gateway_pb2.ErrorDetail(address="peer:7051", msp_id="AlphaMSP", message=detail) for detail in details]
    if trailer is None:
        trailer = rpc_status.encode(ABORTED.value[0], message, packed)
    metadata = grpc.aio.Metadata((rpc_status.METADATA_KEY, trailer))
    return Failure.of(grpc.aio.AioRpcError(ABORTED, grpc.aio.Metadata(), metadata, details=message))


@pytest.mark.parametrize(
    "failure",
    [
        _failure("failed to endorse transaction, see attached details", "chaincode response 500, NOT_DUE: nothing is due"),
        _failure("see details", "timeout", "chaincode response 500, NOT_DUE: nothing is due"),
        _failure("evaluate call to endorser returned error: chaincode response 500, NOT_DUE: nothing is due"),
    ],
)
def test_the_contracts_refusal_is_found_in_message_and_details(failure: Failure) -> None:
    assert failure.refusal is not None
    assert (failure.refusal.code, failure.refusal.sentence) == ("NOT_DUE", "nothing is due")


@pytest.mark.parametrize(
    "failure",
    [
        _failure("failed to endorse", "access denied: channel [consortium] creator org unknown"),
        _failure("failed to endorse", "TLS_ERROR: NOT_DUE: a peer's own words"),
        _failure("failed to endorse", "chaincode response 500, something without a code"),
        _failure("NOT_DUE: no marker"),
    ],
)
def test_nothing_else_is_a_refusal(failure: Failure) -> None:
    assert failure.refusal is None


def test_the_text_names_who_said_what() -> None:
    assert str(_failure("not endorsed", "no")) == "ABORTED: not endorsed; AlphaMSP at peer:7051: no"


@pytest.mark.parametrize("trailer", [b"", b"\xff\xff\xff", rpc_status.encode(10, "m", [proposal_pb2.Proposal(header=b"h")])])
def test_details_that_cannot_be_read_are_left_out(trailer: bytes) -> None:
    assert _failure("not endorsed", trailer=trailer).details == ()
