"""A contract function whose transaction is spelt out by its caller: calls of the stub, one after the other, in any order.

A script is canonical JSON, a list of [call, *words]; the answer lists what each call said. What differs between two ledgers that run
the same script is not the contract's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fabric.canonical import dumps, loads
from fabric.contract.errors import ContractError
from fabric.contract.stub import Stub


def run_script(stub: Stub, args: Sequence[str]) -> bytes:
    """Take every step and answer what each of them said; what one raises ends the call."""
    return dumps([STEPS[name](stub, *words) for name, *words in loads(args[0])])


def _get(stub: Stub, key: str) -> str | None:
    value = stub.get_state(key)
    return None if value is None else value.decode()


def _put(stub: Stub, key: str, value: str) -> None:
    stub.put_state(key, value.encode())


def _delete(stub: Stub, key: str) -> None:
    stub.delete_state(key)


def _fill(stub: Stub, prefix: str, count: int) -> None:
    """More keys than a peer lists, or hands over, at once."""
    for number in range(count):
        stub.put_state(f"{prefix}{number:03}", str(number).encode())


def _range(stub: Stub, start: str, end: str, most: int) -> list[list[str]]:
    """The first `most` entries; the iterator is left where they end."""
    found: list[list[str]] = []
    if most:
        for key, value in stub.get_state_by_range(start, end):
            found.append([key, value.decode()])
            if len(found) == most:
                break
    return found


def _policy(stub: Stub, key: str) -> str:
    return stub.get_state_validation_parameter(key).hex()


def _set_policy(stub: Stub, key: str, policy: str) -> None:
    stub.set_state_validation_parameter(key, bytes.fromhex(policy))


def _event(stub: Stub, name: str, payload: str) -> None:
    stub.set_event(name, payload.encode())


def _caller(stub: Stub) -> list[str]:
    return [stub.tx_id, stub.mspid, stub.certificate_pem.decode()]


def _transient(stub: Stub) -> Mapping[str, str]:
    return {name: value.hex() for name, value in stub.transient.items()}


def _refuse(stub: Stub, code: str, sentence: str) -> None:
    raise ContractError(code, sentence)


def _crash(stub: Stub) -> None:
    raise RuntimeError("a mistake in the contract")


STEPS: Mapping[str, Callable[..., Any]] = {
    "get": _get,
    "put": _put,
    "delete": _delete,
    "fill": _fill,
    "range": _range,
    "policy": _policy,
    "set_policy": _set_policy,
    "event": _event,
    "caller": _caller,
    "transient": _transient,
    "refuse": _refuse,
    "crash": _crash,
}
