"""A contract of a few lines, for tests of the ledger itself: anyone may read and write any key."""

from collections.abc import Sequence

from fabric.contract.errors import ContractError
from fabric.contract.stub import Stub


def invoke(stub: Stub, function: str, args: Sequence[bytes]) -> bytes:
    """`put K V`, `get K`, `delete K`, `increment K`, `keys START END`, `count START END K` (writes the count to K), `whoami`, `crash`."""
    text = [arg.decode() for arg in args]
    match function:
        case "put":
            stub.put_state(text[0], args[1])
            stub.set_event("put", args[0])
        case "get":
            return stub.get_state(text[0]) or b""
        case "delete":
            stub.delete_state(text[0])
        case "increment":
            value = str(int(stub.get_state(text[0]) or b"0") + 1).encode()
            stub.put_state(text[0], value)
            return value
        case "keys":
            return ",".join(key for key, _ in stub.get_state_by_range(text[0], text[1])).encode()
        case "count":
            stub.put_state(text[2], str(len(list(stub.get_state_by_range(text[0], text[1])))).encode())
        case "whoami":
            return stub.mspid.encode() + b" " + stub.certificate_pem
        case "crash":
            raise RuntimeError("a mistake in the contract")
        case _:
            raise ContractError("UNKNOWN_FUNCTION", f"there is no function {function!r}")
    return b"ok"
