"""Puts what a script loads into a storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tsdb.model.context import RequestContext
from tsdb.model.errors import NotSupported
from tsdb.model.labels import METRIC_NAME
from tsdb.model.tiles import Capture, Selection
from tsdb.testing.memory_storage import Labels, MemoryStorage, labels_of, matches
from tsdb.testing.notation import HISTOGRAM, STALE
from tsdb.testing.script import Load

_UNSUPPORTED = "not supported yet: native histograms"


class Capturing(Protocol):
    """The part of `Queryable` that the engine needs."""

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture: ...


@dataclass
class Loaded:
    """What a script has loaded: the floats in a storage, and of native histograms only where they are."""

    floats: Capturing
    histograms: dict[Labels, list[int]]
    """Times in ms. To select one is not supported yet."""

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture:
        for selection in selections:
            for labels, times in self.histograms.items():
                if any(selection.mint <= at <= selection.maxt for at in times) and matches(labels, selection.matchers):
                    raise NotSupported(_UNSUPPORTED)
        return self.floats.capture(selections, context)


Store = Callable[[MemoryStorage], Capturing]
"""Puts what is in memory into another storage."""


def load(loads: Sequence[Load], store: Store) -> Loaded:
    """What the loads of a script say, one after the other."""
    floats_of, histograms = MemoryStorage(), dict[Labels, list[int]]()
    for load in loads:
        for labels, values in load.series:
            floats = [(i * load.step_ms, value) for i, value in enumerate(values) if isinstance(value, float)]
            if floats:
                floats_of.add(dict(labels), [at for at, _ in floats], [value for _, value in floats])
            for i, value in enumerate(values):
                if value == STALE:
                    floats_of.add_stale(dict(labels), i * load.step_ms)
            native = [i * load.step_ms for i, value in enumerate(values) if value == HISTOGRAM]
            if load.with_nhcb and floats:
                _add_histogram(histograms, _nhcb_labels(labels), [at for at, _ in floats])
            _add_histogram(histograms, labels, native)
        for labels, offsets in load.starts.items():
            times = [i * load.step_ms for i in range(len(offsets))]
            floats_of.add_starts(dict(labels), {at: at + offset for at, offset in zip(times, offsets, strict=True)
                                                if offset is not None})
    return Loaded(store(floats_of), histograms)


def _nhcb_labels(labels: Labels) -> Labels | None:
    name = dict(labels).get(METRIC_NAME, "")
    base = re.sub("_(bucket|count|sum)$", "", name)
    if base == name:
        return None
    return labels_of({n: v for n, v in labels if n not in (METRIC_NAME, "le")} | {METRIC_NAME: base})


def _add_histogram(histograms: dict[Labels, list[int]], labels: Labels | None, times: list[int]) -> None:
    if labels is not None and times:
        histograms.setdefault(labels, []).extend(times)
