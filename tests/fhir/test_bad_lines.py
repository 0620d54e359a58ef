"""Each bad line is listed with number and reason, what is read is kept or dropped, and real data show what is in them."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from gateway.fhir.errors import CutFileError
from gateway.fhir.extract import extract
from gateway.fhir.profile import profile
from gateway.task_file import parse
from tests.support.fhir_folders import TASK, observation, patient, shared, small_hospital, write

BAD = [
    ("not-json", "not JSON at all"),
    ("not-json", '{"resourceType":"Patient","id":"x"'),
    ("too-deep", '{"resourceType":"Patient","id":"x","extension":' + "[" * 5000 + "]" * 5000 + "}"),
    ("too-deep", "[" * 5000),
    ("duplicate-key", '{"resourceType":"Patient","id":"x","id":"x"}'),
    ("bad-number", json.dumps(observation("n", "a", valueQuantity={"value": float("nan")}))),
    ("not-fhir", '{"resourceType":"Patient","id":"x","birthDate":"1970-1"}'),
    ("not-fhir", '{"resourceType":"Patient","id":"x","birthDate":"1970-02-30"}'),
    ("not-fhir", '{"resourceType":"Patient","id":"x","active":"true"}'),
    ("not-fhir", json.dumps(observation("w", "a", valueQuantity={"value": "72.5"}))),
    ("not-fhir", '{"resourceType":"Patience","id":"x"}'),
    ("not-fhir", "[]"),
    ("bad-code", '{"resourceType":"Patient","id":"x","gender":"unheard-of"}'),
]


@pytest.mark.parametrize("blank", ["", "   ", "\t"])
def test_every_bad_line_is_listed_where_it_stands(tmp_path: Path, blank: str) -> None:
    good = [json.dumps(patient(f"p{number}")) for number in range(20)]
    text = [line for pair in zip(good, [blank, *(line for _, line in BAD)], strict=False) for line in pair] + good[14:]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "all.ndjson").write_text("\n".join(text) + "\n", encoding="utf-8")
    found = profile(folder, quarantine=tmp_path / "bad.ndjson").lines
    listed = [json.loads(line) for line in (tmp_path / "bad.ndjson").read_text().splitlines()]
    assert [(entry["line"], entry["reason"]) for entry in listed] == [(4 + 2 * n, reason) for n, (reason, _) in enumerate(BAD)]
    assert found.dropped == dict(Counter(reason for reason, _ in BAD))
    assert (found.read, found.kept) == (20 + len(BAD), 20), "a blank line is none"


@pytest.mark.parametrize("kept", [0.4, 0.999])
def test_a_cut_gzip_is_listed_and_not_computed_from(tmp_path: Path, kept: float) -> None:
    folder = write(tmp_path / "data", small_hospital())
    text = "".join(f"{json.dumps(observation(f'o{n}', 'a', valueQuantity={'value': n}))}\n" for n in range(3000))
    packed = gzip.compress(text.encode())
    (folder / "late.ndjson.gz").write_bytes(packed[: int(len(packed) * kept)])
    report = profile(folder, quarantine=tmp_path / "bad.ndjson")
    (entry,) = [json.loads(line) for line in (tmp_path / "bad.ndjson").read_text().splitlines()]
    assert (entry["file"], entry["reason"]) == ("late.ndjson.gz", "cut-file")
    assert 0 < entry["line"] <= 3001
    assert report.lines.read == report.lines.kept + sum(report.lines.dropped.values())
    assert report.lines.kept == 9 + entry["line"] - 1
    assert [finding.where for finding in report.findings if finding.kind == "line"] == ["cut-file"]
    with pytest.raises(CutFileError, match=r"late\.ndjson\.gz to its end"):
        extract(parse(TASK.encode()), folder, quarantine=None)


def test_the_mixed_units_of_synthea(tmp_path: Path) -> None:
    """A part of the Observations, read in place: the mixture is in life's own proportions."""
    source = shared("synthea", "site2_texas") / "Observation.ndjson.gz"
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        chosen = [line for line in lines if '"U/L"' in line or '"[iU]/L"' in line][:4000]
    (tmp_path / "Observation.ndjson").write_text("".join(chosen), encoding="utf-8")
    mixed = [finding.sentence for finding in profile(tmp_path, quarantine=None).findings if finding.kind == "mixed-units"]
    assert any("U/L" in sentence and "[iU]/L" in sentence for sentence in mixed), mixed
