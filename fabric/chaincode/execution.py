"""One call of the contract, from the peer's message to the message that answers it, whatever happens in between."""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from fabric.chaincode import messages
from fabric.chaincode.errors import PeerError
from fabric.chaincode.metrics import Outcome
from fabric.chaincode.stub import Ask, PeerStub
from fabric.contract.errors import ContractError
from fabric.contract.stub import Stub

Contract = Callable[[Stub, str, Sequence[bytes]], bytes]

_LOGGED_PLACES = 8  # enough to see the contract's function under the calls of the stub

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """The message that ends a call, and what it was: `function` is empty where the call could not be read."""

    message: Any
    function: str
    outcome: Outcome


def execute(contract: Contract, request: Any, ask: Ask) -> Answer:
    """Run the contract in the calling thread and return its answer. Raises nothing.

    A refusal is answered with its code and sentence. Anything else that goes wrong is answered with a sentence that gives away
    nothing of the call, and logged by type and place only: an exception's text may hold a patient's value.
    """
    try:
        invocation = messages.read_invocation(request)
    except (DecodeError, UnicodeDecodeError, IndexError):
        sentence = "the peer's message is not an invocation this contract can read"
        return Answer(messages.failed(request, sentence), "", Outcome.UNREADABLE)
    message, outcome = _run(contract, request, invocation, ask)
    return Answer(message, invocation.function, outcome)


def _run(contract: Contract, request: Any, invocation: messages.Invocation, ask: Ask) -> tuple[Any, Outcome]:
    stub = PeerStub(invocation, ask)
    try:
        result = contract(stub, invocation.function, invocation.args)
        if stub.peer_failed:
            raise PeerError("the contract went on after the peer had failed")
        if not isinstance(result, bytes):
            raise TypeError("a contract returns bytes")
    except ContractError as refusal:
        return messages.refused(request, f"{refusal.code}: {refusal.sentence}"), Outcome.REFUSED
    except PeerError as error:
        _log_failure(invocation.tx_id, error)
        return messages.failed(request, "the peer could not answer the contract's reading or writing of the state"), Outcome.PEER_FAILED
    except BaseException as error:  # SystemExit, too: the peer must have an answer, and this thread serves others next
        _log_failure(invocation.tx_id, error)
        sentence = "INTERNAL: the contract failed on this call; the chaincode service's log says where"
        return messages.refused(request, sentence), Outcome.CRASHED
    return messages.completed(request, result, stub.event), Outcome.COMPLETED


def _log_failure(tx_id: str, error: BaseException) -> None:
    innermost = reversed(traceback.extract_tb(error.__traceback__, limit=-_LOGGED_PLACES))
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in innermost)
    _log.error("transaction %s failed with %s in %s", tx_id, type(error).__name__, places)
