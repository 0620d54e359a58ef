"""Chaincode services in a process of their own: `python -m tests.support.chaincode_process FILE`.

FILE is JSON, a list of {"contract": "module:function", "listen", "package_id", "certificate", "private_key", "client_ca"} with
paths of PEM files. Prints `ready` once all listen; ends on SIGTERM.
"""

import asyncio
import importlib
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fabric.chaincode.execution import Contract
from fabric.chaincode.server import ChaincodeService, ServiceSettings
from fabric.tls import MutualTls, TlsIdentity


async def main(entries: Sequence[Mapping[str, str]]) -> None:
    services = [_service(**entry) for entry in entries]
    for service in services:
        await service.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await asyncio.gather(*(service.stop(1) for service in services))


def _service(contract: str, listen: str, package_id: str, certificate: str, private_key: str, client_ca: str) -> ChaincodeService:
    tls = MutualTls(TlsIdentity(Path(certificate).read_bytes(), Path(private_key).read_bytes()), Path(client_ca).read_bytes())
    return ChaincodeService(_contract(contract), ServiceSettings(listen, package_id, lambda: tls))


def _contract(name: str) -> Contract:
    module, _, function = name.partition(":")
    contract: Contract = getattr(importlib.import_module(module), function)
    return contract


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
