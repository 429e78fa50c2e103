"""The ring of exemplars beside a twin that is a list, and Prometheus' rules of what is taken."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.model.batch import (
    ACCEPTED,
    EXEMPLAR_OUT_OF_ORDER,
    EXEMPLAR_TOO_LONG,
    EXEMPLAR_TOO_NEW,
    EXEMPLAR_UNKNOWN,
    Exemplar,
)
from tsdb.model.errors import Corruption
from tsdb.model.labels import canonical_key
from tsdb.storage.exemplars.circular import CircularExemplars
from tsdb.storage.exemplars.judging import judge
from tsdb.wal import ExemplarColumns

LATEST = 1000
Offer = tuple[str, int, float, str]
"""Series, ms, value, trace id."""


def key(series: str) -> bytes:
    return canonical_key({"__name__": series})


def offer(store: CircularExemplars, offers: Iterable[Offer]) -> list[int]:
    codes, taken = judge(store, [(key(series), Exemplar(0, (("trace_id", trace),), value, ts))
                                 for series, ts, value, trace in offers], LATEST)
    if taken is not None:
        store.append(taken)
    return [int(code) for code in codes]


def stored(store: CircularExemplars) -> dict[bytes, list[tuple[int, float, bytes]]]:
    return {each.key: list(zip(each.ts, each.values, each.labels, strict=True))
            for each in store.select(store.keys(), -(1 << 63), (1 << 63) - 1)}


class Twin:
    """All that were taken, the newest `most` of which count."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: list[Offer] = []

    def offer(self, new: Offer) -> int:
        kept = self.kept()
        newest = next((each for each in reversed(kept) if each[0] == new[0]), None)
        if newest is not None:
            if new[1:] == newest[1:]:
                return ACCEPTED
            if new[1:] < newest[1:]:
                return EXEMPLAR_OUT_OF_ORDER
        self.taken.append(new)
        return ACCEPTED

    def kept(self) -> list[Offer]:
        return self.taken[max(len(self.taken) - self.most, 0) :]

    def by_series(self) -> dict[bytes, list[tuple[int, float, bytes]]]:
        found: dict[bytes, list[tuple[int, float, bytes]]] = {}
        for series, ts, value, trace in self.kept():
            found.setdefault(key(series), []).append((ts, value, canonical_key({"trace_id": trace})))
        return found


OFFERS = st.tuples(st.sampled_from("abcde"), st.integers(0, 30), st.sampled_from((-1.0, 0.0, 2.5)),
                   st.sampled_from("xyz"))


@given(st.integers(1, 12), st.lists(st.one_of(OFFERS, st.integers(1, 12)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_like_a_list(most: int, steps: list[Offer | int]) -> None:
    store, twin = CircularExemplars(most), Twin(most)
    for step in steps:
        if isinstance(step, int):
            twin.taken = twin.kept()
            twin.most = step
            store.resize(step)
        else:
            assert offer(store, [step]) == [twin.offer(step)]
    assert stored(store) == twin.by_series()
    kept = twin.kept()
    counts = store.statistics()
    assert (counts.most, counts.stored, counts.series) == (twin.most, len(kept), len(twin.by_series()))
    assert counts.oldest_ts == (kept[0][1] if kept else None)
    again = CircularExemplars(twin.most)
    for piece in store.columns():
        again.restore(ExemplarColumns.from_bytes(piece.to_bytes()))
    for piece in store.columns():
        again.restore(piece)  # as from a checkpoint, and from a segment behind it
    assert stored(again) == stored(store)


def test_those_of_one_commit_see_each_other() -> None:
    store = CircularExemplars(10)
    assert offer(store, [("a", 5, 1.0, "x"), ("a", 5, 1.0, "x"), ("a", 4, 9.0, "x"), ("b", 4, 9.0, "x"),
                         ("a", 5, 2.0, "x"), ("a", 5, 1.5, "x"), ("a", 5, 2.0, "y")]) == [0, 0, 1, 0, 0, 1, 0]
    assert store.statistics().appended == store.statistics().stored == 4


@pytest.mark.parametrize(("labels", "code"), [
    ((), ACCEPTED),
    ((("trace_id", "x" * 120),), ACCEPTED),
    ((("trace_id", "ü" * 120),), ACCEPTED),
    ((("trace_id", "x" * 121),), EXEMPLAR_TOO_LONG),
    ((("a", "b"), ("", "")), ACCEPTED),
    ((("x" * 200, ""),), ACCEPTED),
])
def test_lengths(labels: tuple[tuple[str, str], ...], code: int) -> None:
    codes, taken = judge(CircularExemplars(1), [(key("a"), Exemplar(0, labels, 1.0, 1))], LATEST)
    assert codes.tolist() == [code] and (taken is None) == bool(code)


def test_far_ahead() -> None:
    store = CircularExemplars(10)
    assert offer(store, [("a", LATEST, 1.0, "x"), ("a", LATEST + 1, 1.0, "x")]) == [ACCEPTED, EXEMPLAR_TOO_NEW]


def test_of_no_series_and_where_none_are_kept() -> None:
    exemplar = Exemplar(0, (), 1.0, 1)
    assert judge(CircularExemplars(1), [(None, exemplar)], LATEST)[0].tolist() == [EXEMPLAR_UNKNOWN]
    codes, taken = judge(CircularExemplars(0), [(key("a"), exemplar), (None, exemplar)], LATEST)
    assert codes.tolist() == [ACCEPTED] * 2 and taken is None


def test_numbers_keep_their_bits() -> None:
    store = CircularExemplars(10)
    for ts, value in enumerate((-0.0, math.nan, math.inf)):
        assert offer(store, [("a", ts, value, "x")] * 2) == [0, 0]
    (series,) = store.select([key("a")], 0, 10)
    assert [struct.pack("<d", value) for value in series.values] == [
        struct.pack("<d", value) for value in (-0.0, math.nan, math.inf)]


@pytest.mark.parametrize("packed", [
    b"", b"\xc1", b"\x95", b"\x01", b"\x95\x90\xc4\x00\xc4\x00\xc4\x00\x91\xc4\x00",
    ExemplarColumns([b"k"], np.array([1], np.uint32), np.zeros(1, np.int64), np.zeros(1, np.uint64), [b""]).to_bytes(),
    ExemplarColumns([b"k"], np.zeros(2, np.uint32), np.zeros(1, np.int64), np.zeros(1, np.uint64), [b""]).to_bytes(),
])
def test_malformed_ones_are_named(packed: bytes) -> None:
    with pytest.raises(Corruption, match="malformed exemplars"):
        ExemplarColumns.from_bytes(packed)


def test_resizing_while_exemplars_come() -> None:
    store = CircularExemplars(200)
    writer = threading.Thread(target=lambda: [offer(store, [(f"s{i % 7}", i, 1.0, "x")]) for i in range(900)])
    writer.start()
    sizes = 0
    while writer.is_alive() or sizes % 3:
        store.resize((50, 190, 120)[sizes % 3])
        sizes += 1
    writer.join(30)
    left = [ts for columns in store.columns() for ts in columns.ts.tolist()]
    assert left == list(range(900 - len(left), 900)) and 50 <= len(left) <= 120
    assert sorted(ts for series in store.select(store.keys(), 0, LATEST) for ts in series.ts) == left
