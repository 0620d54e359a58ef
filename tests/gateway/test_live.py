"""Progress on a terminal and without one."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from gateway.cli.live import LiveView, PlainView, picture, view_for
from gateway.researcher.progress import HospitalProgress, Progress, with_phase

START = Progress(
    task_id="sepsis-1",
    title="Sepsis [bold]within[/bold] 48 hours",
    phase="rounds",
    round=3,
    rounds=24,
    hospitals={"north": HospitalProgress("taking part", (), 1.25, 820_000, 2_500_000), "south": HospitalProgress("absent", note="silent")},
    said="round 3: model accepted",
)


def phase(number: int, name: str, attempt: int = 1, turn: int = 0) -> dict[str, object]:
    return {"task_id": "sepsis-1", "round": number, "phase": name, "attempt": attempt, "turn": turn}


def test_lines_are_plain_and_leave_out_a_round_s_ordinary_steps() -> None:
    lines: list[str] = []
    clock: Iterator[float] = iter([100.0, 101.5, 103.25])
    with PlainView(lines.append, lambda: next(clock)) as view:
        view.show(START)
        view.show(with_phase(START, phase(4, "commit")))
        view.say("done")
    assert lines == ["    1.5s  round 3: model accepted", "    3.2s  done"]


def test_a_phase_that_starts_again_is_told_once() -> None:
    first = with_phase(START, phase(4, "sum"))
    again = with_phase(first, phase(4, "sum", attempt=2, turn=1))
    after = with_phase(again, phase(4, "decrypt", attempt=2, turn=1))
    assert [step.notable for step in (first, again, after)] == [False, True, False]
    assert "silent or objected" in again.said
    assert not with_phase(after, phase(5, "commit")).notable
    assert with_phase(START, phase(0, "keys_commit")).notable


def test_the_table_shows_every_hospital() -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(picture(START))
    text = console.export_text()
    for words in (
        "Sepsis [bold]within[/bold] 48 hours",
        "round 3 of 24",
        "north",
        "1.250",
        "0.820",
        "2.50",
        "absent; silent",
        "model accepted",
    ):
        assert words in text


def test_the_live_view_ends_cleanly_and_keeps_what_it_said() -> None:
    output = io.StringIO()
    with LiveView(Console(file=output, force_terminal=True, width=120)) as view:
        view.say("the ledger serves [here]")
        view.show(START)
    assert "the ledger serves [here]" in output.getvalue()
    assert output.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is back"


def test_without_a_terminal_lines_go_to_standard_output_and_with_json_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    view_for().say("a")
    view_for(quiet=True).say("b")
    said = capsys.readouterr()
    assert (said.out[-2:], said.err[-2:]) == ("a\n", "b\n")
