"""lowBoundary() and highBoundary() against decimals and calendars of plain Python."""

import calendar
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.database import Database
from gateway.fhir.errors import ViewError
from gateway.fhir.view_definition import view_definition
from gateway.fhir.views import compile_views

decimals = st.decimals(-1000, 1000, places=3, allow_nan=False).flatmap(
    lambda number: st.integers(0, 6).map(lambda places: str(round(number, places)))
)


def _ends(path: str, text: str) -> tuple[Any, ...]:
    columns = [
        {"name": "low", "path": f"{path}.lowBoundary()"},
        {"name": "high", "path": f"{path}.highBoundary()"},
        {"name": "value", "path": path},
    ]
    views = compile_views([view_definition({"name": "tested", "resource": "Observation", "select": [{"column": columns}]})])
    database = Database(views)
    database.insert("Observation", [text])
    return database.rows("SELECT * FROM rows.tested", [])[0]


@settings(max_examples=60, deadline=None)
@given(decimals)
def test_a_decimal_is_as_exact_as_it_was_written(written: str) -> None:
    if "." not in written:
        written += ".0"
    number = Decimal(written)
    half = Decimal(5).scaleb(int(number.as_tuple().exponent) - 1)
    found = _ends("value.ofType(Quantity).value", f'{{"id":"o","valueQuantity":{{"value":{written}}}}}')
    assert found == pytest.approx((float(number - half), float(number + half), float(number)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("written", "low", "high"), [("100", 99.5, 100.5), ("1.50e2", 149.5, 150.5), ("-0.00", -0.005, 0.005)])
def test_whole_numbers_exponents_and_zeros(written: str, low: float, high: float) -> None:
    found = _ends("value.ofType(Quantity).value", f'{{"id":"o","valueQuantity":{{"value":{written}}}}}')
    assert found == pytest.approx((low, high, float(written)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1900, 2100), st.integers(1, 12))
def test_a_month_ends_with_its_last_day(year: int, month: int) -> None:
    written = f"{year}-{month:02}"
    low, high, _ = _ends("effective.ofType(dateTime)", json.dumps({"id": "o", "effectiveDateTime": written}))
    last = calendar.monthrange(year, month)[1]
    assert (low, high) == (f"{written}-01T00:00:00.000+14:00", f"{written}-{last}T23:59:59.999-12:00")


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        ("2010", "2010-01-01T00:00:00.000+14:00", "2010-12-31T23:59:59.999-12:00"),
        ("2010-10-10T10:20:30Z", "2010-10-10T10:20:30.000Z", "2010-10-10T10:20:30.999Z"),
        ("2010-10-10T10:20:30.5+01:00", "2010-10-10T10:20:30.500+01:00", "2010-10-10T10:20:30.599+01:00"),
        ("2010-10-10T10:20:30.123456-05:00", "2010-10-10T10:20:30.123456-05:00", "2010-10-10T10:20:30.123456-05:00"),
    ],
)
def test_times_keep_their_zone_and_digits(written: str, low: str, high: str) -> None:
    assert _ends("effective.ofType(dateTime)", json.dumps({"id": "o", "effectiveDateTime": written})) == (low, high, written)


def test_nothing_has_no_boundaries() -> None:
    assert _ends("effective.ofType(dateTime)", '{"id":"o"}') == (None, None, None)
    assert _ends("value.ofType(Quantity).value", '{"id":"o"}') == (None, None, None)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status.lowBoundary()", "lowBoundary() on code is not supported; it works on date, dateTime, decimal, instant, time"),
        ("(value.ofType(Quantity).value * 2).highBoundary()", "highBoundary() of a computed decimal is not supported"),
        ("value.ofType(Quantity).value.lowBoundary(3)", "lowBoundary() takes 0 arguments, not 1"),
    ],
)
def test_what_has_no_boundary_is_refused_by_name(path: str, reason: str) -> None:
    with pytest.raises(ViewError) as error:
        _ends(path, "{}")
    assert reason in str(error.value)
