"""The frame that every benchmark's findings go into: one form for programs, tables for people, pages that keep their prose."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bench.machine import Machine, cpu_model, describe, memory_kib
from gateway.bench.results import BEGIN, END, BenchReport, Measurement, check_page, percentile, write_page
from gateway.errors import InputError

MACHINE = Machine("A CPU", 2, 23.5, 0.25, "Linux 6.1", "3.11.7", {"grpcio": "1.85.1"})
REPORT = BenchReport(
    MACHINE,
    [
        Measurement("Calls", {"ledger": "embedded", "callers": 8}, {"per_second": 512.25, "p50_ms": 9.876}),
        Measurement("Calls", {"ledger": "Fabric 2.5", "callers": 8}, {"per_second": 40.0, "p50_ms": None}),
        Measurement("Rounds", {"hospitals": 4}, {"seconds": 1.5}),
    ],
)


def test_programs_get_the_machine_and_flat_rows() -> None:
    data = REPORT.data
    assert data["machine"]["versions"] == {"grpcio": "1.85.1"}
    assert data["results"][0] == {"what": "Calls", "ledger": "embedded", "callers": 8, "per_second": 512.25, "p50_ms": 9.876}


def test_a_row_can_be_told_alone() -> None:
    assert REPORT.results[0].line == "Calls (ledger embedded, callers 8): per second 512, p50 ms 9.88"


def test_people_get_a_table_for_each_kind_of_row() -> None:
    assert REPORT.lines == [
        "**Calls**",
        "",
        "| ledger | callers | per second | p50 ms |",
        "| --- | --- | --- | --- |",
        "| embedded | 8 | 512 | 9.88 |",
        "| Fabric 2.5 | 8 | 40 | - |",
        "",
        "**Rounds**",
        "",
        "| hospitals | seconds |",
        "| --- | --- |",
        "| 4 | 1.5 |",
        "",
        "Measured on: A CPU, 2 cores, 24 GiB of memory, Linux 6.1, Python 3.11.7, grpcio 1.85.1; load 0.2 when it began.",
    ]


def test_a_page_keeps_what_stands_around_its_tables(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    check_page(page)
    write_page(page, REPORT)
    first = page.read_text()
    assert first.startswith(f"Before.\n\n{BEGIN}\n\n**Calls**\n")
    assert first.endswith(f"{END}\n\nAfter.\n")
    assert "old" not in first
    write_page(page, REPORT)
    assert page.read_text() == first


def test_a_new_page_holds_the_tables(tmp_path: Path) -> None:
    check_page(tmp_path / "page.md")
    write_page(tmp_path / "page.md", REPORT)
    assert "| embedded | 8 |" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("text", ["no marks", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_page_without_a_place_for_tables_is_refused_before_anything_is_measured(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(InputError, match="to put the tables between"):
        check_page(page)
    assert page.read_text() == text


def test_a_page_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        check_page(tmp_path / "missing" / "page.md")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)

    def enough(value: float) -> bool:
        return 100 * sum(each <= value for each in values) >= percent * len(values)

    assert enough(found)
    assert not any(enough(value) for value in values if value < found)


def test_the_machine_is_read_from_the_system_s_files() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: A CPU: fast\n") == "A CPU: fast"
    assert cpu_model("processor : 0\n") == ""
    assert memory_kib("MemTotal:       16384 kB\nMemFree: 1 kB\n") == 16384
    assert memory_kib("") == 0


def test_this_machine_can_be_described() -> None:
    machine = describe(["grpcio"])
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert set(machine.versions) == {"grpcio"}
