"""`bench ledger`: what is timed and counted, and a small run of the whole verb on the embedded ledger."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from fabric.client.errors import ContractRefused
from gateway.bench import scripted_task
from gateway.bench.ledger import CALLS, ROUNDS
from gateway.bench.meter import Meter, TimedCall, throughput
from gateway.bench.trained_round import RoundClock
from gateway.cli.main import run
from gateway.errors import ExitCode
from gateway.researcher.progress import Progress


def ticks() -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += 1.0


async def test_no_more_calls_are_under_way_than_there_are_callers() -> None:
    under_way = most = 0

    async def call() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    meter = Meter(3)
    await asyncio.gather(*(meter.timed("call", call) for _ in range(20)))
    assert (most, len(meter.calls)) == (3, 20)


async def test_a_call_s_time_begins_with_its_turn_and_a_failed_call_counts_for_nothing() -> None:
    meter = Meter(1, clock=ticks().__next__)

    async def fails() -> None:
        raise ValueError

    async def answers() -> str:
        return "answer"

    assert await meter.timed("first", answers) == "answer"
    with pytest.raises(ValueError, match=r"^$"):
        await meter.timed("second", fails)
    await meter.timed("third", answers)
    assert meter.calls == [TimedCall("first", 0.0, 1.0), TimedCall("third", 3.0, 4.0)]


def test_throughput_is_of_the_whole_time_and_latency_of_each_call() -> None:
    calls = [TimedCall("a", 10.0, 10.5), TimedCall("b", 10.0, 11.0), TimedCall("a", 10.5, 12.0)]
    assert throughput(calls) == {"transactions": 3, "per_second": 1.5, "p50_ms": 1000.0, "p99_ms": 1500.0}


async def test_what_a_peer_has_not_seen_yet_is_tried_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted_task, "_CATCH_UP_SECONDS", 0)
    monkeypatch.setattr(scripted_task, "_CATCH_UP_TRIES", 2)
    refusals = [ContractRefused("NOT_DUE", "later"), ContractRefused("SHARES_MISSING", "later")]

    async def step() -> str:
        if refusals:
            raise refusals.pop()
        return "done"

    assert await scripted_task._once_caught_up(step) == "done"
    refusals += [ContractRefused("DENIED", "never")] * 3
    with pytest.raises(ContractRefused, match="never"):
        await scripted_task._once_caught_up(step)


def test_a_round_lasts_from_one_settlement_to_the_next() -> None:
    moments = iter([100.0, 103.0, 105.0, 109.0])
    clock = RoundClock(print, clock=lambda: next(moments))
    for settled in (0, 1, 1, 2, 3, 4):
        clock.show(Progress("task", "title", "rounds", settled + 1, 4, settled=settled))
    assert clock.seconds == 3.0


def test_a_run_tells_what_it_must(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "ledger", "--callers", "2", "--hospitals", "4", "--rounds", "2", "--trained-rounds", "0", "--format", "json"]
    assert run(words) is ExitCode.OK
    found = json.loads(capfd.readouterr().out)["data"]
    assert found["machine"]["cores"] >= 1
    calls, rounds = found["results"]
    assert (calls["what"], calls["ledger"], calls["callers"]) == (CALLS, "embedded", 2)
    assert calls["transactions"] > 50
    assert 0 < calls["p50_ms"] <= calls["p99_ms"]
    assert (rounds["what"], rounds["hospitals"]) == (ROUNDS, 4)
    # Hospitals act at the same time, so that a round is shorter than its calls together.
    assert 0 < rounds["seconds_on_critical_path"] < rounds["seconds_of_all_calls"]


def test_one_trained_round_is_too_few_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "ledger", "--trained-rounds", "1"]) is ExitCode.USAGE
    assert "from one settlement to the next" in capsys.readouterr().err
