"""The hospital's own codes become the codes that tasks name, by the hospital's ConceptMaps (FHIR R4).

Only targets that mean the same are taken. A translated code is one more coding beside the hospital's own, before any view is evaluated;
no terminology comes with this product.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.fhir.errors import DataError

SAME = frozenset({"equal", "equivalent"})
"""Equivalences of a target that means the same as the source. A wider or narrower one would say more or less than the hospital did."""

MAX_BYTES = 64 << 20
"""Largest ConceptMap that is read."""

_NUMBER = re.compile(r'"\\u0000([^"]*)"')

Code = tuple[str, str]
"""System and code."""


@dataclass(frozen=True)
class UnmappedCode:
    """A code of a system that is mapped, which itself is not, with the reason."""

    system: str
    code: str
    reason: str
    count: int


@dataclass(frozen=True)
class CodeCounts:
    """Codings of one extraction that are of a system which some ConceptMap translates from."""

    mapped: int
    unmapped: tuple[UnmappedCode, ...]


@dataclass(frozen=True)
class ConceptMaps:
    """All maps of a folder as one table."""

    targets: Mapping[Code, tuple[dict[str, str], ...]]
    """Code → the codings that mean the same."""
    refused: Mapping[Code, str]
    """Code → why its targets are not taken."""
    digest: str
    """SHA-256 in hex of the maps' files, whatever their names."""

    @property
    def systems(self) -> frozenset[str]:
        """Systems from which is translated."""
        return frozenset(system for system, _ in (*self.targets, *self.refused))


@dataclass
class Translator:
    """Translates resources and counts what it met."""

    maps: ConceptMaps
    mapped: int = 0
    """Codings that were translated."""
    unmapped: Counter[Code] = field(default_factory=Counter)
    """Code of a system that is mapped, which itself is not → codings."""

    def __post_init__(self) -> None:
        self._systems = self.maps.systems

    def translated(self, text: str) -> str:
        """The valid resource `text` with the targets of its codings added to each CodeableConcept."""
        # Decimals keep their digits, which a view may ask for: they pass as strings that begin with NUL, which no resource holds.
        resource = json.loads(text, parse_float=lambda digits: f"\0{digits}")
        added = sum(self._add(concept["coding"]) for concept in _concepts(resource))
        if not added:
            return text
        return _NUMBER.sub(r"\1", json.dumps(resource, ensure_ascii=True, separators=(",", ":")))

    def add(self, mapped: int, unmapped: Iterable[tuple[str, str, int]]) -> None:
        """Count what another translator met: codings that were translated, and system, code and codings of those that were not."""
        self.mapped += mapped
        self.unmapped.update({(system, code): count for system, code, count in unmapped})

    def counts(self) -> CodeCounts:
        """What was met so far, the most frequent unmapped codes first."""
        reasons = self.maps.refused
        unmapped = [
            UnmappedCode(*code, reasons.get(code, "no map has this code"), count)
            for code, count in sorted(self.unmapped.items(), key=lambda item: (-item[1], item[0]))
        ]
        return CodeCounts(self.mapped, tuple(unmapped))

    def _add(self, codings: list[dict[str, Any]]) -> int:
        """Append what the codings translate to and is not there yet; return how many."""
        present = {(coding.get("system", ""), coding.get("code", "")) for coding in codings}
        before = len(codings)
        for coding in codings[:before]:
            code = (coding.get("system", ""), coding.get("code", ""))
            if code[0] not in self._systems:
                continue
            targets = self.maps.targets.get(code)
            if targets is None:
                self.unmapped[code] += 1
                continue
            self.mapped += 1
            for target in targets:
                if (target["system"], target["code"]) not in present:
                    present.add((target["system"], target["code"]))
                    codings.append(target)
        return len(codings) - before


def load_concept_maps(folder: Path) -> ConceptMaps:
    """Read every ConceptMap (*.json) of `folder`; raise DataError with one sentence."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        raise DataError(f"cannot read the folder of concept maps {folder}: {error.strerror}; name a folder") from error
    if not paths:
        raise DataError(f"{folder} holds no *.json file; put the ConceptMaps there, or remove the setting")
    targets: dict[Code, list[dict[str, str]]] = {}
    refused: dict[Code, str] = {}
    digests = []
    for path in paths:
        data = _read(path)
        digests.append(hashlib.sha256(data).hexdigest())
        for code, target, reason in _entries(data, path):
            if target is not None:
                targets.setdefault(code, []).append(target)
            else:
                refused.setdefault(code, reason)
    found = {code: tuple(codings) for code, codings in targets.items()}
    return ConceptMaps(found, {code: reason for code, reason in refused.items() if code not in found}, _digest(digests))


def _digest(digests: list[str]) -> str:
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has over {MAX_BYTES >> 20} MiB; divide the ConceptMap into several")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _entries(data: bytes, path: Path) -> Iterator[tuple[Code, dict[str, str] | None, str]]:
    """Source code, and its target or why there is none."""
    try:
        document = json.loads(data)
        if document["resourceType"] != "ConceptMap":
            raise DataError(f"{path} is no ConceptMap but {document['resourceType']}; the folder holds ConceptMaps only")
        for group in document.get("group", ()):
            for element in group["element"]:
                code = _text(group["source"]), _text(element["code"])
                for target in element.get("target") or [{"equivalence": "unmatched"}]:
                    reason = _refusal(target)
                    coding = None if reason else {"system": _text(group["target"]), "code": _text(target["code"])}
                    yield code, coding, reason
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is no ConceptMap of FHIR R4 ({type(error).__name__}: {str(error)[:80]}); each group needs source, target and elements"
        ) from error


def _refusal(target: Mapping[str, Any]) -> str:
    equivalence = target["equivalence"]
    if equivalence not in SAME:
        return f"its target is {str(equivalence)[:20]}, not the same"
    if target.get("dependsOn") or target.get("product"):
        return "its target depends on other elements"
    return ""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("a system or code is no text")
    return value


def _concepts(value: Any) -> Iterator[dict[str, Any]]:
    """Every CodeableConcept with codings inside `value`: FHIR gives no other element that name."""
    if isinstance(value, dict):
        codings = value.get("coding")
        if isinstance(codings, list):
            yield value
        else:
            for child in value.values():
                yield from _concepts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _concepts(child)
