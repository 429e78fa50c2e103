"""Downsampling tiers: what storage keeps of the windows of a series, and how queries ask for it.

A tier has a resolution R (ms). Its windows are (end - R, end], where `end` is a multiple of R since the epoch. Of each
window with a sample in it, storage keeps the fields below; a window is named by its `end`. The step between two windows
is computed on reading, so no window depends on a neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tsdb.model.matchers import Matcher


class Field(StrEnum):
    """What is kept of a window. Stale markers are no samples; of a window that has nothing else, all fields but `STALE`
    are 0. `SUM`, `FIRST`, `LAST` and `LOST` may be native histograms: boxed values (`tsdb.model.native_histograms`)."""

    COUNT = "count"
    """How many samples there are."""
    SUM = "sum"
    """Kahan-compensated. Of histograms as `sum_over_time` adds them up; its hint is GAUGE where one of theirs is. Where
    that has nothing, of floats and histograms together, or of exponential and custom buckets, it is NaN."""
    MIN = "min"
    MAX = "max"
    """Of the floats, as `min_over_time` and `max_over_time` have them; NaN where there are none (all of `COUNT` are
    `HISTOGRAMS`). Quantiles are of the floats, too, and 0 then."""
    FIRST = "first"
    """Value of the oldest sample, to the bit; a histogram with its hint."""
    FIRST_TS = "first_ts"
    """When it was taken, in ms since the window's start: 1 … R. Its time is end - R + FIRST_TS."""
    LAST = "last"
    LAST_TS = "last_ts"
    """The same of the newest one."""
    RESETS = "resets"
    """How often a counter began anew within the window, as `resets`: a float behind a histogram, or the other way
    round, is a reset as well. Between two windows this is asked of `FIRST` and of `LAST` in the window before: of
    histograms `detect_reset` of `tsdb.histograms.sum_kernels` says it, as between samples."""
    LOST = "lost"
    """What the counter had before each of these, added up: the increase within the window is LAST - FIRST + LOST. Of
    histograms their sum; 0, a float, where there was no reset; NaN where `SUM` is: then the window has no increase, and
    no range that has it.

    This of all windows of a range, and `LAST` before each reset between two of them, added to LAST - FIRST of the range
    is its increase. But where a counter of histograms begins anew right behind the oldest sample of a range, Prometheus
    does not look at that one's schema and bounds, and the result may be finer there than that of windows."""
    STALE = "stale"
    """1 where the last thing in the window is a stale marker, else 0."""
    HISTOGRAMS = "histograms"
    """How many of the samples are native histograms."""


def quantile_field(quantile: float) -> str:
    """The name of a field with a quantile (0 to 1) of the window's floats, as `quantile_over_time` computes it."""
    return f"quantile {quantile!r}"


@dataclass(frozen=True, slots=True)
class TierRead:
    """What a `Selection` wants instead of samples. Its mint..maxt (ms, inclusive) are of the windows' ends. Tiles have
    the ends as `ts` and the fields in `Tile.fields`, in this order; `values` is the first of them. Boxed values of any
    field lead to `Tile.payload`."""

    resolution_ms: int
    fields: tuple[str, ...]
    """`Field`, or `quantile_field`."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier as a query may use it."""

    resolution_ms: int
    spans: tuple[tuple[int, int], ...]
    """(after, through] in ms, in order and apart: times of which all windows are kept and up to date."""
    matchers: tuple[Matcher, ...] = ()
    """Only series that satisfy all of them are in it."""
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Tiers:
    """What there is, for one query. A capture of what has changed meanwhile raises `TiersChanged`."""

    tiers: Sequence[Tier] = ()
    """The finest first."""
    raw_from: int = -(1 << 63)
    """ms: samples before it may have been dropped for their age."""
