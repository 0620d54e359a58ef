"""Which hospitals take part in a demo: one folder of FHIR files each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from gateway.config import Misbehaviour
from gateway.errors import InputError

FEWEST_HOSPITALS = 3
MOST_HOSPITALS = 16
RESEARCH = "research"
AUDIT = "audit"
ORDERER = "orderer"
_RESERVED = frozenset({RESEARCH, AUDIT, ORDERER})
_FHIR_FILES = ("*.ndjson", "*.ndjson.gz")


@dataclass(frozen=True)
class DemoHospital:
    """A hospital of the demo: its MSP id (the folder's name), its data, and how it cheats, if it does."""

    mspid: str
    data: Path
    misbehaves: Misbehaviour | None = None


def find_hospitals(folder: Path, misbehaving: Mapping[int, Misbehaviour]) -> tuple[DemoHospital, ...]:
    """The hospitals below `folder`, by name; `misbehaving` maps their number, from 1, to what they do.

    Raises InputError if there are too few or too many, or a name cannot be an MSP id.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a folder that holds one folder for each hospital")
    data = sorted(path for path in folder.iterdir() if path.is_dir() and any(any(path.glob(pattern)) for pattern in _FHIR_FILES))
    if not FEWEST_HOSPITALS <= len(data) <= MOST_HOSPITALS:
        raise InputError(
            f"{folder} holds {len(data)} folders with *.ndjson or *.ndjson.gz files;"
            f" a demo takes {FEWEST_HOSPITALS} to {MOST_HOSPITALS} hospitals"
        )
    _refuse_unknown_numbers(misbehaving, len(data))
    return tuple(DemoHospital(_mspid(path), path.resolve(), misbehaving.get(number)) for number, path in enumerate(data, 1))


def parse_misbehaviour(texts: Sequence[str]) -> dict[int, Misbehaviour]:
    """Read `N=KIND` options; raise InputError saying which kinds there are."""
    kinds: tuple[Misbehaviour, ...] = get_args(Misbehaviour)
    parsed: dict[int, Misbehaviour] = {}
    for text in texts:
        number, _, name = text.partition("=")
        kind = next((kind for kind in kinds if kind == name), None)
        if not number.isdecimal() or kind is None:
            raise InputError(f"--misbehave {text}: write the hospital's number and one of {', '.join(kinds)}, such as 5=label-flip")
        parsed[int(number)] = kind
    return parsed


def _refuse_unknown_numbers(misbehaving: Mapping[int, Misbehaviour], hospitals: int) -> None:
    for number in misbehaving:
        if not 1 <= number <= hospitals:
            raise InputError(f"--misbehave names hospital {number}; the hospitals are numbered 1 to {hospitals}")


def _mspid(folder: Path) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,40}", folder.name) or folder.name in _RESERVED:
        reserved = ", ".join(sorted(_RESERVED))
        raise InputError(f"{folder} cannot name a hospital; rename it: letters, digits, dots and hyphens, and not one of {reserved}")
    return folder.name
