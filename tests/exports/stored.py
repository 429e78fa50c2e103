"""Samples as tests compare them: bit for bit, whoever stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from hypothesis import strategies as st

from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.native_histograms import BOX, NORMAL_NAN, NativeHistogram, is_boxed, offsets
from tsdb.model.tiles import Queryable, Selection
from tsdb.testing.memory_storage import MemoryStorage

Labels = tuple[tuple[str, str], ...]
Sample = tuple[int | bytes, int]
"""(bits of a float, or bytes of a histogram; since when it has been counting, ms; 0: not known)"""
Stored = dict[Labels, dict[int, Sample]]
"""By labels and time (ms)."""
EVER = (1 << 53) - 1
HISTOGRAMS = (
    NativeHistogram(0, 1.5, 3, positive_spans=((0, 2),), positive=(1, 2)),
    NativeHistogram(3, -2.25, 6.5, 1e-9, 0.5, ((-2, 1), (3, 2)), ((0, 1),), (1.0, 2.0, 0.5), (2.5,), floats=True),
)


def labels_of(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def samples_of(storage: Queryable, mint: int = -EVER, maxt: int = EVER, matchers: tuple[Matcher, ...] = ()) -> Stored:
    """All that is stored."""
    found: Stored = {}
    with storage.capture([Selection(matchers, mint, maxt, start_times=True)], RequestContext()) as capture:
        selected = capture.selected[0]
        for index in range(selected.tile_rows.size - 1):
            tile = selected.tile(index)
            bits = tile.values.view(np.uint64)
            for row in range(tile.rows):
                column = {}
                for at in range(int(tile.begin[row]), int(tile.end[row])):
                    value: int | bytes = int(bits[at])
                    if tile.payload is not None and is_boxed(bits[at : at + 1])[0]:
                        begin = int(offsets(bits[at : at + 1])[0])
                        size = int(tile.payload[begin : begin + 4].view("<u4")[0])
                        value = tile.payload[begin : begin + size].tobytes()
                    column[int(tile.ts[at])] = value, 0 if tile.start_ts is None else int(tile.start_ts[at])
                if column:
                    found[labels_of(selected.series.labels(tile.first_row + row))] = column
    return found


def put(storage: MemoryStorage, samples: Stored) -> MemoryStorage:
    for labels, column in samples.items():
        for ts, (value, start) in column.items():
            if isinstance(value, bytes):
                histogram = next(each for each in HISTOGRAMS if each.encode() == value)
                storage.add_histogram(dict(labels), ts, histogram)
            else:
                storage.add(dict(labels), [ts], np.array([value], np.uint64))
            if start:
                storage.add_starts(dict(labels), {ts: start})
    return storage


ODD = ("a", 'q"\\', "new\nline", "comma,", "ünï😀", " ", "\x00\x7f", "#", "'", "1e5", "\r", "<&>", "le")
BITS = st.one_of(
    st.sampled_from([STALE_NAN, NORMAL_NAN, 0x7FF8 << 48, 0x7FF0000000000001, 0x7FF << 52, 0xFFF << 52, 0, 1 << 63, 1,
                     (1 << 52) - 1, 0x7FEFFFFFFFFFFFFF, 0xFFF8000000000001]),
    st.floats(allow_nan=False).map(lambda value: int(np.float64(value).view(np.uint64))),
    st.integers(-10**6, 10**6).map(lambda value: int(np.float64(value).view(np.uint64))),
    st.integers(0, BOX - 1),
)
"""Of floats: every one that may be stored."""
SPAN = 1 << 33
"""Of the times of one example, ms: a hundred days."""


def stored(*, histograms: bool = True, plain_names: bool = False) -> st.SearchStrategy[tuple[Stored, int]]:
    """Few samples of few series, as odd as they may be, at most SPAN after the first time, which comes with them."""
    first = st.one_of(st.sampled_from([0, -10**6, 1 << 40, -EVER, EVER - SPAN]), st.integers(-EVER, EVER - SPAN))
    return st.tuples(_relative(histograms, plain_names), first).map(lambda made: (
        {labels: {ts + made[1]: sample for ts, sample in column.items()} for labels, column in made[0].items()},
        made[1]))


def _relative(histograms: bool, plain_names: bool) -> st.SearchStrategy[Stored]:
    text = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3))
    names = st.sampled_from(["a", "b:c", "_d"]) if plain_names else st.one_of(st.sampled_from(["a", "b.c"]), text)
    labels = st.builds(
        lambda metric, others: labels_of({**others, **({"__name__": metric} if metric else {})}),
        names if plain_names else st.one_of(st.just(""), names), st.dictionaries(text, text, max_size=3))
    value: st.SearchStrategy[int | bytes] = BITS
    if histograms:
        value = st.one_of(BITS, st.sampled_from([each.encode() for each in HISTOGRAMS]))
    times = st.one_of(st.integers(0, SPAN), st.integers(0, 10))
    samples = st.tuples(value, st.one_of(st.just(0), st.integers(1, 1 << 41)))
    return st.dictionaries(labels.filter(bool), st.dictionaries(times, samples, min_size=1, max_size=8), max_size=4)


def joined(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts)
