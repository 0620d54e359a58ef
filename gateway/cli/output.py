"""What a verb says: lines for people, or one JSON object for programs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gateway.errors import ExitCode, kind_of

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Result:
    """What a verb found: `data` for programs and `lines` for people say the same."""

    data: Any
    lines: Sequence[str]


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--format json` stands on the command line: also known where the line itself is wrong."""
    return "--format=json" in arguments or ("--format", "json") in pairwise(arguments)


def print_result(result: Result, *, as_json: bool) -> None:
    if as_json:
        _print_object({"status": "ok", "exit_code": int(ExitCode.OK), "data": result.data})
    else:
        print("\n".join(result.lines), flush=True)


def print_error(error: BaseException, *, as_json: bool) -> ExitCode:
    """Say what went wrong in one sentence and return the exit code."""
    kind = kind_of(error)
    print_failure(str(error) or type(error).__name__, kind.exit_code, kind.error_code, as_json=as_json)
    return kind.exit_code


def print_failure(message: str, exit_code: ExitCode, error_code: str, *, as_json: bool) -> None:
    if as_json:
        _print_object({"status": "error", "exit_code": int(exit_code), "error_code": error_code, "message": message})
    else:
        print(f"consortium: {message}", file=sys.stderr, flush=True)


def _print_object(fields: dict[str, Any]) -> None:
    print(json.dumps({"schema_version": SCHEMA_VERSION, **fields}, ensure_ascii=False), flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns aligned with spaces; numbers to the right."""
    cells = [list(header), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    numeric = [bool(rows) and all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    ]
