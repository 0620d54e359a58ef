"""One call of the contract, from the peer's message to the message that answers it, whatever happens in between."""

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from fabric.chaincode import messages
from fabric.chaincode.errors import PeerError
from fabric.chaincode.stub import Ask, PeerStub
from fabric.contract.errors import ContractError
from fabric.contract.stub import Stub

Contract = Callable[[Stub, str, Sequence[bytes]], bytes]

_LOGGED_PLACES = 8  # enough to see the contract's function under the calls of the stub

_log = logging.getLogger(__name__)


def execute(contract: Contract, request: Any, ask: Ask) -> Any:
    """Run the contract in the calling thread and return the answering message. Raises nothing.

    A refusal is answered with its code and sentence. Anything else that goes wrong is answered with a sentence that gives away
    nothing of the call, and logged by type and place only: an exception's text may hold a patient's value.
    """
    try:
        invocation = messages.read_invocation(request)
    except (DecodeError, UnicodeDecodeError, IndexError):
        return messages.failed(request, "the peer's message is not an invocation this contract can read")
    stub = PeerStub(invocation, ask)
    try:
        result = contract(stub, invocation.function, invocation.args)
        if stub.peer_failed:
            raise PeerError("the contract went on after the peer had failed")
        if not isinstance(result, bytes):
            raise TypeError("a contract returns bytes")
    except ContractError as refusal:
        return messages.refused(request, f"{refusal.code}: {refusal.sentence}")
    except PeerError as error:
        _log_failure(invocation.tx_id, error)
        return messages.failed(request, "the peer could not answer the contract's reading or writing of the state")
    except BaseException as error:  # SystemExit, too: the peer must have an answer, and this thread serves others next
        _log_failure(invocation.tx_id, error)
        return messages.refused(request, "INTERNAL: the contract failed on this call; the chaincode service's log says where")
    return messages.completed(request, result, stub.event)


def _log_failure(tx_id: str, error: BaseException) -> None:
    innermost = reversed(traceback.extract_tb(error.__traceback__, limit=-_LOGGED_PLACES))
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in innermost)
    _log.error("transaction %s failed with %s in %s", tx_id, type(error).__name__, places)
