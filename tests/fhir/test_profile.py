"""The quality report finds what is wrong with data, unprompted, and is silent about what is right."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.fhir.check import check_folder
from gateway.fhir.check_page import render_check
from gateway.fhir.findings import Finding
from gateway.fhir.measurements import BINS
from gateway.fhir.plausible import plausible_values
from gateway.fhir.profile import Profile, profile
from gateway.fhir.ucum import MISREAD, is_ucum
from gateway.task_file import parse
from tests.support.fhir_folders import TASK, condition, patient, shared, small_hospital, write


def _measured(number: object, loinc: str, value: float, unit: str, *, of: str = "p", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc, "display": "name"}]},
        "subject": {"reference": f"Patient/{of}"},
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
        **more,
    }


def _profile(folder: Path, resources: list[Any]) -> Profile:
    return profile(write(folder, [patient("p", birthDate="1970-01-01"), *resources]), quarantine=None)


def _found(report: Profile) -> dict[str, list[Finding]]:
    kinds: dict[str, list[Finding]] = {}
    for finding in report.findings:
        kinds.setdefault(finding.kind, []).append(finding)
    return kinds


@pytest.mark.parametrize(("hospital", "zeros", "pressures"), [("switzerland", 123, 0), ("va", 49, 1), ("cleveland", 0, 0)])
def test_the_zeros_of_the_heart_data(hospital: str, zeros: int, pressures: int) -> None:
    found = _found(profile(shared("heart", hospital), quarantine=None)).get("zero", [])
    counts = {finding.where.split()[0]: finding.count for finding in found}
    assert (counts.get("2093-3", 0), counts.get("8480-6", 0)) == (zeros, pressures)
    assert len(found) == (zeros > 0) + (pressures > 0)


@pytest.mark.parametrize(("hospital", "patients"), [("hungarian", 2), ("va", 2), ("cleveland", 0)])
def test_the_repeated_rows_of_the_heart_data(hospital: str, patients: int) -> None:
    found = _found(profile(shared("heart", hospital), quarantine=None)).get("duplicate", [])
    assert sum(finding.count for finding in found) == patients


def test_celsius_values_coded_fahrenheit(tmp_path: Path) -> None:
    warm = [_measured(number, "8310-5", 36.5 + number / 10, "[degF]") for number in range(9)]
    right = [_measured(f"f{number}", "8310-5", 97.5 + number / 10, "[degF]") for number in range(20)]
    (finding,) = _profile(tmp_path, [*warm, *right]).findings
    assert (finding.kind, finding.count, finding.of) == ("wrong-unit", 9, 29)
    assert "plausible in Cel" in finding.sentence


@pytest.mark.parametrize(("value", "implausible"), [(11, True), (29.9, True), (30, False), (370, False), (371, True)])
def test_a_systolic_pressure_of_eleven(tmp_path: Path, value: float, implausible: bool) -> None:
    right = [_measured(number, "8480-6", 120 + number, "mm[Hg]") for number in range(9)]
    found = _profile(tmp_path, [*right, _measured("x", "8480-6", value, "mm[Hg]")]).findings
    assert [(finding.kind, finding.count, finding.of) for finding in found] == [("implausible", 1, 10)] * implausible


def test_a_pressure_in_a_component(tmp_path: Path) -> None:
    component = [{key: value for key, value in _measured(1, "8480-6", 11, "mm[Hg]").items() if key in ("code", "valueQuantity")}]
    panel = {**_measured("p", "85354-9", 1, "1"), "component": component}
    del panel["valueQuantity"]
    (finding,) = _profile(tmp_path, [panel]).findings
    assert finding.kind == "implausible"


def test_units_that_are_mixed_or_no_ucum(tmp_path: Path) -> None:
    rows = [_measured(number, "1920-8", 20 + number, "U/L") for number in range(3)]
    rows += [_measured("i", "1920-8", 20, "[iU]/L"), _measured("k", "26515-7", 300, "K/uL"), _measured("h", "8462-4", 80, "mmHg")]
    plain = _measured("t", "29463-7", 80, "kg")
    del plain["valueQuantity"]["system"]
    found = _found(_profile(tmp_path, [*rows, plain]))
    (mixed,) = found.pop("mixed-units")
    assert mixed.sentence == "1920-8 (name): units are mixed: U/L 3, [iU]/L 1"
    assert sorted(finding.where.split()[0] for finding in found.pop("non-ucum")) == ["26515-7", "29463-7", "8462-4"]
    assert not found


def test_zeros_without_a_table(tmp_path: Path) -> None:
    """Zeros apart from everything else are strange; zeros of a score, or of a change, are not."""
    values = {
        "90001-1": [0.0] * 3 + [float(60 + number) for number in range(30)],
        "90002-2": [float(number % 11) for number in range(60)],
        "90003-3": [0.0] * 3 + [-50.0] * 20 + [50.0] * 20,
    }
    rows = [
        _measured(f"{code}-{n}", code, value, "kg", effectiveDateTime=f"{2000 + n}")
        for code, v in values.items()
        for n, value in enumerate(v)
    ]
    (finding,) = _profile(tmp_path, rows).findings
    assert (finding.kind, finding.where, finding.count) == ("zero", "90001-1 (name)", 3)


def test_references_duplicates_and_time(tmp_path: Path) -> None:
    rows = [
        _measured(1, "29463-7", 80, "kg", effectiveDateTime="2020-01-01"),
        _measured(2, "29463-7", 80, "kg", effectiveDateTime="2020-01-01"),
        _measured(3, "29463-7", 80, "kg", of="nobody", encounter={"reference": "Encounter/e"}),
        _measured(4, "29463-7", 80, "kg", effectiveDateTime="1969"),
        _measured(1, "29463-7", 80, "kg"),
        "not JSON",
    ]
    report = _profile(tmp_path, rows)
    found = {(finding.kind, finding.where): finding.count for finding in report.findings}
    assert found == {
        ("line", "not-json"): 1,
        ("duplicate", "duplicate-id"): 1,
        ("dangling-reference", "Observation → Patient"): 1,
        ("not-exported", "Observation → Encounter"): 1,
        ("duplicate", "Observation"): 1,
        ("time-order", "Observation"): 1,
    }
    assert report.lines.read == report.lines.kept + sum(report.lines.dropped.values()) == 7
    assert report.resources == {"Observation": 4, "Patient": 1}


def test_good_data_give_no_findings(tmp_path: Path) -> None:
    rows = [_measured(number, "2093-3", 150 + number, "mg/dL", effectiveDateTime=f"20{number:02}") for number in range(20)]
    report = _profile(tmp_path, rows)
    assert report.findings == ()
    (measured,) = report.measurements
    assert (measured.values, measured.patients, sum(measured.units[0].histogram)) == (20, 1, 20)
    assert len(measured.units[0].histogram) == BINS
    assert measured.units[0].quartiles == pytest.approx((154.75, 159.5, 164.25))


def test_the_task_s_part(tmp_path: Path) -> None:
    people = [patient(f"p{number}") for number in range(30)]
    report = check_folder(write(tmp_path, [*people, condition("c", "p1")]), parse(TASK.encode()), quarantine=None)
    kinds = {finding.kind: finding.count for finding in report.findings}
    assert kinds == {"class-balance": 1, "missing": 30, "duplicate": 28}
    assert json.loads(json.dumps(report.to_dict()))["task"]["patients"] == 30


def test_a_folder_that_cannot_serve_the_task_is_described_all_the_same(tmp_path: Path) -> None:
    report = check_folder(write(tmp_path, [patient("p")]), parse(TASK.encode()), quarantine=None)
    assert report.profile.lines.kept == 1
    (finding,) = report.findings
    assert (finding.kind, "has 1 patients" in finding.sentence) == ("refused", True)


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(tmp_path: Path) -> None:
    rows = [_measured(1, "2093-3", 0, "<script>alert(1)</script>")]
    folder = write(tmp_path, [*small_hospital(), patient("p"), *rows])
    page = render_check(check_folder(folder, parse(TASK.encode()), quarantine=None), title="A & B")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "A &amp; B" in page
    assert "<svg" in page
    assert not [word for word in ("http://", "https://", "src=", "url(") if word in page.replace("http://loinc.org", "")]


def test_the_table_of_plausible_values_is_sound() -> None:
    for code, entry in plausible_values().items():
        number, check = code.split("-")
        assert _mod10(number) == int(check), f"{code} is no LOINC code"
        assert entry.reason
        for unit, (low, high) in entry.ranges.items():
            assert is_ucum(unit)
            assert low < high


def _mod10(number: str) -> int:
    """LOINC's check digit."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = int("".join(str(digit) for digit in digits[::2][::-1])) * 2
    rest = "".join(str(digit) for digit in digits[1::2][::-1])
    return -sum(int(digit) for digit in rest + str(doubled)) % 10


UNITS = (
    "mg/dL mmol/L mm[Hg] Cel [degF] U/L [iU]/L m[IU]/L 10*3/uL 10*-3.g/L /min {score} mL/min/{1.73_m2} kg/m2 % 1 /[HPF] cm[H2O] g{creat}"
    " kg.m/s2 mL/(kg.min) ug/(24.h) [lb_av] meq/L mosm/kg 10^9/L dB"
)


@pytest.mark.parametrize("code", UNITS.split())
def test_units_of_ucum(code: str) -> None:
    assert is_ucum(code)


@pytest.mark.parametrize(
    "code", ["", "mmHg", "mg//dL", "mg/", ".m", "m)", "(m", "()", "m(s)", "kgs", "µg/L", "mg dL", "{a", "lbs", "10*x", "IU/L"]
)
def test_what_is_no_unit_of_ucum(code: str) -> None:
    assert not is_ucum(code)


def test_what_is_meant_is_a_unit() -> None:
    assert all(is_ucum(meant) for meant in MISREAD.values())


def test_one_temperature_in_the_wrong_unit(tmp_path: Path) -> None:
    (finding,) = _profile(tmp_path, [_measured(1, "8310-5", 37.2, "[degF]")]).findings
    assert finding.kind == "implausible"
    assert "1 would be plausible in Cel" in finding.sentence
