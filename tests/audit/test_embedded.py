"""The embedded ledger's own blocks, fetched as an auditor fetches them."""

import asyncio
from pathlib import Path

from fabric.client.gateway import Gateway
from gateway.auditor.export import export_ledger
from gateway.auditor.verify import verify_file, verify_ledger
from tests.support import key_value_contract
from tests.support.ledger import dev_ledger


async def test_a_running_ledger_verifies_over_the_network_and_from_its_file(tmp_path: Path) -> None:
    async with dev_ledger(tmp_path, contract=key_value_contract.invoke) as network:
        client = Gateway.connect(network.endpoint, network.tls_ca, network.channel, network.chaincode, network.identity("AlphaMSP"))
        try:
            await asyncio.gather(*(client.submit("put", f"key{number}".encode(), b"value") for number in range(10)))
            report = await verify_ledger(client)
            exported = await export_ledger(client, tmp_path / "ledger.blocks")
        finally:
            await client.close()
    assert report.verified
    assert report.valid >= 11
    assert (report.height, report.last_hash) == (exported.height, exported.last_hash.hex())
    assert verify_file(tmp_path / "ledger.blocks") == report
