"""The contract's records in a replayed state, and how they are compared with what was computed again."""

import json
from collections.abc import Mapping
from typing import Any

from fabric.contract.keys import span
from fabric.worldstate import Space, WorldState


def records(state: WorldState, contract: str, kind: str) -> dict[str, dict[str, Any]]:
    """Every record of a kind by its state key, without the schema version."""
    found = {}
    for name, entry in state.range(Space(contract), *span(kind)):
        record = json.loads(entry.value or b"")
        record.pop("schema", None)
        found[name] = record
    return found


def differences(kind: str, expected: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence for each record that is not what was computed again, that is missing, or that nothing accounts for."""
    problems = []
    for name in sorted({*expected, *found}):
        wanted, recorded = expected.get(name), found.get(name)
        if wanted is None or recorded is None:
            what = "no transaction accounts for it" if wanted is None else "it is missing from the state"
            problems.append(f"{kind} {readable(name)}: {what}")
            continue
        fields = [field for field in sorted({*wanted, *recorded}) if wanted.get(field) != recorded.get(field)]
        problems.extend(f"{kind} {readable(name)}: {field} is {recorded.get(field)}, recomputed {wanted.get(field)}" for field in fields)
    return problems


def readable(name: str) -> str:
    """A composite key's attributes for people."""
    return "/".join(name.split("\x00")[2:-1])
