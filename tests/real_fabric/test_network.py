"""`consortium network` with real programs: orderers that fail, a network that is stopped and started again, BFT ordering."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.auditor.verify import verify_ledger
from gateway.config import load_client_config
from gateway.connect import ledger_access, open_ledger
from gateway.network.description import load
from gateway.network.home import open_home
from gateway.network.status import status

pytestmark = pytest.mark.fabric

Type = Callable[..., Any]


def kill(folder: Path, name: str) -> None:
    (pid,) = [each.pid for each in status(load(folder)) if each.name == name]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while any(each.pid == pid for each in status(load(folder))):
        time.sleep(0.01)


async def register(folder: Path, mspid: str) -> None:
    async with ledger_access(load_client_config(folder / "admins" / f"{mspid}.toml")) as (_, ledger):
        await ledger.register_organisation(name=mspid, kind="hospital")


async def registered(folder: Path) -> list[str]:
    async with ledger_access(load_client_config(folder / "admins" / "Org1MSP.toml")) as (_, ledger):
        return [organisation.mspid for organisation in await ledger.organisations()]


async def verify(folder: Path) -> None:
    client = open_ledger(load_client_config(folder / "clients" / "Org1MSP.toml"))
    report = await verify_ledger(client)
    await client.close()
    assert (report.reason, report.problems) == ("", ())


async def test_one_orderer_of_three_may_die_and_the_ledger_outlives_a_restart(fabric_home: Path, folder: Path, say: Type) -> None:
    made = say("network", "up", "--fabric-home", fabric_home, "--out", folder)
    assert made["up"]
    assert len(made["programs"]) == 3 + 3 + 3
    await register(folder, "Org1MSP")
    kill(folder, "orderer-1")
    await register(folder, "Org2MSP")
    assert not say("network", "status", "--out", folder)["up"]
    assert "orderer-1" not in say("network", "down", "--out", folder)["stopped"]
    assert say("network", "up", "--fabric-home", fabric_home, "--out", folder)["up"]
    assert await registered(folder) == ["Org1MSP", "Org2MSP"]
    await register(folder, "Org3MSP")
    await verify(folder)


async def test_one_bft_orderer_of_four_may_die(fabric_home: Path, folder: Path, say: Type) -> None:
    if open_home(fabric_home).version < (3, 0):
        pytest.skip("BFT ordering came with Fabric 3.0; FABRIC_HOME is older")
    say("network", "up", "--fabric-home", fabric_home, "--out", folder, "--orgs", "2", "--orderers", "bft:4")
    await register(folder, "Org1MSP")
    kill(folder, "orderer-4")  # a follower: the first leader is the first orderer
    await register(folder, "Org2MSP")
    assert await registered(folder) == ["Org1MSP", "Org2MSP"]
    await verify(folder)
