"""The files of a hospital's folder, resource by resource: NDJSON, plain or compressed, Parquet, and JSON files of one resource or Bundle.

Nothing is read further than the largest size allowed.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from gateway.fhir import bundles, parquet, zstd_stream
from gateway.fhir.errors import CutFileError, DataError

MAX_LINE_BYTES = 4 << 20
"""Longest resource that is read; a resource with an attachment larger than this is set aside."""

MAX_BUNDLE_BYTES = 256 << 20
"""Largest JSON file that is read: unlike NDJSON, it is in memory as a whole."""

REPLACING = ".export/replacing"
"""There while an export replaces the folder's files by newer ones: what one reads then may be half old, half new."""

_CHUNK_BYTES = 1 << 20
_COMPRESSIONS = ("", ".gz", ".zst")
NDJSON = tuple(f".ndjson{ending}" for ending in _COMPRESSIONS)
_JSON = tuple(f".json{ending}" for ending in _COMPRESSIONS)
_PARQUET = ".parquet"


@dataclass(frozen=True)
class Line:
    """One line that is not blank, one row, or one entry of a Bundle; `data` is None when it is too long."""

    file: str
    number: int
    data: bytes | None


def is_source(path: Path) -> bool:
    """Whether a file of a folder is read."""
    return path.name.endswith((*NDJSON, *_JSON, _PARQUET)) and path.is_file()


def files(folder: Path) -> tuple[Path, ...]:
    """The folder's files by name; raise DataError if there are none, or if an export was cut off while it put them there."""
    try:
        if (folder / REPLACING).exists():
            raise DataError(f"an export into {folder} was cut off while it replaced files; run `consortium data export` again")
        found = sorted(path for path in folder.iterdir() if is_source(path))
    except OSError as error:
        raise DataError(f"cannot read the data folder {folder}: {error.strerror}; name a folder of FHIR NDJSON files") from error
    if not found:
        raise DataError(
            f"the data folder {folder} holds no *.ndjson or *.json file, plain, .gz or .zst, and no *.parquet file;"
            " export FHIR Bulk Data or Bundles into it"
        )
    return tuple(found)


def lines(path: Path) -> Iterator[Line]:
    """The lines, rows or entries of one file; raise CutFileError, after those there are, if it cannot be read to its end."""
    if path.name.endswith(_PARQUET):
        for number, row in enumerate(parquet.rows(path, longest=MAX_LINE_BYTES), start=1):
            yield Line(path.name, number, row)
        return
    with _open(path) as stream:
        yield from _lines(path.name, stream) if path.name.endswith(NDJSON) else _entries(path, stream)


def read_whole(path: Path) -> None:
    """Raise DataError if a compressed file is cut or damaged."""
    with _open(path) as stream:
        while stream.read(_CHUNK_BYTES):
            pass


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            if path.name.endswith(".gz"):
                yield cast(BinaryIO, gzip.GzipFile(fileobj=stream))
            elif path.name.endswith(".zst"):
                yield cast(BinaryIO, zstd_stream.reader(stream))
            else:
                yield stream
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CutFileError(f"cannot read {path} to its end: {reason}; export it again") from error


def _entries(path: Path, stream: BinaryIO) -> Iterator[Line]:
    data = stream.read(MAX_BUNDLE_BYTES + 1)
    if len(data) > MAX_BUNDLE_BYTES:
        raise DataError(f"{path} is larger than {MAX_BUNDLE_BYTES >> 20} MiB; a file of this size has to be NDJSON")
    for number, entry in enumerate(bundles.entries(data), start=1):
        yield Line(path.name, number, entry if len(entry) <= MAX_LINE_BYTES else None)


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
