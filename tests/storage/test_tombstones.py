"""Tombstones: intervals by series, merged."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsdb.storage.tombstones import LEAST, Tombstones

Interval = tuple[int, int, int]
GREATEST = (1 << 63) - 1


def intervals(found: Tombstones) -> list[Interval]:
    return list(zip(found.series.tolist(), found.mint.tolist(), found.maxt.tolist(), strict=True))


def adding(before: Tombstones, added: list[Interval]) -> Tombstones:
    columns = np.array(added, np.int64).reshape(-1, 3)
    return before.adding(columns[:, 0].astype(np.int32), columns[:, 1], columns[:, 2])


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 8)), max_size=8), max_size=4))
def test_what_is_added_is_the_union(steps: list[list[Interval]]) -> None:
    found, covered = Tombstones.none(), set()
    for step in steps:
        found = adding(found, [(series, begin, begin + span) for series, begin, span in step])
        covered |= {(series, begin + i) for series, begin, span in step for i in range(span + 1)}
    assert {(series, t) for series, mint, maxt in intervals(found) for t in range(mint, maxt + 1)} == covered
    assert intervals(found) == sorted(intervals(found))
    for (series, _, maxt), (other, mint, _) in zip(intervals(found), intervals(found)[1:], strict=False):
        assert series != other or mint > maxt + 1


def test_the_widest_interval_takes_in_all_others() -> None:
    found = adding(adding(Tombstones.none(), [(1, 5, 9), (2, 3, 4)]), [(1, LEAST, GREATEST), (2, LEAST, 0)])
    assert intervals(found) == [(1, LEAST, GREATEST), (2, LEAST, 0), (2, 3, 4)]


def test_intervals_of_some_series() -> None:
    found = adding(Tombstones.none(), [(3, 0, 1), (3, 5, 6), (9, 2, 2)])
    begin, end = found.of(np.array([9, 4, 3], np.int32))
    assert (begin.tolist(), end.tolist()) == ([2, 2, 0], [3, 2, 2])
