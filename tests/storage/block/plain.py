"""Blocks of plain Python values: a slow encoder of chunks, a source made of dicts, and the plain reading of a block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block, Chunks, SeriesLabels
from tsdb.storage.block.layout import FLOATS

Labels = tuple[tuple[str, str], ...]
Samples = Sequence[tuple[int, int]]
"""(ms, bits of the value)"""
Content = Mapping[Labels, Sequence[Samples]]
"""Series with their chunks."""
FOREVER = 1 << 62


class BitWriter:
    def __init__(self) -> None:
        self.number = self.at = 0

    def put(self, value: int, count: int) -> None:
        self.number |= (value & ((1 << count) - 1)) << self.at
        self.at += count

    def finish(self) -> bytes:
        return self.number.to_bytes((self.at + 7) // 8, "little")


def encoded(samples: Samples) -> bytes:
    """Gorilla bits as docs/formats.md describes them, without the reuse of borders."""
    out = BitWriter()
    (ts, value), *rest = samples
    out.put(value, 64)
    delta = 0
    for next_ts, next_value in rest:
        change = next_ts - ts - delta
        for ones, width in enumerate((0, 7, 14, 20, 64)):
            if change == 0 if width == 0 else -(1 << (width - 1)) <= change < 1 << (width - 1):
                out.put((1 << ones) - 1, 4 if ones == 4 else ones + 1)
                out.put(change, width)
                break
        difference = value ^ next_value
        if difference == 0:
            out.put(0, 1)
        else:
            leading = min(64 - difference.bit_length(), 31)
            trailing = (difference & -difference).bit_length() - 1
            significant = 64 - leading - trailing
            out.put(3, 2)
            out.put(leading, 5)
            out.put(significant - 1, 6)
            out.put(difference >> trailing, significant)
        delta, ts, value = next_ts - ts, next_ts, next_value
    return out.finish()


def series_labels(series: Sequence[Labels]) -> SeriesLabels:
    """With symbols in the order in which they are met, and some that nobody has."""
    symbols: dict[str, int] = {"nobody's": 0}
    pairs: dict[tuple[int, int], int] = {(0, 0): 0}
    offsets, labels = [0], []
    for each in series:
        for name, value in each:
            ids = symbols.setdefault(name, len(symbols)), symbols.setdefault(value, len(symbols))
            labels.append(pairs.setdefault(ids, len(pairs)))
        offsets.append(len(labels))
    texts = [text.encode() for text in symbols]
    lengths = np.array([len(text) for text in texts], np.uint32)
    return SeriesLabels(
        np.frombuffer(b"".join(texts) + bytes(8), np.uint8), np.cumsum(lengths) - lengths, lengths,
        np.array([name for name, _ in pairs], np.uint32), np.array([value for _, value in pairs], np.uint32),
        np.array(offsets, np.int64), np.array(labels, np.uint32),
    )


class PlainSource:
    """A `BlockSource` over `content`; `per_piece` series come at once."""

    def __init__(self, content: Content, mint: int = 0, maxt: int = 7_200_000, per_piece: int = 2) -> None:
        self.mint, self.maxt = mint, maxt
        self._labels = list(content)
        self._chunks = list(content.values())
        self._per_piece = per_piece

    def series(self) -> SeriesLabels:
        return series_labels(self._labels)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks]:
        for start in range(0, order.size, self._per_piece):
            wanted = [self._chunks[row] for row in order[start : start + self._per_piece].tolist()]
            chunks = [chunk for each in wanted for chunk in each]
            data = [encoded(chunk) for chunk in chunks]
            memory = np.frombuffer(b"".join(data) + b"\xaa", np.uint8)
            lengths = np.array([len(each) for each in data], np.int64)
            address = memory.__array_interface__["data"][0] + np.cumsum(lengths) - lengths
            yield Chunks(
                np.array([len(each) for each in wanted], np.int64),
                np.array([chunk[0][0] for chunk in chunks], np.int64),
                np.array([chunk[-1][0] for chunk in chunks], np.int64),
                np.array([len(chunk) for chunk in chunks], np.int64), np.full(len(chunks), FLOATS, np.uint8),
                address.astype(np.uint64), lengths, memory,
            )


def expected(content: Content, mint: int = -FOREVER, maxt: int = FOREVER) -> dict[Labels, list[tuple[int, int]]]:
    return {labels: [sample for chunk in chunks for sample in chunk if mint <= sample[0] <= maxt]
            for labels, chunks in content.items() if chunks}


def read_block(block: Block, rows: NDArray[np.int32] | None = None, mint: int = -FOREVER, maxt: int = FOREVER,
               tile: int = 3) -> dict[Labels, list[tuple[int, int]]]:
    if rows is None:
        rows = np.arange(len(block), dtype=np.int32)
    series = block.series_set(rows)
    ranges = block.chunk_ranges(rows, mint, maxt)
    found = {}
    for first in range(0, rows.size, tile):
        past = min(first + tile, rows.size)
        begin, end, ts, values = block.decode(ranges, first, past)
        for i in range(past - first):
            part = slice(int(begin[i]), int(end[i]))
            samples = list(zip(ts[part].tolist(), values[part].tolist(), strict=True))
            labels = tuple(series.labels(first + i).items())
            assert labels not in found
            found[labels] = samples
    return found


def satisfies(labels: Labels, matcher: Matcher) -> bool:
    value = dict(labels).get(matcher.name, "")
    if matcher.regex:
        found = re.fullmatch(matcher.value, value, re.DOTALL | re.ASCII) is not None
    else:
        found = value == matcher.value
    return found != matcher.negative


def sort_key(labels: Labels) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in labels]
