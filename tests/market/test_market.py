"""The market between real gateways: published, ordered, trained, settled, audited."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.auditor.trail import trail
from gateway.auditor.verify import verify_ledger
from gateway.config import load_gateway_config
from gateway.connect import ledger_access
from gateway.errors import InputError
from gateway.market.listing_file import load_listing
from gateway.market.order import order
from gateway.market.publish import publish
from privacy.noise import NoiseSource
from tests.support.hospitals import TogetherConsortium, consortium, task_document

SAMPLE = Path(__file__).parents[2] / "deploy" / "samples" / "market" / "heart-clinic.toml"
BASIS = "GDPR 9(2)(j)"
PERMIT = 'permit = "EHDS-7"\npermit_expires = 2090-06-30'


async def _offer(together: TogetherConsortium, mspid: str, folder: Path) -> None:
    text = SAMPLE.read_text().replace("heart-clinic-2026", f"offer-{mspid}").replace("scientific research", "testing")
    path = folder / f"{mspid}.toml"
    path.write_text(text)
    config = load_gateway_config(together.network.gateway(mspid))
    async with ledger_access(config) as (_, ledger):
        out = folder / f"{mspid}.jsonld"
        await publish(ledger, config, load_listing(path), out=out, now=datetime.now(UTC), noise=NoiseSource.from_system())


async def test_an_order_is_trained_by_who_made_offers_and_settled_by_contribution(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4) as together:
        offering = together.mspids[1:]
        for mspid in offering:
            await _offer(together, mspid, tmp_path)
        document = task_document(rounds=2, permit=PERMIT)
        with pytest.raises(InputError, match="0 offers match and the task needs 3"):
            await order(together.researcher, document, legal_basis="GDPR 6(1)(f)", wanted=(), task_id="task-0", source="test")
        found, submitted = await order(together.researcher, document, legal_basis=BASIS, wanted=(), task_id="task-1", source="test")
        assert {each.mspid for each in found.taken} == set(offering)
        assert len(submitted.delivered) == 3
        end = await together.until_over("task-1")
        assert (end.phase, set(end.participants)) == ("finished", set(offering)), end.reason
        for mspid in offering:  # paid for before it is told
            await together.evaluation(mspid, "task-1")
        view = await together.researcher.ledger.task("task-1")
        assert sorted(each.mspid for each in view.releases) == sorted([*offering, *offering])  # quality and evaluation
        assert {each.mspid for each in view.statements} == set(offering)
        await together.researcher.ledger.settle_order(task_id="task-1")
        (settled,) = await together.researcher.ledger.orders()
        assert settled.paid_micro == {
            mspid: sum(entry.pay_micro for each in await together.settlements(end) for entry in each.hospitals if entry.mspid == mspid)
            for mspid in offering
        }
        assert sum(settled.paid_micro.values()) > 0
        report = await verify_ledger(together.researcher.client)
        assert report.verified, report.finding
        height = await together.researcher.client.height()
        told = trail([block async for block in together.researcher.client.blocks(start=0, stop=height - 1)], "task-1")
        text = "\n".join(entry.line for entry in told)
        assert f"an order of offer-{offering[0]}" in text and "settled the order, whose task is finished" in text
        assert "debited its privacy budget for its evaluation of the model" in text
