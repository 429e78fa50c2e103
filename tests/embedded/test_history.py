"""History given to the embedded API: any age, any order."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tsdb

DAY = 86_400
NOW = int(time.time()) // DAY * DAY - DAY
YEAR = NOW - 365 * DAY + 600.0 * np.arange(365 * 144)
"""A year of samples, ten minutes apart."""


def count(db: tsdb.Database, metric: str, days: int = 400) -> float:
    found = db.query(f"count_over_time({metric}[{days}d])", NOW + DAY / 2)
    return float(found.values.sum())


def samples(db: tsdb.Database, metric: str, day: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (s) and values of one day."""
    ((times, values),) = db.query(f"{metric}[1d]", NOW - 365 * DAY + (day + 1) * DAY - 1).samples
    return times / 1000, values


def test_a_year_and_another_and_the_first_again(tmp_path: Path) -> None:
    first, second = np.sin(YEAR / 50_000), np.cos(YEAR / 50_000)
    with tsdb.open(tmp_path) as db:
        db.append("first", YEAR, first)
        assert count(db, "first") == YEAR.size
        db.append("second", YEAR, second)
        half = YEAR[YEAR < NOW - 180 * DAY]
        again = np.concatenate([half - 200 * DAY, half + 1.0, half])  # older ones, some in between, the same once more
        db.append("first", again, np.concatenate([half, half, half + 99]))
        expected = YEAR.size + half.size + np.setdiff1d(half - 200 * DAY, half).size
        for _ in range(2):
            assert count(db, "second") == YEAR.size
            assert count(db, "first", 800) == expected
            for day in (0.0, 100.5, 363.0):
                times, values = samples(db, "second", day)
                rows = np.searchsorted(YEAR, times)
                assert times.tolist() == YEAR[rows].tolist() and values.tolist() == second[rows].tolist()
            times, values = samples(db, "first", 20.0)
            assert times.size == 288 and values[::2].tolist() == first[np.searchsorted(YEAR, times[::2])].tolist()
            storage = db.storage
            if storage.statistics().late_stored:
                storage.compact()
        assert db.storage.statistics().late_stored == 0
    with tsdb.open(tmp_path) as db:
        assert count(db, "first", 800) == expected
        assert count(db, "second") == YEAR.size
        db.append("second", [NOW - 500 * DAY, NOW + 30.0], [1.0, 2.0])
        assert count(db, "second", 800) == YEAR.size + 2


def test_the_newest_hour_goes_on_in_order(tmp_path: Path) -> None:
    """Live samples after history are no history."""
    with tsdb.open(tmp_path) as db:
        db.append("x", YEAR, YEAR)
        late = db.storage.statistics().late_appended
        assert late < YEAR.size
        live = YEAR[-1] + 15.0 * np.arange(1, 200)
        for part in np.array_split(live, 20):
            db.append("x", part, part)
        assert db.storage.statistics().late_appended == late
        db.append("x", live, live)  # once more: nothing is new
        assert count(db, "x") == YEAR.size + live.size
