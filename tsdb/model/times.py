"""Points in time as people give them: float seconds since the epoch, datetime, or RFC 3339 text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import BadData

Time = float | int | str | datetime
"""Seconds since the epoch, RFC 3339 text, or a datetime (without a zone: UTC)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_SECONDS = 9.2e15


def to_ms(time: Time) -> int:
    """Milliseconds since the epoch, rounded. Raises BadData."""
    if isinstance(time, datetime):
        aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        return round((aware - EPOCH) / timedelta(microseconds=1) / 1000)
    if isinstance(time, str):
        try:
            return to_ms(datetime.fromisoformat(time))
        except ValueError:
            raise BadData(f"{time!r} is not an RFC 3339 time, such as 2026-11-23T12:00:00Z") from None
    seconds = float(time)
    if not math.isfinite(seconds) or abs(seconds) > MOST_SECONDS:
        raise BadData(f"{time!r} is not a time in seconds since the epoch")
    return round(seconds * 1000)


def time_text(ms: int) -> str:
    """RFC 3339 in UTC, with milliseconds where there are any; the number where that does not go (years 1 to 9999)."""
    try:
        time = EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return f"{ms} ms"
    return time.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")


def column_to_ms(times: Sequence[Time] | NDArray[np.generic]) -> NDArray[np.int64]:
    """i64[n] ms of a column: float or integer seconds, datetime64, or a sequence of `Time`. Raises BadData."""
    column = np.asarray(times)
    if column.ndim != 1:
        raise BadData(f"timestamps have {column.ndim} dimensions: give one column")
    if column.dtype.kind == "M":
        if np.isnat(column).any():
            raise BadData("timestamps hold NaT")
        return column.astype("datetime64[ms]").astype(np.int64)
    if column.dtype.kind in "iuf":
        seconds = column.astype(np.float64)
        if not np.isfinite(seconds).all() or (np.abs(seconds) > MOST_SECONDS).any():
            raise BadData("timestamps hold a value that is no time in seconds since the epoch")
        return np.rint(seconds * 1000).astype(np.int64)
    return np.fromiter((to_ms(time) for time in list(times)), np.int64, column.size)
