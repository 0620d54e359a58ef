"""References between the resources of a folder, and which of them lead nowhere; eight bytes for a resource and for a reference."""

import re
from array import array
from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from gateway.fhir.validate import Resource

_REFERENCE = re.compile(r'"reference"\s*:\s*"([A-Z][A-Za-z]+)/([A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]+)?"')
"""A relative reference; absolute ones and urns may lead to other servers."""


@dataclass(frozen=True)
class ReferenceCount:
    """References from resources of one type to another."""

    source: str
    target: str
    references: int
    exported: bool
    """Whether the folder holds any resource of the target's type."""
    dangling: int
    """References to a resource that the folder does not hold."""


class References:
    """Collects what resources are and what they refer to."""

    def __init__(self) -> None:
        self._held: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))
        self._wanted: defaultdict[tuple[str, str], array[int]] = defaultdict(lambda: array("Q"))

    def add(self, resource: Resource) -> None:
        """Note a resource that was kept."""
        self._held[resource.type].append(_key(resource.id))
        for target, identifier in _REFERENCE.findall(resource.text):
            self._wanted[resource.type, target].append(_key(identifier))

    def resources(self) -> dict[str, int]:
        """Resource type → how many there are."""
        return {name: len(keys) for name, keys in sorted(self._held.items())}

    def counts(self) -> tuple[ReferenceCount, ...]:
        """One entry for each pair of types, by name."""
        return tuple(self._count(source, target) for source, target in sorted(self._wanted))

    def _count(self, source: str, target: str) -> ReferenceCount:
        wanted = np.frombuffer(self._wanted[source, target], dtype=np.uint64)
        exported = target in self._held
        held = np.frombuffer(self._held[target], dtype=np.uint64) if exported else np.empty(0, dtype=np.uint64)
        return ReferenceCount(source, target, len(wanted), exported, int(np.isin(wanted, held, invert=True).sum()))


def _key(identifier: str) -> int:
    return int.from_bytes(blake2b(identifier.encode(), digest_size=8).digest(), "big")
