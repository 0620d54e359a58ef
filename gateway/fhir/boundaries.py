"""FHIRPath's lowBoundary() and highBoundary() as SQL (https://hl7.org/fhirpath/#lowboundaryprecision-integer-decimal--date--datetime--time).

A value stands for an interval as wide as its last digit: 1970-06 is the whole June. Results have FHIRPath's full precision:
milliseconds, and for a dateTime without time zone the earliest and latest zone there is, UTC+14:00 and UTC-12:00.
"""

from dataclasses import dataclass

BOUNDED = frozenset({"decimal", "date", "dateTime", "instant", "time"})
"""Types that have boundaries."""


@dataclass(frozen=True)
class _End:
    """What completes a value at one end of its interval."""

    month: str
    time: str
    zone: str
    digit: str
    sign: str


_LOW = _End(month="-01", time="T00:00:00.000", zone="+14:00", digit="0", sign="-")
_HIGH = _End(month="-12", time="T23:59:59.999", zone="-12:00", digit="9", sign="+")


def boundary(sql: str, type_name: str, *, high: bool) -> str:
    """SQL of one end of `sql`, which is the value as it was written, as text; `type_name` is one of BOUNDED."""
    end = _HIGH if high else _LOW
    if type_name == "decimal":
        return _decimal(sql, end)
    if type_name == "date":
        return _date(sql, high=high)
    if type_name == "time":
        return _time(sql, end)
    day = _date(f"substr({sql}, 1, 10)", high=high)
    return f"CASE WHEN contains({sql}, 'T') THEN {_moment(sql, end)} ELSE {day} || '{end.time}{end.zone}' END"


def _decimal(sql: str, end: _End) -> str:
    exponent = f"coalesce(TRY_CAST(regexp_extract({sql}, '[eE](.+)$', 1) AS INTEGER), 0)"
    digits = f"CAST(length(regexp_extract({sql}, '\\.([0-9]+)', 1)) - {exponent} AS INTEGER)"
    return f"round(CAST({sql} AS DOUBLE) {end.sign} 0.5 * pow(10, -{digits}), {digits} + 1)"


def _date(sql: str, *, high: bool) -> str:
    def last(month: str) -> str:
        first = f"TRY_CAST({month} || '-01' AS DATE)"
        return f"CAST({f'last_day({first})' if high else first} AS VARCHAR)"

    end = _HIGH if high else _LOW
    year = f"{sql} || '{end.month}'"
    return f"CASE length({sql}) WHEN 4 THEN {last(year)} WHEN 7 THEN {last(sql)} ELSE {sql} END"


def _time(sql: str, end: _End) -> str:
    """Digits that are written stay, however many; missing ones are completed up to milliseconds."""
    digits = f"regexp_extract({sql}, '\\.([0-9]+)', 1)"
    return f"substr({sql}, 1, 8) || '.' || {digits} || repeat('{end.digit}', greatest(0, 3 - length({digits})))"


def _moment(sql: str, end: _End) -> str:
    zone = f"regexp_extract({sql}, '(Z|[+-][0-9:]+)$', 1)"
    return f"substr({sql}, 1, 11) || {_time(f'substr({sql}, 12)', end)} || {zone}"
