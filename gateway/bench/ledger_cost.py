"""What a round with elections, scores, trust and pay costs on the ledger: its transactions and the bytes of its blocks."""

from collections.abc import Sequence
from pathlib import Path

from fabric.client.gateway import Gateway
from gateway.bench import ledgers
from gateway.bench.meter import Meter
from gateway.bench.results import Measurement
from gateway.bench.scripted_task import ScriptedTask

COST = "A round on the embedded ledger"


async def costs(folder: Path, hospitals: Sequence[int]) -> list[Measurement]:
    """One row for each number of hospitals; the ledgers lie in `folder` meanwhile."""
    return [await _cost(folder / str(count), count) for count in hospitals]


async def _cost(folder: Path, count: int) -> Measurement:
    """The second round, whose settlement updates what the first one's wrote."""
    async with ledgers.embedded(folder, "embedded", count) as ledger:
        task = ScriptedTask("cost", ledger.hospitals, Meter(count), rounds=3)
        await task.submit(ledger.researcher)
        await task.until_rounds()
        await task.run_round(1)
        before = await ledger.reader.height()
        timing = await task.run_round(2)
        size = await _bytes_since(ledger.reader, before)
    values = {
        "transactions": timing.transactions,
        "bytes": size,
        "transactions_a_hospital": timing.transactions / count,
        "bytes_a_hospital": size / count,
    }
    return Measurement(COST, {"hospitals": count}, values)


async def _bytes_since(reader: Gateway, height: int) -> int:
    stop = await reader.height() - 1
    return sum([block.ByteSize() async for block in reader.blocks(start=height, stop=stop)])
