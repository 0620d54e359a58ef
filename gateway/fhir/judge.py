"""What becomes of one chunk of a file: a verdict on each line, and what views and reports read of the lines that are kept.

Everything here depends on the chunk and the plan alone, so that any process can do it, and what it found can be kept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.fhir.concept_maps import ConceptMaps, Translator
from gateway.fhir.content import ContentDigest
from gateway.fhir.elements import FhirVersion
from gateway.fhir.seen import Keys, keys
from gateway.fhir.sources import Chunk, Line
from gateway.fhir.typed import Typer
from gateway.fhir.validate import RefusedLineError, Resource, resource
from gateway.fhir.views import Views

REFERENCES = "references"
"""Name of the parts that hold references instead of a table."""

_LONGEST_TYPE = 40
_REFERENCE = re.compile(r'"reference"\s*:\s*"([A-Z][A-Za-z]+/[A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]+)?"')
"""A relative reference; absolute ones and urns may lead to other servers."""


class Refused(msgspec.Struct, frozen=True):
    """A line that is no usable resource; see RefusedLineError."""

    line: int
    reason: str
    detail: str
    type: str | None


class Kept(msgspec.Struct, frozen=True):
    """The resources of one type that were accepted, in the order of their lines."""

    type: str
    key_bytes: bytes
    line_bytes: bytes
    content: bytes
    """Their ContentDigest."""

    @property
    def keys(self) -> Keys:
        return np.frombuffer(self.key_bytes, dtype=np.uint64).reshape(-1, 2)

    @property
    def lines(self) -> npt.NDArray[np.int64]:
        """(resources,): the numbers of the lines."""
        return np.frombuffer(self.line_bytes, dtype=np.int64)


class Verdict(msgspec.Struct, frozen=True):
    """What every line of a chunk is: kept, or refused for a reason."""

    lines: int
    """Lines that are not blank."""
    kept: tuple[Kept, ...]
    refused: tuple[Refused, ...]


class Part(msgspec.Struct, frozen=True):
    """What is read of a chunk's resources of one type: typed columns for the views, or the keys of what they refer to."""

    name: str
    """What it was made for: Plan.table, or REFERENCES."""
    source: str
    """The resources' type."""
    target: str
    """Of references: to which type."""
    data: bytes
    mapped: int = 0
    unmapped: tuple[tuple[str, str, int], ...] = ()
    """Of tables: what concept maps translated in them, and how often which code has no translation."""


@dataclass(frozen=True)
class Plan:
    """What one reading wants of every chunk."""

    version: FhirVersion
    structures: Mapping[str, str]
    """Resource type → structure for json_transform."""
    as_written: frozenset[str]
    maps: ConceptMaps | None
    references: bool

    @classmethod
    def of(cls, views: Views, version: FhirVersion, *, maps: ConceptMaps | None, references: bool) -> "Plan":
        """The plan of a reading whose resources these views will see."""
        return cls(version, views.structures, views.as_written, maps, references)

    def table(self, resource_type: str) -> str:
        """Name of the tables of a type: the same for whatever reads the same of its resources."""
        wanted = [self.structures[resource_type], str(resource_type in self.as_written), "" if self.maps is None else self.maps.digest]
        return f"{resource_type}-{sha256(chr(10).join(wanted).encode()).hexdigest()}"

    @property
    def names(self) -> frozenset[str]:
        """Names of all parts that the reading needs."""
        return self.names_of(self.structures.keys())

    def names_of(self, types: Set[str]) -> frozenset[str]:
        """Names of the parts that the reading needs of resources of these types."""
        tables = map(self.table, types & self.structures.keys())
        return frozenset([*tables, REFERENCES] if self.references and types else tables)


@dataclass(frozen=True)
class Job:
    """One chunk, and what is known of it."""

    chunk: Chunk
    names: frozenset[str]
    """Parts to make."""
    verdict: Verdict | None = None
    """Where the chunk was judged before: nothing is validated again."""
    repeats: frozenset[int] = frozenset()
    """Lines whose resource stands on an earlier line, which the chunk alone cannot tell."""


@dataclass(frozen=True)
class Judged:
    """What became of a job's chunk."""

    verdict: Verdict
    parts: tuple[Part, ...]


class Judge:
    """Does the jobs of one plan; for one thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._typer = Typer()

    def judged(self, job: Job) -> Judged:
        """Do a job. CPU-heavy; raises DataError."""
        if job.verdict is None:
            verdict, found = self._verdict(job)
        else:
            verdict, found = job.verdict, _texts(job.chunk, job.verdict)
        return Judged(verdict, tuple(self._parts(found, job.names)))

    def close(self) -> None:
        """Free the memory."""
        self._typer.close()

    def _verdict(self, job: Job) -> tuple[Verdict, dict[str, list[str]]]:
        kept: dict[str, list[tuple[int, Resource]]] = {}
        refused: list[Refused] = []
        count = 0
        for line in job.chunk.lines():
            count += 1
            try:
                found = self._resource(line, job.repeats)
            except RefusedLineError as error:
                refused.append(Refused(line.number, error.reason, error.detail, error.type and error.type[:_LONGEST_TYPE]))
            else:
                kept.setdefault(found.type, []).append((line.number, found))
        verdict = Verdict(count, tuple(_kept(name, found) for name, found in sorted(kept.items())), tuple(refused))
        return verdict, {name: [each.text for _, each in found] for name, found in sorted(kept.items())}

    def _resource(self, line: Line, repeats: frozenset[int]) -> Resource:
        found = resource(line.data, None, self._plan.version)
        assert found is not None  # every type is needed
        if line.number in repeats:
            error = RefusedLineError("duplicate-id", f"a {found.type} with this id stands on an earlier line")
            error.type = found.type
            raise error
        return found

    def _parts(self, found: Mapping[str, Sequence[str]], names: frozenset[str]) -> Iterator[Part]:
        for name, texts in found.items():
            if name in self._plan.structures and self._plan.table(name) in names:
                yield self._table(name, texts)
            if REFERENCES in names:
                yield from _references(name, texts)

    def _table(self, name: str, texts: Sequence[str]) -> Part:
        if self._plan.maps is None:
            return Part(self._plan.table(name), name, "", self._columns(name, texts))
        translator = Translator(self._plan.maps)
        data = self._columns(name, [translator.translated(text) for text in texts])
        unmapped = tuple((*code, count) for code, count in translator.unmapped.items())
        return Part(self._plan.table(name), name, "", data, translator.mapped, unmapped)

    def _columns(self, name: str, texts: Sequence[str]) -> bytes:
        return self._typer.table(name, texts, structure=self._plan.structures[name], as_written=name in self._plan.as_written)


def _kept(name: str, found: Sequence[tuple[int, Resource]]) -> Kept:
    content = ContentDigest()
    content.add([each.text for _, each in found])
    return Kept(
        name,
        keys(f"{name}/{each.id}" for _, each in found).tobytes(),
        np.array([number for number, _ in found], dtype=np.int64).tobytes(),
        content.to_bytes(),
    )


def _texts(chunk: Chunk, verdict: Verdict) -> dict[str, list[str]]:
    """The texts of the lines that a verdict keeps, by type."""
    items = chunk.items
    return {kept.type: [(items[number - chunk.first] or b"").decode().strip() for number in kept.lines.tolist()] for kept in verdict.kept}


def _references(name: str, texts: Sequence[str]) -> Iterator[Part]:
    wanted: dict[str, list[str]] = {}
    for text in texts:
        for reference in _REFERENCE.findall(text):
            wanted.setdefault(reference.partition("/")[0], []).append(reference)
    for target, references in sorted(wanted.items()):
        yield Part(REFERENCES, name, target, keys(references)[:, 0].tobytes())
