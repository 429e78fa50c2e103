"""Which downsampling tier a selector reads, step by step.

While the samples that a step needs are there, a tier is read only where that gives the same, and then the coarsest: all
evaluation times and the range are multiples of its resolution, the function can be computed of windows, and all windows
of the range are kept. Where samples have expired, the finest tier that has the range answers, as well as it can; a
query can ask for that everywhere (`Engine.query`: max_source_resolution_ms). What is not exact is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.durations import format_duration
from tsdb.model.matchers import Matcher
from tsdb.model.tiers import Tier, TierRead, Tiers
from tsdb.model.tiles import Selection
from tsdb.promql.operators.sample_counts import Window
from tsdb.promql.operators.tier_windows import LAST_SAMPLES
from tsdb.promql.plan.tier_uses import TierUse

SAMPLES: Final = -1
"""Instead of the number of a tier."""

_FULL, _TAILED, _PART, _KINDS = range(4)
"""All windows of the range are read; samples follow them; the newest are missing."""

_HOUR: Final = 3_600_000
_WORTH_HOURS: Final = 4
"""A tier of an hour or more is not read in the samples' place where all steps together look at less: there are few of
them. The finer a tier, the longer it must be, since a window has several fields."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a selector reads at some steps."""

    window: Window
    """Of the steps; of a tier, which of its windows' ends are seen."""
    read: TierRead | None = None
    """None: samples."""
    through: int | None = None
    """ms: windows that end later are made of samples. None: all are read."""
    samples: bool = False
    """The last sample of each window is taken for all there are."""
    notes: tuple[str, ...] = ()
    """Why the result is not that of the samples."""

    def selections(self, matchers: tuple[Matcher, ...], steps: int, start_times: bool) -> list[Selection]:
        """What is to be captured: samples; or windows, and samples behind them."""
        mint, maxt = self.window.mint(), self.last(steps)
        if self.read is None:
            return [Selection(matchers, mint, maxt, start_times, steps)]
        if self.through is None:
            return [Selection(matchers, mint, maxt, steps=steps, tier=self.read)]
        return [Selection(matchers, mint, self.through, steps=steps, tier=self.read),
                Selection(matchers, self.through + 1, maxt, steps=steps)]

    def last(self, steps: int) -> int:
        """Of the samples, or where the last window ends that is seen; ms."""
        maxt = self.window.maxt(steps)
        return maxt if self.read is None else maxt - maxt % self.read.resolution_ms


@dataclass(frozen=True, slots=True)
class _Reach:
    """How much of its range a tier has at each step, i64[steps] in ms: windows (begin, through], within the span of
    number `place`; `end` is where the last window ends that is over."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    through: NDArray[np.int64]
    place: NDArray[np.int64]
    full: NDArray[np.bool_]
    """bool[steps]: all windows"""
    tailed: NDArray[np.bool_]
    """bool[steps]: all but the newest, of which there are all samples"""
    early: NDArray[np.bool_]
    """bool[steps]: the range begins before the tier"""


class TierChoice:
    """For one query. Choices are numbers: of a tier and one of its spans, and what follows; or `SAMPLES`."""

    def __init__(self, tiers: Tiers, max_resolution_ms: int | None = None) -> None:
        """`max_resolution_ms`: the coarsest tier of at most this resolution is wanted, exact or not; 0: none; None:
        what is exact, as long as there are samples."""
        self._tiers = [] if max_resolution_ms == 0 else [tier for tier in tiers.tiers if tier.spans]
        self._raw_from, self._wanted = tiers.raw_from, max_resolution_ms
        self._spans = max([len(tier.spans) for tier in self._tiers], default=1)

    def __bool__(self) -> bool:
        """Whether there is anything to choose."""
        return bool(self._tiers)

    def of_steps(self, use: TierUse, matchers: Sequence[Matcher], window: Window, steps: int, *, instead: bool = True,
                 ) -> NDArray[np.int64]:
        """i64[steps]: what each step reads. `instead`: also in the place of samples that are there."""
        chosen = np.full(steps, SAMPLES, np.int64)
        usable = [number for number, tier in enumerate(self._tiers) if set(tier.matchers) <= set(matchers)]
        needed = 1 - window.width - window.before  # the oldest sample, seen from the evaluation time
        if self._wanted is None and window.first + needed >= self._raw_from and not (
                instead and any(is_exact(use, self._tiers[number], window, steps) for number in usable)):
            return chosen
        at = window.first + window.step * np.arange(steps, dtype=np.int64)
        kept = at + needed >= self._raw_from
        open_ = np.ones(steps, np.bool_)
        for number in self._in_order(usable, use, window, steps):
            tier = self._tiers[number]
            exact, wanted = is_exact(use, tier, window, steps), self._is_wanted(tier)
            reach = self._reach(use, tier, window, at, _width(use, tier, window, exact))
            there = open_ & ~reach.early & (reach.full | reach.tailed)
            if instead and (wanted or (self._wanted is None and exact)):
                much = reach.through - reach.begin >= np.maximum(_worth_ms(tier), (reach.end - reach.begin) // 2)
                there &= ~kept | reach.full | much
                if not wanted:
                    there = _worth(there, kept, at, window.width, _worth_ms(tier))
            else:
                there &= ~kept
            chosen[there] = self._numbers(number, reach)[there]
            open_ &= ~there
        left = np.flatnonzero(open_ & ~kept)
        if left.size:
            chosen[left] = self._most(usable, use, window, at[left])
        return chosen

    def source(self, use: TierUse, choice: int, window: Window, steps: int) -> Source:
        """What a choice is. `window` is that of the steps that share it, `steps` how many there were to choose for."""
        if choice == SAMPLES:
            return Source(window)
        rest, kind = divmod(choice, _KINDS)
        number, place = divmod(rest, self._spans)
        tier = self._tiers[number]
        through = tier.spans[place][1] if kind == _TAILED else None
        exact, samples = is_exact(use, tier, window, steps), _needs_samples(use, tier, window)
        read = TierRead(tier.resolution_ms, LAST_SAMPLES if samples else use.fields)
        before, after = (max(each, tier.resolution_ms) if each else 0 for each in (window.before, window.after))
        seen = Window(window.first, window.step, _width(use, tier, window, exact), before, after)
        return Source(seen, read, through, samples, tuple(_notes(use, tier, window, steps, samples, kind == _PART)))

    def _is_wanted(self, tier: Tier) -> bool:
        return self._wanted is not None and tier.resolution_ms <= self._wanted

    def _in_order(self, usable: Sequence[int], use: TierUse, window: Window, steps: int) -> list[int]:
        """The numbers of tiers, best first."""
        def rank(number: int) -> tuple[int, int]:
            tier = self._tiers[number]
            if self._is_wanted(tier):
                return 0, -tier.resolution_ms
            return (1, -tier.resolution_ms) if is_exact(use, tier, window, steps) else (2, tier.resolution_ms)

        return sorted(usable, key=rank)

    def _reach(self, use: TierUse, tier: Tier, window: Window, at: NDArray[np.int64], width: int) -> _Reach:
        spans = np.array(tier.spans, np.int64)
        end = at // tier.resolution_ms * tier.resolution_ms
        oldest = end - width
        begin = np.maximum(oldest, spans[0, 0])
        place = np.searchsorted(spans[:, 0], begin, "right") - 1
        through = np.minimum(spans[place, 1], end)
        full = through >= end
        followed = not use.instant and (
            use.form is None or use.form.quantile is None or _needs_samples(use, tier, window))
        tailed = ~full & (through > begin) & (through + 1 >= self._raw_from) & followed
        return _Reach(begin, end, through, place, full, tailed, oldest < begin)

    def _numbers(self, number: int, reach: _Reach) -> NDArray[np.int64]:
        kind = np.where(reach.full, _FULL, np.where(reach.tailed, _TAILED, _PART))
        return (number * self._spans + reach.place) * _KINDS + kind

    def _most(self, usable: Sequence[int], use: TierUse, window: Window, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """i64[n]: the tier that has most of the range, the finest of several; `SAMPLES` if nothing has more."""
        width = window.width + window.before
        best = np.maximum(at - np.maximum(at - width, self._raw_from - 1), 0)
        chosen = np.full(at.size, SAMPLES, np.int64)
        for number in sorted(usable, key=lambda each: self._tiers[each].resolution_ms):
            tier = self._tiers[number]
            reach = self._reach(use, tier, window, at, _width(use, tier, window, False))
            there = np.where(reach.full | reach.tailed, reach.end, reach.through) - reach.begin
            chosen[there > best] = self._numbers(number, reach)[there > best]
            best = np.maximum(best, there)
        return chosen


def is_exact(use: TierUse, tier: Tier, window: Window, steps: int) -> bool:
    """Whether the tier's windows give what samples do, where there are all of them."""
    resolution = tier.resolution_ms
    if use.needs_samples or use.starts or window.first % resolution or window.width % resolution:
        return False
    if steps > 1 and window.step % resolution:
        return False
    quantile = None if use.form is None else use.form.quantile
    return quantile is None or (quantile in tier.quantiles and window.width == resolution)


def _needs_samples(use: TierUse, tier: Tier, window: Window) -> bool:
    """Whether windows of this tier cannot answer."""
    quantile = None if use.form is None else use.form.quantile
    return use.needs_samples or (
        quantile is not None and (quantile not in tier.quantiles or window.width > tier.resolution_ms))


def _width(use: TierUse, tier: Tier, window: Window, exact: bool) -> int:
    """Of the range, for windows; the lookback of a selector, as it is: only the newest window in it counts."""
    resolution = tier.resolution_ms
    if exact:
        return window.width
    if use.instant:
        return max(window.width, resolution)
    windows = -(-window.width // resolution)
    return resolution * (max(windows, 2) if use.needs_two else windows)


def _worth_ms(tier: Tier) -> int:
    return _WORTH_HOURS * _HOUR * _HOUR // min(tier.resolution_ms, _HOUR)


def _worth(there: NDArray[np.bool_], kept: NDArray[np.bool_], at: NDArray[np.int64], width: int, least: int,
           ) -> NDArray[np.bool_]:
    """Without the steps with samples where all of these together look at less than `least`, ms."""
    instead = np.flatnonzero(there & kept)
    if instead.size and at[instead[-1]] - at[instead[0]] + width < least:
        there = there.copy()
        there[instead] = False
    return there


def _notes(use: TierUse, tier: Tier, window: Window, steps: int, samples: bool, part: bool) -> Iterator[str]:
    """Where the result is not that of the samples, why. `part`: windows at the end of the range are missing."""
    resolution = tier.resolution_ms
    name = format_duration(resolution)
    read, width = f"read from the downsampling tier {name}: ", format_duration(window.width)
    if part and not use.instant:
        yield f"{read}at the end of the range there are neither windows nor samples"
    if is_exact(use, tier, window, steps):
        return
    if use.starts:
        yield f"{read}start timestamps are not kept"
    if samples:
        yield f"{read}{use.what} needs samples, and gets the last one of each window"
    if window.width < resolution:
        yield read + (f"the lookback is {name}" if use.instant else f"a range of {width} is that of one window")
    elif window.width % resolution and not use.instant:
        yield f"{read}a range of {width} is extended to whole windows"
    elif window.width % resolution:
        yield f"{read}a lookback of {width} sees only windows that end within it"
    if window.first % resolution or (steps > 1 and window.step % resolution):
        yield f"{read}evaluation times are not multiples of {name}, and only windows that are over count"
