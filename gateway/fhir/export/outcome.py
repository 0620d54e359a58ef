"""What an OperationOutcome says, in a few words for people."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.fhir.sources import lines

_LONGEST = 300


def issues(outcome: object) -> list[dict[str, Any]]:
    """The issues of an OperationOutcome; none if it is something else."""
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
        return []
    found = outcome.get("issue")
    return [issue for issue in found if isinstance(issue, dict)] if isinstance(found, list) else []


def outcome_sentence(outcome: object) -> str:
    """ ": what the first issue says", printable and short; "" if nothing is said."""
    for issue in issues(outcome):
        details = issue.get("details")
        text = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else None) or issue.get("code")
        if isinstance(text, str):
            printable = "".join(character if character.isprintable() else " " for character in text)
            return f": {' '.join(printable.split())[:_LONGEST]}"
    return ""


def is_failure(issue: dict[str, Any]) -> bool:
    """Whether an issue says that something is missing, rather than worth knowing."""
    return issue.get("severity") in ("fatal", "error")


def failures(paths: Sequence[Path]) -> tuple[str, ...]:
    """What files of OperationOutcomes say is missing from an export, each sentence once."""
    return tuple(dict.fromkeys(sentence for path in paths for sentence in _failures(path)))


def _failures(path: Path) -> Iterator[str]:
    for line in lines(path):
        try:
            outcome = json.loads(line.data or b"")
        except (ValueError, RecursionError):
            outcome = None
        found = issues(outcome)
        if not found:
            yield f"line {line.number} of a file of errors is no OperationOutcome"
        for issue in found:
            if is_failure(issue):
                yield outcome_sentence({"resourceType": "OperationOutcome", "issue": [issue]}).removeprefix(": ") or "an error"
