"""Units: conversions by hand, what must not convert, and what becomes of values whose unit is wrong."""

from pathlib import Path

import pytest

from gateway.fhir.errors import ViewError
from gateway.fhir.extract import Extracted, check, extract
from gateway.fhir.units import conversion
from gateway.task_file import TaskFile, parse
from tests.support.fhir_folders import TASK, condition, observation, patient, write

GLUCOSE, CREATININE, ALT, POTASSIUM = "2345-7", "2160-0", "1742-6", "2823-3"


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "target", "loinc"),
    [
        (98.6, "[degF]", 37.0, "Cel", None),
        (37.0, "Cel", 98.6, "[degF]", None),
        (310.15, "K", 37.0, "Cel", None),
        (100.0, "mg/dL", 1.0, "g/L", None),
        (90.08, "mg/dL", 5.0, "mmol/L", GLUCOSE),
        (5.0, "mmol/L", 90.08, "mg/dL", GLUCOSE),
        (1.1312, "mg/dL", 100.0, "umol/L", CREATININE),
        (0.011312, "g/L", 100.0, "umol/L", CREATININE),
        (28.014, "mg/dL", 10.0, "mmol/L", "3094-0"),  # of urea nitrogen
        (38.665, "mg/dL", 1.0, "mmol/L", "2093-3"),
        (40.0, "[iU]/L", 40.0, "U/L", ALT),
        (4.5, "10*9/L", 4.5, "10*3/uL", None),
        (120.0, "mm[Hg]", 15.99864, "kPa", None),
        (2.0, "[in_i]", 5.08, "cm", None),
        (60.0, "mL/min/{1.73_m2}", 60.0, "mL/min", None),  # UCUM: what is in braces means nothing
        (7.4, "[pH]", 7.4, "[pH]", None),
        (365.25, "d", 1.0, "a", None),
    ],
)
def test_values_convert(value: float, unit: str, wanted: float, target: str, loinc: str | None) -> None:
    into = conversion(unit, target, loinc)
    assert into is not None
    assert value * into.factor + into.shift == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("unit", "target", "loinc"),
    [
        ("mg/dL", "mmol/L", None),  # of what?
        ("mg/dL", "mmol/L", "8480-6"),
        ("kg", "mmol/L", GLUCOSE),
        ("[iU]/L", "U/L", None),  # only for enzymes
        ("[arb'U]/mL", "[iU]/mL", None),
        ("[iU]/L", "/L", None),
        ("meq/L", "mmol/L", POTASSIUM),  # UCUM leaves out the charge
        ("K/uL", "10*3/uL", None),  # kelvin
        ("C", "Cel", None),  # coulomb
        ("mmHg", "mm[Hg]", None),
        ("B[SPL]", "Pa", None),  # a logarithm
        ("Cel/h", "K/h", None),
        ("", "mg/dL", None),
        ("bogus", "mg/dL", None),
        ("m" + "9" * 90, "m", None),
        ("(" * 5000 + "m" + ")" * 5000, "m", None),
        ("m" * 5000, "m", None),
    ],
)
def test_units_that_do_not_convert(unit: str, target: str, loinc: str | None) -> None:
    assert conversion(unit, target, loinc) is None


VIEW = TASK.replace('    { name = "text", path = "value.ofType(string)" },', '    { name = "unit", path = "value.ofType(Quantity).code" },')


def _task(unit: str, loinc: str, low: float, high: float, more: str = "") -> TaskFile:
    feature = (
        f'[[features]]\nname = "g"\nview = "lab"\ncolumn = "value"\nunit = "{unit}"\nunit_column = "unit"\nloinc = "{loinc}"\n'
        f'low = {low}\nhigh = {high}\nmissing = "indicator"\n{more}'
    )
    return parse((VIEW[: VIEW.index("[[features]]")] + feature).encode())


def _extract(task: TaskFile, folder: Path, values: list[tuple[str, float, str | None]]) -> Extracted:
    quantities = [(of, {"value": value} if unit is None else {"value": value, "code": unit}) for of, value, unit in values]
    labs = [observation(f"o{number}", of, valueQuantity=quantity) for number, (of, quantity) in enumerate(quantities)]
    return extract(task, write(folder, [*(patient(key) for key in "abcd"), condition("x", "a"), *labs]), quarantine=None)


def test_mixed_units_become_one_and_what_does_not_convert_is_counted(tmp_path: Path) -> None:
    values = [("a", 90.08, "mg/dL"), ("b", 5.0, "mmol/L"), ("c", 5.0, None), ("d", 5.0, "[iU]/L"), ("d", 0.9008, "g/L")]
    found = _extract(_task("mmol/L", GLUCOSE, 0, 10), tmp_path, values)
    assert found.features[:, 0] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert found.features[:, 1].tolist() == [0, 0, 1, 0]
    quality = found.report.features[0]
    assert (quality.rows.read, quality.rows.kept, quality.rows.dropped) == (5, 3, {"unit": 2})
    assert quality.foreign_units == ("", "[iU]/L")
    assert "g: 2 of 5 rows are not used: their unit is missing or does not convert to the feature's" in found.report.warnings()


@pytest.mark.parametrize("outside", ["missing", "clamp"])
def test_celsius_values_coded_fahrenheit_are_not_converted(tmp_path: Path, outside: str) -> None:
    """37 [degF] would be 2.8 Cel, which a bound would hide as the lowest fever."""
    task = _task("Cel", "8310-5", 35, 41, f'outside = "{outside}"\n')
    found = _extract(task, tmp_path, [("a", 37.2, "[degF]"), ("b", 100.4, "[degF]"), ("c", 38.0, "Cel"), ("d", 36.5, "[degF]")])
    assert found.features[:, 0] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert found.features[:, 1].tolist() == [1, 0, 0, 1]
    assert found.report.features[0].rows.dropped == {"implausible": 2}


def test_without_a_code_the_bounds_refuse_what_is_impossible(tmp_path: Path) -> None:
    task = parse(VIEW.replace("low = 0\nhigh = 10", 'unit = "Cel"\nunit_column = "unit"\nlow = 35\nhigh = 41').encode())
    found = _extract(task, tmp_path, [("a", 37.2, "[degF]"), ("b", 100.4, "[degF]")])
    assert found.report.features[0].rows.dropped == {"outside": 1}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('unit = "mmol/L"', 'unit = "mmol per L"', "feature g: mmol per L is no UCUM unit; write it as UCUM does"),
        ('unit_column = "unit"', 'unit_column = "value"', "units belong to a column of numbers and stand in a column of text"),
        ('column = "value"\nunit', 'column = "at"\nunit', "units belong to a column of numbers"),
    ],
)
def test_units_that_make_no_sense_are_refused_without_data(old: str, new: str, sentence: str) -> None:
    units = 'unit = "mmol/L"\nunit_column = "unit"\nloinc = "2345-7"\n'
    lines = f'[[features]]\nname = "g"\nview = "lab"\ncolumn = "value"\n{units}low = 0\nhigh = 1\n'
    assert old in lines
    with pytest.raises(ViewError) as error:
        check(parse((VIEW[: VIEW.index("[[features]]")] + lines.replace(old, new)).encode()))
    assert sentence in str(error.value)
