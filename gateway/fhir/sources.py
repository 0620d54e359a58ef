"""The NDJSON files of a hospital's folder, line by line: a line is never read further than the largest size allowed."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from gateway.fhir.errors import DataError

MAX_LINE_BYTES = 4 << 20
"""Longest resource that is read; a resource with an attachment larger than this is set aside."""

SUFFIXES = (".ndjson", ".ndjson.gz")


@dataclass(frozen=True)
class Line:
    """One line that is not blank; `data` is None when the line is too long."""

    file: str
    number: int
    data: bytes | None


def files(folder: Path) -> tuple[Path, ...]:
    """The folder's NDJSON files by name; raise DataError if there are none."""
    try:
        found = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES) and path.is_file())
    except OSError as error:
        raise DataError(f"cannot read the data folder {folder}: {error.strerror}; name a folder of FHIR NDJSON files") from error
    if not found:
        raise DataError(f"the data folder {folder} holds no *.ndjson or *.ndjson.gz file; export FHIR Bulk Data into it")
    return tuple(found)


def lines(path: Path) -> Iterator[Line]:
    """The lines of one file, plain or gzip; raise DataError if it cannot be read to its end."""
    try:
        with path.open("rb") as stream:
            yield from _lines(path.name, cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if path.name.endswith(".gz") else stream)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot read {path} to its end: {reason}; export it again") from error


def _lines(name: str, stream: BinaryIO) -> Iterator[Line]:
    number = 0
    while piece := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(piece) > MAX_LINE_BYTES and not piece.endswith(b"\n"):
            _skip_line(stream)
            yield Line(name, number, None)
        elif piece.strip():
            yield Line(name, number, piece)


def _skip_line(stream: BinaryIO) -> None:
    while piece := stream.readline(MAX_LINE_BYTES):
        if piece.endswith(b"\n"):
            return
