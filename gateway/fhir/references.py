"""References between the resources of a folder, and which of them lead nowhere; eight bytes for a resource and for a reference."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.fhir.judge import Kept, Part


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
    """Collects what resources are and what they refer to, each by the first half of its key."""

    def __init__(self) -> None:
        self._held: defaultdict[str, list[_Halves]] = defaultdict(list)
        self._wanted: defaultdict[tuple[str, str], list[_Halves]] = defaultdict(list)

    def hold(self, kept: Kept) -> None:
        """Note resources that were kept."""
        self._held[kept.type].append(kept.keys[:, 0].copy())

    def want(self, part: Part) -> None:
        """Note references of resources that were kept."""
        self._wanted[part.source, part.target].append(np.frombuffer(part.data, dtype=np.uint64))

    def resources(self) -> dict[str, int]:
        """Resource type → how many there are."""
        return {name: sum(map(len, halves)) for name, halves in sorted(self._held.items())}

    def counts(self) -> tuple[ReferenceCount, ...]:
        """One entry for each pair of types, by name."""
        held = {name: np.concatenate(halves) for name, halves in self._held.items()}
        return tuple(_count(source, target, np.concatenate(halves), held) for (source, target), halves in sorted(self._wanted.items()))


_Halves = npt.NDArray[np.uint64]
_NONE: _Halves = np.empty(0, dtype=np.uint64)


def _count(source: str, target: str, wanted: _Halves, held: dict[str, _Halves]) -> ReferenceCount:
    dangling = np.isin(wanted, held.get(target, _NONE), invert=True)
    return ReferenceCount(source, target, len(wanted), target in held, int(dangling.sum()))
