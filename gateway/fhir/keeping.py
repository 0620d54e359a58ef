"""The store as one reading uses it: where it cannot be used, the reading goes on without it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import DataError
from gateway.fhir.judge import Part, Verdict
from gateway.fhir.store import Entry, Store, StoreError, StorePlace, fingerprint

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Keeping:
    """A context manager, for one thread; without a place nothing is found and nothing is kept."""

    def __init__(self, place: StorePlace | None, version: FhirVersion) -> None:
        self._place = place
        self._version = version
        self._usable = self._draft = False
        if place is not None:
            try:
                self._store = Store(place)
                self._usable = True
            except StoreError as error:
                self._do_without(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if hasattr(self, "_store"):
            self._store.close()

    def mark(self, path: Path) -> str | None:
        """A file's fingerprint, where there is a store to look it up in. Any thread may ask."""
        return fingerprint(path) if self._usable else None

    def find(self, mark: str | None, names: Set[str]) -> Entry | None:
        """What is known of the file with this fingerprint, and which of the parts `names`."""
        if mark is None or not self._usable:
            return None
        try:
            return self._store.find(mark, self._version, names)
        except StoreError as error:
            self._do_without(error)
            return None

    def verdicts(self, entry: Entry) -> Iterator[Verdict]:
        """The verdicts on a file's chunks, in their order."""
        return _read(self._store.verdicts(entry))

    def parts(self, entry: Entry) -> Iterator[Part]:
        """The parts of a file that its entry names."""
        return _read(self._store.parts(entry))

    def begin(self, mark: str | None, entry: Entry | None) -> None:
        """Begin to keep what is found in a file; with an `entry`, more of one that is known."""
        if mark is not None:
            self._draft = self._done(lambda: self._store.begin(mark, self._version, entry))

    def add(self, number: int, verdict: Verdict | None, parts: Sequence[Part]) -> None:
        """Keep what was found in the chunk of this number; `verdict` None where it is known."""
        if self._draft:
            self._draft = self._done(lambda: self._store.add(number, verdict, parts))

    def drop(self) -> None:
        """Keep nothing of the file."""
        if self._draft:
            self._draft = False
            self._done(self._store.drop)

    def finish(self, path: Path, names: Iterable[str]) -> None:
        """Keep what was added of the file at `path`, of which all parts of these names were made."""
        if self._draft:
            self._draft = False
            self._done(lambda: self._store.finish(path, names))

    def use(self, path: Path, entry: Entry) -> None:
        """Note that a known file was used."""
        self._done(lambda: self._store.use(path, entry))

    def settle(self, sources: Sequence[Path]) -> None:
        """Drop what is known of files that the folder of these no longer has."""
        self._done(lambda: self._store.settle(sources[0].parent, [path.name for path in sources]))

    def _done(self, action: Callable[[], object]) -> bool:
        if self._usable:
            try:
                action()
            except StoreError as error:
                self._do_without(error)
        return self._usable

    def _do_without(self, error: StoreError) -> None:
        self._usable = False
        log.warning("what is validated now is not kept: %s", error)


def _read(found: Iterator[Result]) -> Iterator[Result]:
    try:
        yield from found
    except StoreError as error:
        raise DataError(f"what was validated before cannot be read again ({error}); try again") from error
