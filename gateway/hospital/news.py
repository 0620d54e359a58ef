"""What an event of the ledger means for the gateway's work on a task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fabric import canonical
from fabric.ledger_views import RoundView

# Events after which a task is in another phase, and what is being done for the last one is out of date.
_MOVING = frozenset({"phase", "settled", "task_submitted", "task_finished", "task_abandoned", "task_aborted"})
# What each hospital concerned does in a phase that ends when all have done it; the other phases end with one call of the aggregator.
_CLOSED_BY = {"commit": "commit", "reveal": "reveal", "decrypt": "share", "score_commit": "score_commit", "score_reveal": "score_reveal"}
_ROUND_PHASES = frozenset({*_CLOSED_BY, "sum"})
_OPENING = "commit"  # the phase that the first round begins with, when the key ceremony has settled who takes part
_COUNTED = frozenset({"debit", *_CLOSED_BY.values()})
_SHARED = "decrypt"  # after whose shares the aggregator has a candidate to compute, where it otherwise only closes the phase


@dataclass(frozen=True)
class News:
    """One event of a task."""

    task_id: str
    name: str
    payload: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, payload: bytes) -> "News | None":
        """None where the event is of no task."""
        try:
            content = canonical.loads(payload)
        except canonical.CanonicalError:
            return None
        task_id = content.get("task_id") if isinstance(content, dict) else None
        return cls(task_id, name, content) if isinstance(task_id, str) else None

    @property
    def moved(self) -> bool:
        """The task is in another phase."""
        return self.name in _MOVING

    @property
    def of_dispute(self) -> bool:
        """A dispute about one of the task's updates has moved, and the task has not."""
        return self.name in ("dispute", "dispute_progress")

    @property
    def within_round(self) -> bool:
        """Nothing of the task has changed but how far its round is."""
        phase = str(self.payload.get("phase"))
        return phase in _ROUND_PHASES and (self.name == "progress" or (self.name == "phase" and phase != _OPENING))

    @property
    def counted(self) -> bool:
        """One more hospital has done what all those concerned do in the phase: nothing that the others have to look at."""
        return self.name == "progress" and self.payload.get("action") in _COUNTED


@dataclass
class Awaited:
    """Whom a round's phase still waits for: as a look at the ledger told, less those of whom events told since."""

    view: RoundView
    missing: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.missing = set(_concerned(self.view)) - {each.mspid for each in _done(self.view)}

    def hear(self, news: News) -> None:
        """Take note of a progress event."""
        told, view = news.payload, self.view
        here = (told.get("round"), told.get("phase"), told.get("attempt")) == (view.round, view.phase, view.attempt)
        if here and told.get("action") == _CLOSED_BY.get(view.phase):
            self.missing.discard(str(told.get("mspid")))

    @property
    def complete(self) -> bool:
        """Whether everybody has done what the phase asks for."""
        return self.view.phase in _CLOSED_BY and not self.missing

    @property
    def closed_by_count(self) -> bool:
        """Whether the phase, unless time is up, lasts exactly until it is complete."""
        return self.view.phase in _CLOSED_BY and self.view.phase != _SHARED

    @property
    def closable(self) -> bool:
        """Whether the phase is complete and `advance` is what closes it."""
        return self.complete and self.closed_by_count


def _concerned(view: RoundView) -> tuple[str, ...]:
    by_phase = {
        "commit": view.participants,
        "reveal": view.committed,
        "decrypt": view.quorum,
        "score_commit": view.committee,
        "score_reveal": view.scorers,
    }
    return by_phase.get(view.phase, ())


def _done(view: RoundView) -> tuple[Any, ...]:
    by_phase: dict[str, tuple[Any, ...]] = {
        "commit": view.commits,
        "reveal": view.reveals,
        "decrypt": view.shares,
        "score_commit": view.score_commits,
        "score_reveal": view.score_reveals,
    }
    return by_phase.get(view.phase, ())
