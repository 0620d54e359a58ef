"""The default data of a trial: real patients that scikit-learn ships, written as FHIR R4 and split over hospitals.

Wisconsin diagnostic breast cancer data (Street, Wolberg, Mangasarian 1993; UCI Machine Learning Repository,
doi:10.24432/C5DW2B, CC BY 4.0): 569 fine-needle aspirates, 30 measurements of cell nuclei each, 212 malignant.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer

SYSTEM = "urn:uci:wdbc"
"""Code system of the measurements, which have no LOINC codes."""

SNOMED_MALIGNANT = ("254837009", "Malignant neoplasm of breast")
FEWEST_HOSPITALS, MOST_HOSPITALS = 3, 16

_UCUM = "http://unitsofmeasure.org"
_CONDITION = "http://terminology.hl7.org/CodeSystem/condition-"
_DIMENSIONLESS = ("smoothness", "compactness", "concavity", "concave-points", "symmetry", "fractal-dimension")
_SIZES = (1.4, 1.15, 1.0, 0.85, 0.7, 0.6)
_MALIGNANT_SHARES = (0.30, 0.50, 0.40, 0.25, 0.45, 0.35, 0.40)
"""Relative sizes and case mixes, in turn; of different lengths, so that no two hospitals of a small trial are alike."""


def write_breast_cancer(folder: Path, *, hospitals: int = 6) -> tuple[Path, ...]:
    """Write one folder of NDJSON files a hospital, `hospital-01` and so on, and return them; always the same bytes.

    `hospitals`: 3 to 16; raises ValueError otherwise.
    """
    if not FEWEST_HOSPITALS <= hospitals <= MOST_HOSPITALS:
        raise ValueError(f"{hospitals} hospitals; the sample data divide over {FEWEST_HOSPITALS} to {MOST_HOSPITALS}")
    data = load_breast_cancer()
    codes = [measurement_code(name) for name in data.feature_names]
    malignant = data.target == list(data.target_names).index("malignant")
    folders = []
    for number, rows in enumerate(_divide(malignant, hospitals), start=1):
        target = folder / f"hospital-{number:02d}"
        target.mkdir(parents=True, exist_ok=True)
        _write(target / "Patient.ndjson", [_patient(row) for row in rows])
        _write(target / "Observation.ndjson", [resource for row in rows for resource in _observations(row, codes, data.data[row])])
        _write(target / "Condition.ndjson", [_condition(row) for row in rows if malignant[row]])
        folders.append(target)
    return tuple(folders)


def measurement_code(name: str) -> str:
    """scikit-learn's name of a measurement as a code: "mean radius" → "radius-mean", "concave points error" → "concave-points-error"."""
    words = name.split()
    kind = next(word for word in words if word in ("mean", "error", "worst"))
    return "-".join([word for word in words if word != kind] + [kind])


def _divide(malignant: npt.NDArray[np.bool_], hospitals: int) -> list[list[int]]:
    """Row numbers of each hospital's patients, ascending."""
    sizes = [_SIZES[i % len(_SIZES)] for i in range(hospitals)]
    shares = [_MALIGNANT_SHARES[i % len(_MALIGNANT_SHARES)] for i in range(hospitals)]
    parts: list[list[int]] = [[] for _ in range(hospitals)]
    for wanted, weights in (
        (True, [size * share for size, share in zip(sizes, shares, strict=True)]),
        (False, [size * (1 - share) for size, share in zip(sizes, shares, strict=True)]),
    ):
        rows = sorted(np.flatnonzero(malignant == wanted).tolist(), key=_shuffled)
        for part, chosen in zip(parts, _proportional(rows, weights), strict=True):
            part.extend(chosen)
    return [sorted(part) for part in parts]


def _shuffled(row: int) -> bytes:
    """An order that has nothing to do with the data's and is the same with every version of every library."""
    return hashlib.sha256(str(row).encode()).digest()


def _proportional(rows: Sequence[int], weights: Sequence[float]) -> Iterator[list[int]]:
    ends = np.rint(np.cumsum(weights) / sum(weights) * len(rows)).astype(int).tolist()
    start = 0
    for end in ends:
        yield list(rows[start:end])
        start = end


def _key(row: int) -> str:
    return f"wdbc-{row + 1:03d}"


def _subject(row: int) -> dict[str, str]:
    return {"reference": f"Patient/{_key(row)}"}


def _patient(row: int) -> dict[str, Any]:
    # The source tells neither sex nor age.
    return {"resourceType": "Patient", "id": _key(row), "gender": "unknown"}


def _observations(row: int, codes: Sequence[str], values: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    return [
        {
            "resourceType": "Observation",
            "id": f"{_key(row)}-{code}",
            "status": "final",
            "code": {"coding": [{"system": SYSTEM, "code": code}]},
            "subject": _subject(row),
            "valueQuantity": _quantity(code, float(value)),
        }
        for code, value in zip(codes, values, strict=True)
    ]


def _quantity(code: str, value: float) -> dict[str, Any]:
    # The source gives no unit for radius, texture, perimeter and area.
    return {"value": value, "system": _UCUM, "code": "1"} if code.startswith(_DIMENSIONLESS) else {"value": value}


def _condition(row: int) -> dict[str, Any]:
    code, display = SNOMED_MALIGNANT
    return {
        "resourceType": "Condition",
        "id": f"{_key(row)}-diagnosis",
        "clinicalStatus": {"coding": [{"system": f"{_CONDITION}clinical", "code": "active"}]},
        "verificationStatus": {"coding": [{"system": f"{_CONDITION}ver-status", "code": "confirmed"}]},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": code, "display": display}]},
        "subject": _subject(row),
    }


def _write(path: Path, resources: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(resource, separators=(",", ":")) + "\n" for resource in resources), encoding="utf-8")
