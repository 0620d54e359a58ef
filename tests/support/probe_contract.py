"""A contract for tests that touches every stub call and goes wrong in every way."""

import os
import time
from collections.abc import Callable, Sequence

from fabric_protos.peer import chaincode_shim_pb2

from fabric.canonical import dumps
from fabric.chaincode.messages import Message
from fabric.contract.errors import ContractError
from fabric.contract.stub import Stub
from tests.support.scripted_calls import run_script

SECRET = "patient-4711"  # what failing calls hold, and no log may show


def invoke(stub: Stub, function: str, args: Sequence[bytes]) -> bytes:
    """The contract's door, as `fabric.contract.entry.invoke` is the consortium's."""
    if function not in _FUNCTIONS:
        raise ContractError("UNKNOWN_FUNCTION", f"there is no function {function}")
    return _FUNCTIONS[function](stub, [argument.decode() for argument in args])


def _put(stub: Stub, args: Sequence[str]) -> bytes:
    stub.put_state(args[0], args[1].encode())
    return stub.tx_id.encode()


def _get(stub: Stub, args: Sequence[str]) -> bytes:
    value = stub.get_state(args[0])
    if value is None:
        raise ContractError("NOT_FOUND", f"there is no {args[0]}")
    return value


def _delete(stub: Stub, args: Sequence[str]) -> bytes:
    stub.delete_state(args[0])
    return b""


def _fill(stub: Stub, args: Sequence[str]) -> bytes:
    """`fill prefix count`: keys for ranges longer than a peer's page."""
    for number in range(int(args[1])):
        stub.put_state(f"{args[0]}{number:04}", str(number).encode())
    return b""


def _range(stub: Stub, args: Sequence[str]) -> bytes:
    return dumps([[key, value.decode()] for key, value in stub.get_state_by_range(args[0], args[1])])


def _first(stub: Stub, args: Sequence[str]) -> bytes:
    """Leaves its iterator after one entry."""
    for key, _ in stub.get_state_by_range(args[0], args[1]):
        return key.encode()
    return b""


def _guard(stub: Stub, args: Sequence[str]) -> bytes:
    """`guard key value policy`: writes a key with an endorsement policy of its own, in hex."""
    stub.put_state(args[0], args[1].encode())
    stub.set_state_validation_parameter(args[0], bytes.fromhex(args[2]))
    return b""


def _policy(stub: Stub, args: Sequence[str]) -> bytes:
    return stub.get_state_validation_parameter(args[0]).hex().encode()


def _increment(stub: Stub, args: Sequence[str]) -> bytes:
    value = int(stub.get_state(args[0]) or b"0") + 1
    stub.put_state(args[0], str(value).encode())
    return str(value).encode()


def _count(stub: Stub, args: Sequence[str]) -> bytes:
    """Writes how many keys a range has: two of these that add to the range are phantoms to each other."""
    value = len(list(stub.get_state_by_range(args[0], args[0] + "\uffff")))
    stub.put_state(f"{args[0]}{stub.tx_id}", str(value).encode())
    return str(value).encode()


def _announce(stub: Stub, args: Sequence[str]) -> bytes:
    stub.put_state(f"announced-{args[0]}", b"1")
    stub.set_event("announced", args[0].encode())
    return b""


def _caller(stub: Stub, args: Sequence[str]) -> bytes:
    return dumps({"mspid": stub.mspid, "certificate": stub.certificate_pem.decode()})


def _transient(stub: Stub, args: Sequence[str]) -> bytes:
    """Writes nothing of it."""
    return dumps(sorted((name, len(value)) for name, value in stub.transient.items()))


def _refuse(stub: Stub, args: Sequence[str]) -> bytes:
    stub.put_state("refused", b"never written")
    raise ContractError("NOT_ALLOWED", "you may not: ask your administrator")


def _crash(stub: Stub, args: Sequence[str]) -> bytes:
    raise ValueError(f"the value {SECRET} is bad")


def _exit(stub: Stub, args: Sequence[str]) -> bytes:
    raise SystemExit(SECRET)


def _recurse(stub: Stub, args: Sequence[str]) -> bytes:
    return _recurse(stub, args)


def _text(stub: Stub, args: Sequence[str]) -> bytes:
    return SECRET  # type: ignore[return-value]  # what a contract must not do


def _peer_error(stub: Stub, args: Sequence[str]) -> bytes:
    """Asks a real peer for something it answers with ERROR; no call of the public stub makes one do so."""
    nonsense = chaincode_shim_pb2.QueryStateNext(id="no such iterator")
    answer: bytes = stub._request(Message.QUERY_STATE_NEXT, nonsense)  # type: ignore[attr-defined]  # only real peers' stub has it
    return answer


def _swallow(stub: Stub, args: Sequence[str]) -> bytes:
    """Goes on after an error of the peer as if nothing had been."""
    try:
        _peer_error(stub, args)
    except Exception:
        stub.put_state("swallowed", b"1")
    return b""


def _differ(stub: Stub, args: Sequence[str]) -> bytes:
    """Another answer on every peer."""
    return os.urandom(8)


def _wait(stub: Stub, args: Sequence[str]) -> bytes:
    """Keeps a worker for the milliseconds given."""
    time.sleep(int(args[0]) / 1000)
    return b""


_FUNCTIONS: dict[str, Callable[[Stub, Sequence[str]], bytes]] = {
    "put": _put,
    "get": _get,
    "delete": _delete,
    "fill": _fill,
    "range": _range,
    "first": _first,
    "guard": _guard,
    "policy": _policy,
    "increment": _increment,
    "count": _count,
    "announce": _announce,
    "caller": _caller,
    "transient": _transient,
    "refuse": _refuse,
    "crash": _crash,
    "exit": _exit,
    "recurse": _recurse,
    "text": _text,
    "peer_error": _peer_error,
    "swallow": _swallow,
    "differ": _differ,
    "wait": _wait,
    "script": run_script,
}
