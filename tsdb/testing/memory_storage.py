"""A `Queryable` over a dict of label sets, for scripts of PromQL: slow, obvious, and in tiles of a few series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
import re2
from numpy.typing import ArrayLike, NDArray

from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import NativeHistogram, boxed
from tsdb.model.tiers import Tiers
from tsdb.model.tiles import Selection, SeriesSet, Symbols, Tile

Labels = tuple[tuple[str, str], ...]
"""Sorted by the name's UTF-8 bytes, no empty value."""


def labels_of(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(((n, v) for n, v in labels.items() if v), key=lambda label: label[0].encode()))


class MemorySymbols:
    """Symbols of one capture."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._ids: dict[str, int] = {}

    def text(self, symbol: int) -> str:
        return self._texts[symbol]

    def texts(self, symbols: Sequence[int]) -> list[str]:
        return [self._texts[symbol] for symbol in symbols]

    def intern(self, text: str) -> int:
        if text not in self._ids:
            self._ids[text] = len(self._texts)
            self._texts.append(text)
        return self._ids[text]

    def find(self, text: str) -> int:
        return self._ids.get(text, -1)


def series_set(label_sets: Sequence[Labels], symbols: Symbols) -> SeriesSet:
    """The label sets as ids of `symbols`."""
    pairs = [(symbols.intern(n), symbols.intern(v)) for labels in label_sets for n, v in labels]
    flat = np.array(pairs, np.uint32).reshape(-1, 2)
    offsets = np.concatenate([[0], np.cumsum([len(labels) for labels in label_sets])]).astype(np.int64)
    return SeriesSet(offsets, np.ascontiguousarray(flat[:, 0]), np.ascontiguousarray(flat[:, 1]), symbols)


def matches(labels: Labels, matchers: Sequence[Matcher]) -> bool:
    values = dict(labels)
    for matcher in matchers:
        value = values.get(matcher.name, "")
        if matcher.regex:
            hit = re2.fullmatch(f"(?s:{matcher.value})", value) is not None
        else:
            hit = value == matcher.value
        if hit == (matcher.type in (MatchType.NOT_EQUAL, MatchType.NOT_REGEX)):
            return False
    return True


@dataclass
class MemorySelected:
    """One selection: rows in the order of the labels, `rows_per_tile` rows in a tile."""

    series: SeriesSet
    samples: list[tuple[NDArray[np.int64], NDArray[np.float64]]]
    rows_per_tile: int
    payload: NDArray[np.uint8] | None = None
    starts: list[NDArray[np.int64]] | None = None
    sources: Sequence[str] = ("memory",)

    @property
    def tile_rows(self) -> NDArray[np.int64]:
        borders = [*range(0, len(self.samples), self.rows_per_tile), len(self.samples)]
        return np.array(borders if self.samples else [0], np.int64)

    def tile(self, index: int) -> Tile:
        first = index * self.rows_per_tile
        rows = self.samples[first : first + self.rows_per_tile]
        end = np.cumsum([ts.size for ts, _ in rows]).astype(np.int64)
        begin = end - np.array([ts.size for ts, _ in rows], np.int64)
        bits = np.concatenate([values.view(np.uint64) for _, values in rows])
        starts = None if self.starts is None else np.concatenate(self.starts[first : first + self.rows_per_tile])
        return Tile(first, begin, end, np.concatenate([ts for ts, _ in rows]), bits.view(np.float64), self.payload,
                    starts)


@dataclass
class MemoryCapture:
    selected: list[MemorySelected]
    symbols: MemorySymbols
    warnings: Sequence[str] = ()
    closed: bool = False

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


@dataclass
class MemoryStorage:
    """Series by label set; `add` puts samples in (times ms, values float or bits of one)."""

    rows_per_tile: int = 3
    columns: dict[Labels, dict[int, int]] = field(default_factory=dict)
    captures: list[MemoryCapture] = field(default_factory=list)
    payload: bytearray = field(default_factory=bytearray)
    starts: dict[Labels, dict[int, int]] = field(default_factory=dict)
    """Start timestamps (ms) by the time of the sample."""

    def add(self, labels: Mapping[str, str], ts: ArrayLike, values: ArrayLike) -> None:
        """`values` as f64, or u64 bits; NaN with the payload `STALE_NAN` is a stale marker."""
        column = self.columns.setdefault(labels_of(labels), {})
        bits = np.asarray(values)
        if bits.dtype != np.uint64:
            bits = bits.astype(np.float64).view(np.uint64)
        for at, value in zip(np.asarray(ts, np.int64).tolist(), bits.tolist(), strict=True):
            column[at] = value

    def add_stale(self, labels: Mapping[str, str], ts: int) -> None:
        self.add(labels, [ts], np.array([STALE_NAN], np.uint64))

    def add_histogram(self, labels: Mapping[str, str], ts: int, histogram: NativeHistogram) -> None:
        self.add(labels, [ts], np.array([boxed(len(self.payload))], np.uint64))
        self.payload += histogram.encode()

    def add_starts(self, labels: Mapping[str, str], starts: Mapping[int, int]) -> None:
        """Start timestamps of samples, both in ms."""
        self.starts.setdefault(labels_of(labels), {}).update(starts)

    def _starts(self, labels: Labels, times: NDArray[np.int64]) -> NDArray[np.int64]:
        known = self.starts.get(labels, {})
        return np.array([known.get(at, 0) for at in times.tolist()], np.int64)

    def _samples(self, labels: Labels, mint: int, maxt: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        times = sorted(at for at in self.columns[labels] if mint <= at <= maxt)
        bits = np.array([self.columns[labels][at] for at in times], np.uint64)
        return np.array(times, np.int64), bits.view(np.float64)

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
        symbols = MemorySymbols()
        selected = []
        for selection in selections:
            rows = sorted(labels for labels in self.columns if matches(labels, selection.matchers))
            samples = [self._samples(labels, selection.mint, selection.maxt) for labels in rows]
            payload = np.frombuffer(bytes(self.payload), np.uint8) if self.payload else None
            starts = [self._starts(labels, ts) for labels, (ts, _) in zip(rows, samples, strict=True)]
            selected.append(MemorySelected(series_set(rows, symbols), samples, self.rows_per_tile, payload,
                                           starts if selection.start_times and self.starts else None))
            context.statistics.series_selected += len(rows)
        self.captures.append(MemoryCapture(selected, symbols))
        return self.captures[-1]

    def _rows(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> list[Labels]:
        return sorted(
            labels for labels, column in self.columns.items()
            if (not matcher_sets or any(matches(labels, matchers) for matchers in matcher_sets))
            and any(mint <= at <= maxt for at in column)
        )

    def tiers(self) -> Tiers:
        return Tiers()

    def label_names(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                    context: RequestContext) -> list[str]:
        return sorted({name for labels in self._rows(matcher_sets, mint, maxt) for name, _ in labels})

    def label_values(self, name: str, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                     context: RequestContext) -> list[str]:
        rows = self._rows(matcher_sets, mint, maxt)
        return sorted({value for labels in rows for other, value in labels if other == name})

    def series(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
               context: RequestContext, first: int = 0) -> SeriesSet:
        return series_set(self._rows(matcher_sets, mint, maxt), MemorySymbols())
