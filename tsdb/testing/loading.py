"""Puts what a script loads into a storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tsdb.model.context import RequestContext
from tsdb.model.labels import METRIC_NAME
from tsdb.model.native_histograms import NativeHistogram, ResetHint
from tsdb.model.tiles import Capture, Selection
from tsdb.promql.functions.histograms import parse_bound
from tsdb.testing.histograms import Written, continues, from_classic
from tsdb.testing.memory_storage import Labels, MemoryStorage, labels_of
from tsdb.testing.notation import STALE, Value
from tsdb.testing.script import Load


class Capturing(Protocol):
    """The part of `Queryable` that the engine needs."""

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture: ...


Store = Callable[[MemoryStorage], Capturing]
"""Puts what is in memory into another storage."""


def load(loads: Sequence[Load], store: Store) -> Capturing:
    """What the loads of a script say, one after the other."""
    memory = MemoryStorage()
    for load in loads:
        for labels, values in load.series:
            _load_series(memory, labels, values, load.step_ms)
        if load.with_nhcb:
            _convert(memory, load)
        for labels, offsets in load.starts.items():
            times = [i * load.step_ms for i in range(len(offsets))]
            memory.add_starts(dict(labels), {at: at + offset for at, offset in zip(times, offsets, strict=True)
                                             if offset is not None})
    return store(memory)


def _load_series(memory: MemoryStorage, labels: Labels, values: Sequence[Value], step: int) -> None:
    before: NativeHistogram | None = None
    for i, value in enumerate(values):
        if isinstance(value, float):
            memory.add(dict(labels), [i * step], [value])
        elif isinstance(value, Written):
            memory.add_histogram(dict(labels), i * step, _as_stored(value.histogram, before))
        elif value == STALE:
            memory.add_stale(dict(labels), i * step)
        if value is not None:
            before = value.histogram if isinstance(value, Written) else None


def _as_stored(histogram: NativeHistogram, before: NativeHistogram | None) -> NativeHistogram:
    """With the hint that Prometheus' storage gives it back with, after another one: of the first one of a chunk it
    knows nothing, since the chunk before may be missing."""
    if histogram.hint == ResetHint.GAUGE:
        return histogram
    same = (before is not None and before.hint != ResetHint.GAUGE and histogram.hint != ResetHint.RESET
            and continues(histogram, before))
    return replace(histogram, hint=ResetHint.NOT_RESET if same else ResetHint.UNKNOWN)


def _convert(memory: MemoryStorage, load: Load) -> None:
    """Stores classic histograms as native ones, too."""
    found: dict[Labels, dict[int, _Classic]] = {}
    for labels, values in load.series:
        of = dict(labels)
        name, _, kind = of.pop(METRIC_NAME, "").rpartition("_")
        bound = parse_bound(of.pop("le", "")) if kind == "bucket" else None
        if kind not in ("bucket", "count", "sum") or (kind == "bucket" and bound is None):
            continue
        times = found.setdefault(labels_of(of | {METRIC_NAME: name}), {})
        for i, value in enumerate(values):
            if not isinstance(value, float):
                continue
            classic = times.setdefault(i * load.step_ms, _Classic())
            if bound is not None:
                classic.buckets[bound] = value
            elif kind == "count":
                classic.count = value
            else:
                classic.sum = value
    for labels, times in found.items():
        before: NativeHistogram | None = None
        for at, classic in sorted(times.items()):
            histogram = from_classic(classic.buckets, classic.count, classic.sum)
            memory.add_histogram(dict(labels), at, _as_stored(histogram, before))
            before = histogram


@dataclass
class _Classic:
    buckets: dict[float, float] = field(default_factory=dict)
    count: float | None = None
    sum: float = 0.0
