"""The ledger's rules change while gateways train: no round is lost, and gateways of both versions go on together."""

import asyncio
from pathlib import Path

import pytest

from fabric.canonical import dumps
from fabric.contract.release import RELEASE, Release
from fabric.ledger_views import TaskView, VersionView
from gateway.auditor.verify import InForce, verify_ledger
from gateway.config import load_gateway_config
from gateway.connect import ledger_access
from gateway.contract_version import check_contract
from gateway.errors import ConfigError
from gateway.hospital.serve import run_gateway
from tests.support import next_contract
from tests.support.hospitals import TogetherConsortium, consortium, task_document
from tests.support.next_audit import audited
from tests.support.next_contract import NEXT


async def expect_nothing_lost(together: TogetherConsortium, end: TaskView, *, rounds: int) -> None:
    assert (end.phase, end.round) == ("finished", rounds), end.reason
    settlements = await together.settlements(end)
    assert [settlement.accepted for settlement in settlements] == [True] * rounds
    assert all(entry.contributed and entry.deposit_micro == 0 for settlement in settlements for entry in settlement.hospitals)


@pytest.mark.parametrize("phase", ["reveal", "decrypt"])
async def test_the_contract_is_upgraded_in_the_middle_of_a_round(tmp_path: Path, phase: str) -> None:
    """Then a gateway is replaced by one of the next version, which uses what is new, while the others stay as they are."""
    async with consortium(tmp_path) as together:
        task_id = await together.submit(task_document(rounds=3))
        await together.until(task_id, phase=phase, round_number=1)
        assert together.ledger is not None
        before = together.ledger.height
        await together.upgrade(next_contract.invoke, NEXT)
        await together.until(task_id, phase="settled", round_number=1)
        newer = together.mspids[1]
        await together.stop(newer)
        await together.start(newer, release=NEXT)
        await declare_contact(together, newer)
        await expect_nothing_lost(together, await together.until_over(task_id), rounds=3)
        report = await audited(together.researcher.client)
        assert report.verified, report.finding
        first, second = report.contracts
        assert (first, second.version, second.sequence) == (InForce(RELEASE.rules, 1, 1), NEXT.rules, 2)
        assert second.block >= before
        own = await verify_ledger(together.researcher.client)
        assert (own.first_bad_block, own.contracts) == (None, report.contracts)
        assert f"contract {NEXT.rules} decides" in own.finding


async def declare_contact(together: TogetherConsortium, mspid: str) -> None:
    """What only a gateway of the next version does, and all can see who look for it."""
    async with ledger_access(load_gateway_config(together.network.gateway(mspid))) as (client, ledger):
        await client.submit("declare_contact", dumps({"contact": "it@hospital.example"}))
        shown = await client.evaluate("organisation", dumps({"mspid": mspid}))
        assert b'"contact":"it@hospital.example"' in shown
        assert (await ledger.organisation(mspid)).mspid == mspid


async def test_a_gateway_does_not_start_on_a_contract_that_is_too_old_for_it(tmp_path: Path) -> None:
    async with consortium(tmp_path) as together:
        mspid = together.mspids[0]
        await together.stop(mspid)
        config = load_gateway_config(together.network.gateway(mspid))
        with pytest.raises(ConfigError, match=f"runs contract {RELEASE.version} and this program needs {NEXT.rules} or later"):
            await run_gateway(config, asyncio.Event(), release=NEXT)


def shown(version: str) -> VersionView:
    return VersionView(contract="consortium", version=version, schema=1)


@pytest.mark.parametrize("version", ["1.4.0", "1.4.9", "1.5.0", "1.40.1"])
def test_a_gateway_works_with_its_own_contract_and_with_later_ones(version: str) -> None:
    check_contract(shown(version), Release("1.4.2", 3, {}))


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("1.3.9", "runs contract 1.3.9 and this program needs 1.4 or later; upgrade the contract first, or start the earlier release"),
        ("2.0.0", "runs contract 2.0.0 and this program works with 1.x; start the release of the program that belongs to it"),
        ("0.9.0", "runs contract 0.9.0 and this program works with 1.x"),
        ("next", "runs contract next, which is no version this program can read"),
        ("", "which is no version this program can read"),
    ],
)
def test_other_contracts_are_refused_with_a_sentence(version: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence.replace(".", r"\.")):
        check_contract(shown(version), Release("1.4.2", 3, {}))
