"""Hyperledger's official Node client against the embedded ledger.

Needs node and the client: `cd tests/interop && npm install --no-package-lock`.
"""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.peer import transaction_pb2

from fabric import canonical
from fabric.client.gateway import Gateway
from fabric.contract.release import RELEASE
from tests.support.ledger import Network, dev_ledger

HERE = Path(__file__).parent
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules/@hyperledger/fabric-gateway").exists(),
        reason="the official client is not installed: cd tests/interop && npm install --no-package-lock",
    ),
]


async def register(network: Network) -> None:
    """What the contract asks for before a gateway may send heartbeats."""
    gateway = Gateway.connect(network.endpoint, network.tls_ca, network.channel, network.chaincode, network.identity("AlphaMSP", "admin"))
    await gateway.submit("register_organisation", canonical.dumps({"name": "Alpha", "kind": "hospital"}))
    fingerprint = network.identity("AlphaMSP", "gateway").fingerprint
    await gateway.submit("register_identity", canonical.dumps({"role": "gateway", "fingerprint": fingerprint, "endpoint": ""}))
    await gateway.close()


async def driven(network: Network) -> dict[str, Any]:
    """What tests/interop/client.mjs saw."""
    files = network.organisations["AlphaMSP"].files("gateway")
    settings = {
        "endpoint": network.endpoint,
        "tlsCa": network.tls_ca.decode(),
        "mspId": "AlphaMSP",
        "certificate": files.certificate.read_text(),
        "privateKey": files.private_key.read_text(),
        "channel": network.channel,
        "chaincode": network.chaincode,
    }
    process = await asyncio.create_subprocess_exec(
        str(NODE), "client.mjs", json.dumps(settings), cwd=HERE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    seen: dict[str, Any] = json.loads(output)
    return seen


async def test_the_official_node_client_is_served(tmp_path: Path) -> None:
    async with dev_ledger(tmp_path) as network:
        await register(network)
        seen = await driven(network)
    assert seen["version"]["contract"] == "consortium"
    first, second = ({"count": count, "mspid": "AlphaMSP", "rules": RELEASE.rules} for count in (1, 2))
    block = seen["heartbeat"].pop("block")
    assert seen["heartbeat"] == {"result": {"count": 1}, "successful": True, "code": transaction_pb2.VALID}
    assert seen["liveEvent"] == [["heartbeat", first, True, block]]
    assert seen["replayed"] == [["heartbeat", first], ["heartbeat", second]]
    assert seen["resumedAtSecond"]
    assert seen["blocks"] == [[0, 1], [1, 1]]
    assert seen["filtered"] == [[True, transaction_pb2.VALID]]
    assert seen["conflict"] == transaction_pb2.MVCC_READ_CONFLICT
    for refusal, kind in ((seen["evaluateRefused"], "GatewayError"), (seen["endorseRefused"], "EndorseError")):
        assert refusal["type"] == kind
        ((mspid, message),) = refusal["details"]
        assert mspid == "AlphaMSP"
        assert message.startswith("chaincode response 500, ")
