"""Resources as typed columns: the elements that views read, as one Parquet table in memory.

DuckDB reads JSON many times as slowly as its own columns, so that this is done once, by whichever process has the text at hand.
"""

import json
import os
import weakref
from collections.abc import Sequence

import duckdb

from gateway.fhir.errors import DataError
from gateway.fhir.sandbox import FULL, connect

_TYPED = "SELECT unnest(json_transform(line, ?)) FROM (SELECT unnest(string_split(?, chr(10))) AS line)"


class InMemory:
    """A file that stands on no disk and has no name, but one by which DuckDB finds it in this process."""

    def __init__(self) -> None:
        self._file = os.memfd_create("typed", os.MFD_CLOEXEC)
        self.path = f"/proc/self/fd/{self._file}"
        self.close = weakref.finalize(self, os.close, self._file)
        """Free the memory."""

    def write(self, data: bytes) -> None:
        """Replace the content."""
        os.ftruncate(self._file, 0)
        for start in range(0, len(data), _WRITE_BYTES):
            os.pwrite(self._file, data[start : start + _WRITE_BYTES], start)

    def take(self) -> bytes:
        """The content, which is not kept."""
        with os.fdopen(os.dup(self._file), "rb") as stream:
            stream.seek(0)
            data = stream.read()
        os.ftruncate(self._file, 0)
        return data


_WRITE_BYTES = 1 << 20


class Typer:
    """Makes tables of resources; for one thread."""

    def __init__(self) -> None:
        self._out = InMemory()
        self._connection = connect([self._out.path], threads=1)

    def table(self, resource: str, texts: Sequence[str], *, structure: str, as_written: bool) -> bytes:
        """A Parquet table with one row for each text, of a valid resource without line breaks.

        `structure` is what `json_transform` is to make of it; `as_written` where decimals keep the digits that were written.
        Raises DataError if DuckDB reads a resource differently.
        """
        if as_written:
            texts = [_digits_as_text(text) for text in texts]
        # One string, because binding a list of strings costs thirty times as much as splitting it again.
        values = [structure, "\n".join(texts)]
        try:
            self._connection.execute(f"COPY ({_TYPED}) TO '{self._out.path}' (FORMAT parquet, USE_TMP_FILE false)", values)
        except duckdb.OutOfMemoryException:
            raise DataError(FULL) from None
        except duckdb.Error as error:
            # The error is not repeated: it quotes the resource.
            raise DataError(f"DuckDB cannot read a {resource} that passed validation ({type(error).__name__}); please report it") from None
        return self._out.take()

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()
        self._out.close()


def _digits_as_text(text: str) -> str:
    """The resource with its decimals as strings: DuckDB's own reader forgets the zero of 1.0."""
    return json.dumps(json.loads(text, parse_float=str), ensure_ascii=False)
