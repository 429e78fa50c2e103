"""The codec and the head's chunks against a slow reading of the format, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.batches import bits, everything, make_batch
from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Selection
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Bounds, Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.layout import CHUNK_WORDS, WINDOW_MS
from tsdb.storage.head.windows import Windows
from tsdb.storage.reading.reading import Reading
from tsdb.wal.files import LocalFileSystem

LABELS = {"__name__": "x"}
FOREVER = (1 << 63) - 1

awkward = st.sampled_from(
    [0, bits(-0.0), bits(1.0), bits(float("inf")), bits(float("-inf")), STALE_NAN, bits(float("nan")), 1, (1 << 64) - 1]
)
value_bits = st.one_of(awkward, st.integers(0, (1 << 64) - 1), st.integers(-1000, 1000).map(lambda n: bits(float(n))))
gaps = st.one_of(
    st.sampled_from([15_000, 15_001, 14_999, 1, 60_000]), st.integers(1, 20_000), st.integers(1, 3 * WINDOW_MS)
)


@st.composite
def columns(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    ts = draw(st.integers(-(10**13), 10**13))
    times, values = [], []
    for gap, value in draw(st.lists(st.tuples(gaps, value_bits), min_size=1, max_size=300)):
        ts += gap
        times.append(ts)
        values.append(value)
    return times, values


def head_with(times: list[int], values: list[int]) -> Head:
    head = Head(Windows(LocalFileSystem(), Path("/nowhere"), read_only=True))
    batch = make_batch(head.table.secret, [LABELS], [(0, ts, value) for ts, value in zip(times, values, strict=True)])
    rows, _ = head.table.resolve(batch)
    head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
    _, judged = head.judge(rows[batch.sample_row], batch.ts, batch.values, [(batch.samples, Bounds())])
    head.apply(judged)
    return head


class BitReader:
    def __init__(self, words: list[int]) -> None:
        self.number = sum(word << (64 * i) for i, word in enumerate(words))
        self.at = 0

    def take(self, count: int) -> int:
        found = (self.number >> self.at) & ((1 << count) - 1)
        self.at += count
        return found


def slow_decode(words: list[int], count: int, first_ts: int) -> tuple[list[tuple[int, int]], int]:
    """As docs/formats.md describes the format."""
    reader = BitReader(words)
    value = reader.take(64)
    ts, delta = first_ts, 0
    leading = significant = 0
    out = [(ts, value)]
    for _ in range(count - 1):
        ones = 0
        while ones < 4 and reader.take(1):
            ones += 1
        width = (0, 7, 14, 20, 64)[ones]
        change = reader.take(width) if width else 0
        if width and change >> (width - 1):
            change -= 1 << width
        delta += change
        ts += delta
        if reader.take(1):
            if reader.take(1):
                leading = reader.take(5)
                significant = reader.take(6) + 1
            value ^= reader.take(significant) << (64 - leading - significant)
        out.append((ts, value))
    return out, reader.at


@given(columns())
def test_the_open_chunk_reads_back_as_documented(column: tuple[list[int], list[int]]) -> None:
    times, values = column
    head = head_with(times, values)
    record = head.records[0]
    words = head.chunks[:CHUNK_WORDS].tolist()
    found, used = slow_decode(words, int(record["count"]), int(record["first_ts"]))
    assert found == list(zip(times, values, strict=True))[-len(found) :]
    assert used == int(record["bits"])
    reader = BitReader(words)
    reader.at = used
    assert reader.take(CHUNK_WORDS * 64 - used) == 0, "bits above the used ones must be zero for the next append"


@given(columns(), st.data())
def test_captures_give_back_every_bit_of_any_range(column: tuple[list[int], list[int]], data: st.DataObject) -> None:
    times, values = column
    head = head_with(times, values)
    borders = st.tuples(st.sampled_from(times), st.integers(-1, 1)).map(sum)
    mint = data.draw(st.just(-FOREVER) | borders)
    maxt = data.draw(st.just(FOREVER) | borders)
    reading = Reading(head, Index(head.table), Blocks(LocalFileSystem(), Path("/nowhere"), head.lock))
    with reading.capture([Selection(everything(), mint, maxt)], RequestContext()) as capture:
        tile = capture.selected[0].tile(0)
        part = slice(int(tile.begin[0]), int(tile.end[0]))
        found = list(zip(tile.ts[part].tolist(), tile.values.view(np.uint64)[part].tolist(), strict=True))
    assert found == [(t, v) for t, v in zip(times, values, strict=True) if mint <= t <= maxt]
