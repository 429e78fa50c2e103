"""Calendar functions: parts of a UTC date, in the proleptic Gregorian calendar, of seconds since 1970. Without an
argument they are of the evaluation time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.promql.ast import ValueType
from tsdb.promql.functions.arithmetic import Numbers, per_cell
from tsdb.promql.functions.function import VECTOR, Call, Function
from tsdb.promql.operators.cells import Scalar
from tsdb.promql.operators.vector import Operator

Integers = NDArray[np.int64]


def _split(v: Numbers) -> tuple[Integers, Integers]:
    """Days since 1970 and seconds of the day. What has no int64, NaN too, becomes 2^63 seconds: Prometheus on x86 makes
    the smallest int64 of it, and Go's calendar wraps around below the year -292277022399."""
    fits = (v > -(2.0**63)) & (v < 2.0**63)
    seconds = np.where(fits, v, 0.0).astype(np.int64)
    return np.where(fits, seconds // 86400, 2**63 // 86400), np.where(fits, seconds % 86400, 2**63 % 86400)


def _date(days: Integers) -> tuple[Integers, Integers, Integers]:
    """Year, month (1–12), day of days since 1970. Counts from 1 March of year 0, so that leap days end a year; after
    Howard Hinnant, "chrono-compatible low-level date algorithms"."""
    shifted = days + 719468
    era = shifted // 146097
    day_of_era = shifted - era * 146097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = np.where(shifted_month < 10, shifted_month + 3, shifted_month - 9)
    return year_of_era + era * 400 + (month <= 2), month, day


def _leap(year: Integers) -> NDArray[np.bool_]:
    return np.asarray((year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0)))


_BEFORE_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], np.int64)
_DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


def _day_of_year(days: Integers) -> Integers:
    year, month, day = _date(days)
    return _BEFORE_MONTH[month] + day + (_leap(year) & (month > 2))


def _days_in_month(days: Integers) -> Integers:
    year, month, _ = _date(days)
    return np.asarray(_DAYS_IN_MONTH[month] + (_leap(year) & (month == 2)))


Part = Callable[[Integers, Integers], Integers]


def _row(name: str, part: Part, doc: str) -> Function:
    def of_numbers(v: Numbers) -> Numbers:
        return part(*_split(v)).astype(np.float64)

    def build(call: Call) -> Operator:
        env = call.env
        if call.operators:
            return per_cell(env, call.operators[0], of_numbers)
        return Scalar(env, lambda: of_numbers((env.steps.times() // 1000).astype(np.float64)), ValueType.VECTOR)

    return Function(name=name, arg_types=(VECTOR,), variadic=1, each_step=True,
                    build=build, doc=doc)


FUNCTIONS: Final = (
    _row("minute", lambda days, seconds: seconds % 3600 // 60, "The minute of the hour, 0 to 59."),
    _row("hour", lambda days, seconds: seconds // 3600, "The hour of the day, 0 to 23."),
    _row("day_of_week", lambda days, seconds: (days + 4) % 7, "The day of the week, 0 (Sunday) to 6."),
    _row("day_of_month", lambda days, seconds: _date(days)[2], "The day of the month, 1 to 31."),
    _row("day_of_year", lambda days, seconds: _day_of_year(days), "The day of the year, 1 to 366."),
    _row("days_in_month", lambda days, seconds: _days_in_month(days), "How many days the month has."),
    _row("month", lambda days, seconds: _date(days)[1], "The month, 1 to 12."),
    _row("year", lambda days, seconds: _date(days)[0], "The year."),
)
