"""Which samples are taken, in order or late: the kernel beside what Prometheus does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import make_batch
from tsdb.model.batch import ACCEPTED, DUPLICATE, OUT_OF_ORDER, TOO_LATE, TOO_NEW, TOO_OLD
from tsdb.storage.head.head import Bounds, Head
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.head.windows import Windows
from tsdb.wal.files import LocalFileSystem

FOREVER = (1 << 63) - 1
SERIES = [{"__name__": "m", "n": str(n)} for n in range(3)]


@dataclass
class Slow:
    """Prometheus' `appendable` (tsdb/head_append.go), and the border, which is ours."""

    newest: int
    oldest: int
    border: int
    window: int
    """0: none."""
    head_max: int

    def judge(self, last: tuple[int, int] | None, t: int, value: int) -> tuple[int, str]:
        """(code, where the sample goes)."""
        if t > self.newest and (last is None or t > last[0]):
            return TOO_NEW, ""
        if t >= self.oldest:
            if last is None or t > last[0]:
                return ACCEPTED, "in order" if t >= self.border else "late"
            if t == last[0]:
                return (ACCEPTED if value == last[1] else DUPLICATE), ""
        if self.window and t >= self.head_max - self.window:
            return ACCEPTED, "" if last is not None and t == last[0] else "late"
        if self.window:
            return TOO_LATE, ""
        return (TOO_OLD if t < self.oldest else OUT_OF_ORDER), ""


def bounds_of(slow: Slow) -> Bounds:
    late_from = slow.head_max - slow.window if slow.window else FOREVER
    return Bounds(slow.newest, slow.oldest, slow.border, late_from, windowed=slow.window > 0)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    head = Head(Windows(LocalFileSystem(), tmp_path_factory.mktemp("head"), read_only=True))
    batch = make_batch(head.table.secret, SERIES, [])
    slots, _ = head.table.resolve(batch)
    head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, slots)
    return head


times = st.integers(0, 12)
rows = st.lists(st.tuples(st.integers(-1, 2), times, st.integers(0, 1)), max_size=12)


@settings(max_examples=100, deadline=None)
@given(rows, rows, times, times, times, st.integers(0, 12), st.lists(st.none() | st.tuples(times, st.integers(0, 1)),
                                                                     min_size=3, max_size=3))
def test_beside_prometheus(head: Head, first: list[tuple[int, int, int]], second: list[tuple[int, int, int]],
                           newest: int, oldest: int, border: int, window: int,
                           stored: list[tuple[int, int] | None]) -> None:
    """Two groups of one commit, the first with a window, the second without one."""
    for slot, sample in enumerate(stored):
        head.records[slot]["last_ts"], head.records[slot]["last_value"] = sample or (NO_TS, 0)
    groups = [(first, Slow(newest, oldest, border, window, 12)), (second, Slow(newest, oldest, border, 0, 12))]
    last = dict(enumerate(stored))
    expected, in_order, late = [], [], []
    for samples, slow in groups:
        for slot, t, value in samples:
            if slot < 0:
                expected.append(TOO_NEW if t > slow.newest else TOO_LATE if slow.window else TOO_OLD)
                continue
            code, where = slow.judge(last[slot], t, value)
            expected.append(code)
            if where == "in order":
                last[slot] = (t, value)
                in_order.append((slot, t, value))
            elif where:
                late.append((slot, t, value))
    every = first + second
    codes, judged = head.judge(
        np.array([slot for slot, _, _ in every], np.int32), np.array([t for _, t, _ in every], np.int64),
        np.array([value for _, _, value in every], np.uint64),
        [(len(first), bounds_of(groups[0][1])), (len(every), bounds_of(groups[1][1]))],
    )
    assert codes.tolist() == expected
    found = zip(judged.slots.tolist(), judged.ts.tolist(), judged.values.tolist(), strict=True)
    assert list(found) == in_order
    assert (judged.mint, judged.maxt) == (min((t for _, t, _ in in_order), default=FOREVER),
                                          max((t for _, t, _ in in_order), default=NO_TS))
    if judged.late is None:
        assert late == []
    else:
        columns = judged.late.slots.tolist(), judged.late.ts.tolist(), judged.late.values.tolist()
        assert list(zip(*columns, strict=True)) == late
        assert (judged.late.refs == head.records["ref"][judged.late.slots]).all()


@pytest.mark.parametrize(("t", "value", "bounds", "code"), [
    (5, 1, Bounds(oldest=8, late_from=NO_TS), ACCEPTED),  # history: any time
    (10, 1, Bounds(oldest=8, late_from=NO_TS), DUPLICATE),
    (10, 0, Bounds(oldest=8, late_from=NO_TS), ACCEPTED),
    (11, 1, Bounds(oldest=8, border=12), ACCEPTED),  # in order, and late for its block
    (11, 1, Bounds(oldest=8, border=12, border_refuses=True), OUT_OF_ORDER),
    (9, 1, Bounds(oldest=8, border=12, border_refuses=True), OUT_OF_ORDER),
    (7, 1, Bounds(oldest=8, border=12, border_refuses=True), TOO_OLD),
    (12, 1, Bounds(oldest=8, border=12, border_refuses=True), ACCEPTED),
])
def test_other_bounds(head: Head, t: int, value: int, bounds: Bounds, code: int) -> None:
    head.records[0]["last_ts"], head.records[0]["last_value"] = 10, 0
    codes, judged = head.judge(np.zeros(1, np.int32), np.array([t], np.int64), np.array([value], np.uint64),
                               [(1, bounds)])
    assert codes.tolist() == [code]
    assert (judged.slots.size == 1) == (code == ACCEPTED and t >= 12)
