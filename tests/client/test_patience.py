"""Pauses between attempts."""

import asyncio

import pytest

from fabric.client.patience import Backoff, Patience

PATIENCE = Patience(pause_s=1.0, longest_pause_s=8.0)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


async def test_pauses_double_up_to_the_longest_and_each_is_cut_at_random(slept: list[float]) -> None:
    backoff = Backoff(PATIENCE)
    for longest in (1, 2, 4, 8, 8, 8):
        assert await backoff.pause()
        assert longest / 2 <= slept[-1] <= longest


async def test_after_a_success_they_start_again(slept: list[float]) -> None:
    backoff = Backoff(PATIENCE)
    for _ in range(5):
        await backoff.pause()
    backoff.reset()
    await backoff.pause()
    assert slept[-1] <= 1


async def test_there_is_no_pause_that_would_pass_the_limit(slept: list[float]) -> None:
    assert not await Backoff(PATIENCE, limit_s=0.4).pause()
    assert slept == []


async def test_a_stream_may_be_down_for_days(slept: list[float]) -> None:
    backoff = Backoff(PATIENCE)
    for _ in range(5000):
        assert await backoff.pause()
