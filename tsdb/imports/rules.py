"""Recording rules over the past: their results at all times at which they would have been evaluated, as batches.

As `promtool tsdb create-blocks-from rules` (cmd/promtool/rules.go), but that rules which read what other rules record
see it: they are evaluated in later passes, once the results of earlier ones are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import Batch
from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError, LimitExceeded, QueryError, QueryTimeout
from tsdb.model.labels import METRIC_NAME, canonical_key, format_series
from tsdb.promql import Engine, metric_name, parse, selectors
from tsdb.promql.regexes import accepts
from tsdb.rules import Group, Rule, RuleFile, evaluation_times

FIRST_STEPS = 128
"""Of the first query of a rule; later ones have as many as its series allow."""
MOST_STEPS = 10_000
"""Prometheus answers 11,000."""
CELLS = 100_000
"""Samples that a query should give at most."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule of a file."""

    file: str
    group: Group
    rule: Rule
    interval_ms: int

    @property
    def name(self) -> str:
        return self.rule.record

    def __str__(self) -> str:
        return f'{self.file}: group "{self.group.name}", rule "{self.name}"'


@dataclass(frozen=True, slots=True)
class Results:
    """The answer to a range query."""

    labels: Sequence[Mapping[str, str]]
    times: NDArray[np.int64]
    """i64[steps], ms"""
    values: NDArray[np.uint64]
    """u64[series, steps]: bits of floats, boxed values lead to histograms in `payload`"""
    present: NDArray[np.bool_]
    """bool[series, steps]"""
    payload: NDArray[np.uint8] | None = None
    warnings: Sequence[str] = ()


class Source(Protocol):
    """Who answers queries."""

    def range(self, expr: str, start: int, end: int, step: int) -> Results:
        """At start, start + step, … <= end (ms). Raises QueryError: LimitExceeded and QueryTimeout where fewer steps
        may go."""
        ...


class EngineSource:
    """The engine of this process."""

    def __init__(self, engine: Engine, *, timeout_s: float = 120.0, threads: int = 2) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._threads = threads

    def range(self, expr: str, start: int, end: int, step: int) -> Results:
        context = RequestContext.with_timeout(self._timeout_s, threads=self._threads)
        found = self._engine.query_range(expr, start, end, step, context)
        labels = [] if found.series is None else [found.series.labels(row) for row in range(len(found.series))]
        return Results(labels, found.times, np.ascontiguousarray(found.values).view(np.uint64), found.present,
                       found.payload, found.warnings)


def recordings(files: Mapping[str, RuleFile], default_interval_ms: int) -> tuple[list[Recording], int]:
    """(recording rules in their order, how many alerting rules there are) of files by their name. Groups without an
    interval have the default one."""
    found, alerts = [], 0
    for name, file in files.items():
        for group in file.groups:
            interval = int(group.interval) or default_interval_ms
            for rule in group.rules:
                if rule.record:
                    found.append(Recording(name, group, rule, interval))
                else:
                    alerts += 1
    return found, alerts


def passes(rules: Sequence[Recording]) -> tuple[list[list[Recording]], list[Recording]]:
    """(passes, rules that read what themselves or rules around them record). What a rule reads is recorded in an
    earlier pass; those that go in circles are evaluated last, over what is there by then."""
    needs = [{other for other, each in enumerate(rules) if _reads(rule, each.name)} for rule in rules]
    found, done, left = [], set[int](), list(range(len(rules)))
    circular = [rule for i, rule in enumerate(rules) if i in needs[i]]
    while left:
        ready = [i for i in left if needs[i] - {i} <= done]
        if not ready:
            circular += [rules[i] for i in left if rules[i] not in circular]
            ready = left
        found.append([rules[i] for i in ready])
        done.update(ready)
        left = [i for i in left if i not in done]
    return found, circular


def _reads(rule: Recording, name: str) -> bool:
    for selector in selectors(parse(rule.rule.expr)):
        wanted = metric_name(selector)
        if wanted == name:
            return True
        if not wanted and all(accepts(each, name) for each in selector.matchers if each.name == METRIC_NAME):
            return True
    return False


def evaluate(source: Source, rule: Recording, start: int, end: int, secret: NDArray[np.uint64],
             warn: Callable[[str], None] = lambda _: None) -> Iterator[Batch]:
    """The samples of a rule from start to end (ms, inclusive), a piece of the time after the other; keys are hashed
    with `secret` u64[2]. Raises QueryError with the name of the rule."""
    times = evaluation_times(rule.file, rule.group.name, rule.interval_ms, start, end)
    at, steps, warned = 0, FIRST_STEPS, set[str]()
    while at < times.size:
        part = times[at : at + steps]
        try:
            found = source.range(rule.rule.expr, int(part[0]), int(part[-1]), rule.interval_ms)
        except (LimitExceeded, QueryTimeout) as problem:
            if part.size == 1:
                raise type(problem)(f"{rule}: {problem}") from None
            steps = max(part.size // 4, 1)
            continue
        except QueryError as problem:
            raise type(problem)(f"{rule}: {problem}") from None
        for text in found.warnings:
            if text not in warned:
                warned.add(text)
                warn(f"{rule}: {text}")
        batch = _batch(rule, found, secret)
        if batch is not None:
            yield batch
        at += part.size
        steps = max(min(CELLS // max(len(found.labels), 1), steps * 8, MOST_STEPS), 1)


def _batch(rule: Recording, found: Results, secret: NDArray[np.uint64]) -> Batch | None:
    if not found.labels:
        return None
    added = rule.group.labels_of(rule.rule)
    keys = [canonical_key({**labels, **added, METRIC_NAME: rule.name}) for labels in found.labels]
    _check_apart(rule, keys, found)
    lengths = np.array([len(each) for each in keys], np.uint32)
    offsets = (np.cumsum(lengths, dtype=np.int64) - lengths).astype(np.uint32)
    data, hashes = np.frombuffer(b"".join(keys), np.uint8), np.empty(len(keys), np.uint64)
    hash_rows(secret, data, offsets, lengths, hashes)
    rows, steps = np.nonzero(found.present)
    return Batch(data, hashes, offsets, lengths, rows.astype(np.uint32), found.times[steps],
                 found.values[rows, steps], history=True, payload=found.payload)


def _check_apart(rule: Recording, keys: Sequence[bytes], found: Results) -> None:
    """Raises ExecutionError where two results of one time would be the same series, as a running rule does."""
    if len(set(keys)) == len(keys):
        return
    rows: dict[bytes, list[int]] = {}
    for row, each in enumerate(keys):
        rows.setdefault(each, []).append(row)
    for same in rows.values():
        if (found.present[same].sum(axis=0) > 1).any():
            one = format_series(sorted(found.labels[same[0]].items()))
            raise ExecutionError(f"{rule}: vector contains metrics with the same labelset after applying rule labels, "
                                 f"as of {one}")


def load_all(paths: Iterable[Path]) -> dict[str, RuleFile]:
    """Rule files by their name. Raises ConfigError with file, line and column."""
    from tsdb.rules import load

    return {str(path): load(path) for path in paths}
