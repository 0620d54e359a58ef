"""The contract of a real network is upgraded while gateways train on it: no round is lost, and the blocks of both versions verify."""

import asyncio
from pathlib import Path

import pytest

from fabric.canonical import dumps
from fabric.contract.release import RELEASE
from gateway.auditor.verify import verify_ledger
from gateway.config import load_gateway_config
from gateway.connect import ledger_access
from gateway.errors import InputError
from gateway.network.description import load
from gateway.network.home import open_home
from gateway.network.status import running
from gateway.network.up import up
from gateway.network.upgrade import upgrade
from tests.support.fabric_network import next_service
from tests.support.hospitals import consortium, task_document
from tests.support.next_audit import audited
from tests.support.next_contract import NEXT

pytestmark = [pytest.mark.fabric, pytest.mark.slow, pytest.mark.timeout(600)]


async def test_the_contract_is_upgraded_in_the_middle_of_a_task(fabric_home: Path, tmp_path: Path) -> None:
    async with consortium(tmp_path, fabric_home=fabric_home) as together:
        folder, home = together.network.fabric, open_home(fabric_home)
        with pytest.raises(
            InputError, match=rf"under contract {RELEASE.rules}; this program's is the same, so there is nothing to upgrade"
        ):
            upgrade(load(folder), home, print)

        task_id = await together.submit(task_document(rounds=3))
        await together.until(task_id, phase="reveal", round_number=1)
        old = set(running(load(folder)))
        after = await asyncio.to_thread(upgrade, load(folder), home, print, release=NEXT, serve=next_service)
        assert (after.description.contract, after.description.sequence, load(folder)) == (NEXT.rules, 2, after)
        assert old - set(running(after)) == {f"chaincode-{member.mspid}" for member in after.members}

        await together.until(task_id, phase="settled", round_number=1)
        newer = together.mspids[1]
        await together.stop(newer)
        await together.start(newer, release=NEXT)
        async with ledger_access(load_gateway_config(together.network.gateway(newer))) as (client, ledger):
            await client.submit("declare_contact", dumps({"contact": "it@hospital.example"}))
            assert (await ledger.version()).version == NEXT.version

        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 3), end.reason
        settlements = await together.settlements(end)
        assert [settlement.accepted for settlement in settlements] == [True] * 3
        assert all(entry.contributed for settlement in settlements for entry in settlement.hospitals)

        report = await audited(together.researcher.client)
        assert report.verified, report.finding
        assert [(each.version, each.sequence) for each in report.contracts] == [(RELEASE.rules, 1), (NEXT.rules, 2)]
        own = await verify_ledger(together.researcher.client)
        assert (own.first_bad_block, own.contracts) == (None, report.contracts)
        assert f"contract {NEXT.rules} decides" in own.finding
        with pytest.raises(InputError, match=rf"is under contract {NEXT.rules}, later than this program's {RELEASE.rules}"):
            up(load(folder), home, print)
