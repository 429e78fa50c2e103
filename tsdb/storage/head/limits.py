"""Limits on how many series there may be: as the config says them, as kernels take them, and who ran into them.

They hold for new series only, and for what is in the head: a series that has left it counts no more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import OVER_JOB, OVER_LABEL_VALUES, OVER_METRIC, OVER_SERIES, Batch, RefusedRows
from tsdb.model.labels import labels_of_key
from tsdb.storage.head.limit_kernels import ALL, ANY_LABEL, JOB, LABELS, METRIC

if TYPE_CHECKING:
    from tsdb.storage.head.index import Index
    from tsdb.storage.head.series_table import SeriesTable

log = logging.getLogger(__name__)

EVERY_OTHER = "*"
"""Stands for all labels that have no limit of their own."""
QUIET_S = 60.0
"""Between two messages about one limit."""
LOOKED_AT = 20
"""Refused series of a batch that are looked at for what to name."""
NAMED = 3
_LONGEST = 200
"""Characters of a value in a message."""


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """Series in the head; 0: no limit."""

    max_series: int = 0
    max_series_per_metric: int = 0
    max_series_per_job: int = 0
    max_label_values: Mapping[str, int] = field(default_factory=dict)
    """By name of the label; `EVERY_OTHER` for those that are not there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit."""

    limit: str
    """Its key in `storage.limits`."""
    label: str
    """Of `max_label_values`: its key there; else empty."""
    most: int
    """0: none."""
    code: int
    """Of `tsdb.model.batch.REASONS`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """As kernels take them (`tsdb.storage.head.limit_kernels`)."""

    each: tuple[Rule, ...]
    rows: NDArray[np.int64]
    """i64[rules, 3]"""
    names: NDArray[np.uint8]

    @classmethod
    def of(cls, limits: SeriesLimits) -> Rules:
        values = limits.max_label_values
        each = [
            Rule("max_series", "", limits.max_series, OVER_SERIES),
            Rule("max_series_per_metric", "", limits.max_series_per_metric, OVER_METRIC),
            Rule("max_series_per_job", "", limits.max_series_per_job, OVER_JOB),
            Rule("max_label_values", EVERY_OTHER, values.get(EVERY_OTHER, 0), OVER_LABEL_VALUES),
        ]
        each += [Rule("max_label_values", label, most, OVER_LABEL_VALUES)
                 for label, most in values.items() if label != EVERY_OTHER]
        if not any(rule.most for rule in each):
            return NO_RULES
        names = [b"", b"__name__", b"job", b"", *(rule.label.encode() for rule in each[LABELS:])]
        ends = np.cumsum([len(name) for name in names])
        begins = ends - [len(name) for name in names]
        rows = np.array([[rule.most for rule in each], begins, ends], np.int64)
        return cls(tuple(each), np.ascontiguousarray(rows.T), np.frombuffer(bytearray(b"".join(names)), np.uint8))


NO_RULES = Rules((), np.zeros((0, 3), np.int64), np.zeros(0, np.uint8))


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """Of the limits: as long as they are the same and no series has been removed, what was refused is refused again.
    (Nobody else can have made the series meanwhile: it would have been refused, too.)"""

    rules: Rules
    removed: int
    """Series, ever."""

    def is_that_of(self, refused: RefusedRows) -> bool:
        then = refused.state
        return isinstance(then, Moment) and then.rules is self.rules and then.removed == self.removed


@dataclass(frozen=True, slots=True)
class LimitState:
    """How close one limit is."""

    limit: str
    label: str
    """Of `max_label_values`: for which labels; else empty."""
    most: int
    """0: there is none any more."""
    used: int
    """Series there are, those of the largest metric or job, values of the label with the most."""
    refused: int
    """Samples since the start, of series that were not made."""


class Guard:
    """The limits of one head. `follow` and `states` are for any thread, the rest is the appender's."""

    def __init__(self, table: SeriesTable, index: Index, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._index = index
        self._clock = clock
        self.rules = NO_RULES
        self._refused: dict[tuple[str, str], int] = {}
        """Samples, by limit and label."""
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        """When it was logged last, and how many samples had been refused then."""

    def follow(self, limits: SeriesLimits) -> None:
        """From the next commit on."""
        self.rules = Rules.of(limits)

    def refusals(self, rules: Rules, batch: Batch, refused: NDArray[np.int32], samples: NDArray[np.int64],
                 ) -> dict[int, str]:
        """Counts what was refused of a batch, and logs it now and then. `refused` i32[keyed rows]: number of the rule,
        below 0: none; `samples` i64[rules]: of such series. Returns by code of `REASONS` what is over which limit, and
        what to do."""
        found: dict[int, str] = {}
        for number in np.flatnonzero(samples).tolist():
            rule = rules.each[number]
            key = rule.limit, rule.label
            before = self._refused.get(key, 0)
            self._refused[key] = total = before + int(samples[number])
            offenders = self._offenders(batch, np.flatnonzero(refused == number)[:LOOKED_AT], rule)
            text = self._text(rule, offenders)
            found.setdefault(rule.code, text)
            now = self._clock()
            last, told = self._told.get(key, (now - QUIET_S, before))
            if now - last >= QUIET_S:
                self._told[key] = now, total
                log.warning("new series are refused: %s (%d samples since the last such message)", text, total - told)
        return found

    def states(self) -> Iterator[LimitState]:
        """Of all limits that there are, and that have refused something. Inside `SeriesTable.readers`."""
        rules, refused = self.rules, dict(self._refused)
        for number, rule in enumerate(rules.each):
            count = refused.pop((rule.limit, rule.label), 0)
            if rule.most:
                yield LimitState(rule.limit, rule.label, rule.most, self._used(rules, number), count)
            elif count:
                yield LimitState(rule.limit, rule.label, 0, 0, count)
        for (limit, label), count in refused.items():
            yield LimitState(limit, label, 0, 0, count)

    def _used(self, rules: Rules, number: int) -> int:
        table = self._table
        if number == ALL:
            return table.series
        if number in (METRIC, JOB):
            pairs = self._index.pairs_of(table.find_symbol("__name__" if number == METRIC else "job"))
            return int(table.pair_uses[pairs].max(initial=0))
        if number == ANY_LABEL:
            own = [table.find_symbol(rule.label) for rule in rules.each[LABELS:]]
            names = np.setdiff1d(self._index.names(), own)
            return int(table.name_values[names].max(initial=0))
        name = table.find_symbol(rules.each[number].label)
        return 0 if name < 0 else int(table.name_values[name])

    def _offenders(self, batch: Batch, rows: NDArray[np.intp], rule: Rule) -> list[str]:
        """What a few refused rows have too many of: metrics, jobs, labels."""
        found: list[str] = []
        for row in rows.tolist():
            offset, length = int(batch.row_offset[row]), int(batch.row_length[row])
            labels = labels_of_key(batch.keys[offset : offset + length].tobytes())
            if rule.code == OVER_METRIC:
                name = labels.get("__name__", "")
            elif rule.code == OVER_JOB:
                name = labels.get("job", "")
            elif rule.code == OVER_LABEL_VALUES and rule.label != EVERY_OTHER:
                name = rule.label
            elif rule.code == OVER_LABEL_VALUES:
                name = self._full_label(labels, rule.most)
            else:
                return []
            name = name if len(name) <= _LONGEST else name[:_LONGEST] + "…"
            if name not in found:
                found.append(name)
                if len(found) == NAMED:
                    break
        return found

    def _full_label(self, labels: Mapping[str, str], most: int) -> str:
        """Which label of a refused series has as many values as may be."""
        table = self._table
        for name, value in labels.items():
            symbol = table.find_symbol(name)
            if symbol >= 0 and table.name_values[symbol] >= most:
                known = table.find_symbol(value)
                pair = -1 if known < 0 else table.find_pair(symbol, known)
                if pair < 0 or table.pair_uses[pair] == 0:
                    return name
        return ""

    def _text(self, rule: Rule, offenders: list[str]) -> str:
        limit = f"storage.limits.{rule.limit} is {rule.most}"
        names = ", ".join(f'"{name}"' for name in offenders)
        several = len(offenders) > 1
        if rule.code == OVER_SERIES:
            return f"the head has {self._table.series} series, and {limit}: send fewer series, or raise the limit"
        if rule.code == OVER_LABEL_VALUES:
            for_label = f'storage.limits.{rule.limit}["{rule.label}"] is {rule.most}'
            return (f"the label{'s' if several else ''} {names} {'have' if several else 'has'} as many values as may "
                    f"be, and {for_label}: leave the label out where its values have no bound, or raise the limit")
        kind = "metric" if rule.code == OVER_METRIC else "job"
        return (f"the {kind}{'s' if several else ''} {names} {'have' if several else 'has'} as many series as may be, "
                f"and {limit}: drop labels with many values, or raise the limit")
