"""Run a verb's coroutine against the ledger, with or without the gateways."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from fabric.client.gateway import Gateway
from fabric.ledger import Ledger
from gateway.config import load_client_config
from gateway.connect import Access, access, ledger_access

Answer = TypeVar("Answer")


def with_ledger(config: Path, work: Callable[[Ledger], Awaitable[Answer]]) -> Answer:
    """Run `work` with the contract, as the identity of the configuration file."""
    return with_client(config, lambda _, ledger: work(ledger))


def with_client(config: Path, work: Callable[[Gateway, Ledger], Awaitable[Answer]]) -> Answer:
    """Run `work` with the ledger's client and the contract."""

    async def run() -> Answer:
        async with ledger_access(load_client_config(config)) as (client, ledger):
            return await work(client, ledger)

    return asyncio.run(run())


def with_gateways(config: Path, work: Callable[[Access], Awaitable[Answer]]) -> Answer:
    """Run `work` with the ledger and the gateways."""

    async def run() -> Answer:
        async with access(load_client_config(config)) as reached:
            return await work(reached)

    return asyncio.run(run())
