"""Events in a file: each once and in order, wherever the writer was killed."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fabric.client.checkpoint import Checkpoint
from fabric.client.events import ChaincodeEvent
from gateway.auditor.event_log import append_events
from gateway.errors import InputError

# Two events share a block; payloads hold what lines could break at.
EVENTS = [
    ChaincodeEvent("phase", b'{"task_id":"a\\nb"}', "t1", 3),
    ChaincodeEvent("progress", '{"mspid":"Klinikum-Süd"}'.encode(), "t2", 3),
    ChaincodeEvent("settled", b"{}", "t3", 5),
    ChaincodeEvent("alien", b"\xff\n\x00", "t4", 6),
]


class Ledger:
    """Tells its events after the checkpoint asked for, and then ends."""

    def __init__(self, count: int = len(EVENTS)) -> None:
        self.events = EVENTS[:count]
        self.asked: list[Checkpoint | None] = []

    async def chaincode_events(self, *, after: Checkpoint | None) -> AsyncIterator[ChaincodeEvent]:
        self.asked.append(after)
        assert after is not None
        for event in self.events:
            if event.block_number >= after.next_block and not (after.tx_id and event.tx_id <= after.tx_id):
                yield event


def told(path: Path) -> list[str]:
    return [json.loads(line)["tx_id"] for line in path.read_text().splitlines()]


async def test_a_line_holds_everything_of_its_event(tmp_path: Path) -> None:
    await append_events(Ledger(), tmp_path / "events")
    lines = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert lines[0] == {"block": 3, "tx_id": "t1", "name": "phase", "payload": {"task_id": "a\nb"}}
    assert [line["payload"] for line in lines[1:]] == [{"mspid": "Klinikum-Süd"}, {}, "ff0a00"]


async def test_it_starts_at_the_first_block_and_goes_on_after_the_last_event(tmp_path: Path) -> None:
    ledger = Ledger(2)
    for _ in range(2):
        await append_events(ledger, tmp_path / "events")
    assert ledger.asked == [Checkpoint(0), Checkpoint(3, "t2")]
    await append_events(Ledger(), tmp_path / "events")
    assert told(tmp_path / "events") == ["t1", "t2", "t3", "t4"]


async def test_wherever_the_writer_was_killed_each_event_stands_there_once(tmp_path: Path) -> None:
    await append_events(Ledger(), tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for length in range(len(whole)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:length])
        await append_events(Ledger(), path)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"text\n", b"{}\n", b'{"block":"x","tx_id":"t"}\n', b"[1]\n", b"\xff\n"])
async def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not one that `audit events` wrote"):
        await append_events(Ledger(), path)
    assert path.read_bytes() == content


async def test_two_writers_are_not_let_at_one_file(tmp_path: Path) -> None:
    class Nested(Ledger):
        async def chaincode_events(self, *, after: Checkpoint | None) -> AsyncIterator[ChaincodeEvent]:
            await append_events(Ledger(), tmp_path / "events")
            yield EVENTS[0]

    with pytest.raises(InputError, match="another process"):
        await append_events(Nested(), tmp_path / "events")


async def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        await append_events(Ledger(), tmp_path / "nowhere" / "events")
