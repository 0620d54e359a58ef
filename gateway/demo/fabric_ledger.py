"""A real Fabric network as the demo's ledger: brought up by its verb, watched, and ended with the demo."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.demo.processes import Processes
from gateway.errors import Unavailable
from gateway.network.description import Network, load
from gateway.network.launches import endpoints
from gateway.network.status import running

_WATCH_SECONDS = 1.0


class FabricLedger:
    """The running network. It has ended when no more than half of its orderers, peers or chaincode services run."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.ended = asyncio.create_task(self._watch())

    def obituary(self) -> str:
        found = running(self._network)
        stopped = [name for name in endpoints(self._network) if name not in found]
        return f"{', '.join(stopped)} of the Fabric network ended; the logs are in {self._network.folder / 'logs'}"

    async def _watch(self) -> None:
        while self._majorities_run():  # noqa: ASYNC110 (other processes set no event)
            await asyncio.sleep(_WATCH_SECONDS)

    def _majorities_run(self) -> bool:
        network = load(self._network.folder)  # again: an upgrade puts other services in the place of those there were
        found = running(network)
        kinds = (
            [orderer.name for orderer in network.orderers],
            [member.peer for member in network.members],
            [member.service for member in network.members],
        )
        return all(2 * sum(name in found for name in names) > len(names) for names in kinds)


@asynccontextmanager
async def fabric_ledger(processes: Processes, folder: Path, home: Path) -> AsyncIterator[FabricLedger]:
    """Bring up the network that `folder` describes; its programs end with `processes`. Raises Unavailable if it does not come up."""
    rising = await processes.start("network", "bringing up the Fabric network", "network", "up", "--fabric-home", home, "--out", folder)
    if await rising.ended:
        raise Unavailable(rising.obituary())
    network = load(folder)
    for group in running(network).values():
        processes.adopt(group)
    ledger = FabricLedger(network)
    try:
        yield ledger
    finally:
        ledger.ended.cancel()
        for group in running(load(folder)).values():
            processes.adopt(group)
