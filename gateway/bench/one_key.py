"""The least that a contract can do, as a chaincode service: `python -m gateway.bench.one_key CONFIG`.

What a network gives this one is what it could give any; the rest of a call's time is the consortium's contract.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from fabric.contract.stub import Stub
from gateway.chaincode.config import load_chaincode_config
from gateway.chaincode.serve import serve


def invoke(stub: Stub, function: str, args: Sequence[bytes]) -> bytes:
    """`put KEY`: write one key and read none."""
    stub.put_state(args[0].decode(), b"1")
    return function.encode()


if __name__ == "__main__":
    asyncio.run(serve(load_chaincode_config(Path(sys.argv[1])), contract=invoke))
