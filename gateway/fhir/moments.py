"""When something certainly happened: SQL over FHIR's dates and times, which are often only a year, a month or a day.

Every moment is a half-open period on one time line: `2020-03` began with 1 March and had ended when April began. A row was known
before the index if its period had ended when the index began; a row came after the index if it began when the index's period had ended.
"""

from gateway.fhir.expressions import identifier

# By way of TIMESTAMPTZ, because DuckDB's plain TIMESTAMP passes over the time zone that is written.
_BEGUN = """CREATE MACRO moment_begun(moment) AS
  CAST(TRY_CAST(moment || CASE length(moment) WHEN 4 THEN '-01-01' WHEN 7 THEN '-01' ELSE '' END AS TIMESTAMPTZ) AS TIMESTAMP)"""
_LENGTH = """CREATE MACRO moment_length(moment) AS
  CASE length(moment) WHEN 4 THEN INTERVAL 1 YEAR WHEN 7 THEN INTERVAL 1 MONTH WHEN 10 THEN INTERVAL 1 DAY
    ELSE CASE WHEN contains(moment, '.') THEN INTERVAL 1 MILLISECOND ELSE INTERVAL 1 SECOND END END"""
_ZONED = "CREATE MACRO moment_zoned(moment) AS length(moment) > 10"
_DAYS = "CREATE MACRO days_between(earlier, later) AS (epoch_us(later) - epoch_us(earlier)) / 86400e6"

MACROS = (_BEGUN, _LENGTH, _ZONED, _DAYS)
"""Definitions that the other statements use, in UTC.

moment_begun: the first moment that a FHIR date, dateTime or instant may mean; NULL for what is none. moment_length: from there to the
first moment that it cannot mean any more. moment_zoned: whether it says its time zone, as FHIR asks of every time of day.
"""

SLACK = "INTERVAL 14 HOUR"
"""A day without a time zone may have ended this much earlier or later than the same day in UTC (zones reach from -12 to +14 hours)."""


def columns(column: str) -> str:
    """SQL of the columns `begun`, `length` and `zoned` of a moment."""
    name = identifier(column)
    return f"moment_begun({name}) AS begun, moment_length({name}) AS length, moment_zoned({name}) AS zoned"


def interval(days: float) -> str:
    """SQL of an INTERVAL of days."""
    return f"INTERVAL {days:.0f} DAY" if days == int(days) else f"to_microseconds({round(days * 86_400_000_000)})"
