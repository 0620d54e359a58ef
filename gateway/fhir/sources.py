"""The files of a hospital's folder, resource by resource: NDJSON, plain or compressed, Parquet, and JSON files of one resource or Bundle.

Nothing is read further than the largest size allowed.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
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

CHUNK_BYTES = 2 << 20
"""About how much of a file is handed on at once."""

_BLOCK_BYTES = 1 << 20
_CUT = (OSError, EOFError, zlib.error, zstandard.ZstdError)
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


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines, rows or entries of one file: small enough to be in memory as a whole."""

    file: str
    first: int
    """Number of the first item."""
    items: tuple[bytes | None, ...]
    """Blank lines are among them, because they are numbered; None stands for what is too long."""

    @property
    def size(self) -> int:
        """Bytes of all items."""
        return sum(len(item) for item in self.items if item is not None)

    def lines(self) -> Iterator[Line]:
        """The items that are not blank."""
        for number, item in enumerate(self.items, start=self.first):
            if item is None or item.strip():
                yield Line(self.file, number, item)


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
    for chunk in chunks(path):
        yield from chunk.lines()


def chunks(path: Path) -> Iterator[Chunk]:
    """What `lines` gives, many at once; raise CutFileError, after those there are, if the file cannot be read to its end."""
    if path.name.endswith(_PARQUET):
        yield from _chunks(path.name, parquet.rows(path, longest=MAX_LINE_BYTES))
        return
    with _open(path) as stream:
        yield from _chunks(path.name, _split(stream) if path.name.endswith(NDJSON) else _entries(path, stream))


def read_whole(path: Path) -> None:
    """Raise DataError if a compressed file is cut or damaged."""
    with _open(path) as stream:
        while stream.read(_BLOCK_BYTES):
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
    except _CUT as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CutFileError(f"cannot read {path} to its end: {reason}; export it again") from error


def _entries(path: Path, stream: BinaryIO) -> Iterator[bytes | None]:
    data = stream.read(MAX_BUNDLE_BYTES + 1)
    if len(data) > MAX_BUNDLE_BYTES:
        raise DataError(f"{path} is larger than {MAX_BUNDLE_BYTES >> 20} MiB; a file of this size has to be NDJSON")
    for entry in bundles.entries(data):
        yield entry if len(entry) <= MAX_LINE_BYTES else None


def _chunks(name: str, items: Iterable[bytes | None]) -> Iterator[Chunk]:
    """Where a chunk ends depends on the items alone, so that every reading of a file gives the same chunks."""
    first, waiting, size = 1, list[bytes | None](), 0
    try:
        for item in items:
            waiting.append(item)
            size += 1 if item is None else 1 + len(item)
            if size >= CHUNK_BYTES:
                yield Chunk(name, first, tuple(waiting))
                first, waiting, size = first + len(waiting), [], 0
    except _CUT:
        yield Chunk(name, first, tuple(waiting))
        raise
    if waiting:
        yield Chunk(name, first, tuple(waiting))


def _split(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines without their ends; of a line that is too long nothing is kept."""
    rest, skipping = b"", False
    # One read of what is below at a time: a longer one would lose what stands before the place where a file is cut.
    while block := cast(BufferedIOBase, stream).read1(_BLOCK_BYTES):
        *pieces, rest = (rest + block).split(b"\n")
        for piece in pieces:
            yield None if skipping or len(piece) > MAX_LINE_BYTES else piece
            skipping = False
        if skipping or len(rest) > MAX_LINE_BYTES:
            rest, skipping = b"", True
    if skipping or rest:
        yield None if skipping else rest
