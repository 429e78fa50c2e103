"""The embedded API: the server's own engine inside a Python process, as SQLite is for SQL."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels import warm_up
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import DUPLICATE, EXEMPLAR_REASONS, REASONS, Batch, Exemplar, Metadata
from tsdb.model.context import RequestContext
from tsdb.model.durations import parse_duration
from tsdb.model.errors import BadData, BadRequest, ConfigError, OutOfBounds
from tsdb.model.labels import METRIC_NAME, canonical_key
from tsdb.model.native_histograms import NativeHistogram, decode, is_boxed, offsets
from tsdb.model.times import Time, column_to_ms, to_ms
from tsdb.promql import Engine, EngineOptions, QueryResult
from tsdb.promql.syntax.parser import parse_selector
from tsdb.result import Result
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.exemplars.selecting import SeriesExemplars, StoredExemplar
from tsdb.storage.head.limits import SeriesLimits
from tsdb.storage.tiers.rule import TierRule
from tsdb.wal import Sync

__all__ = ["Database", "DownsamplingTier", "SeriesExemplars", "SeriesLimits", "StoredExemplar", "open"]

APPEND_AT_ONCE = 100_000
HOUR_MS = 3_600_000
FOREVER = (1 << 63) - 1
METRIC_TYPES = ("counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "unknown")


class Database:
    """An open data directory: append columns, ask PromQL, get numpy arrays. Thread-safe; close it, or use ``with``."""

    def __init__(self, storage: Storage, *, timeout_s: float, threads: int) -> None:
        self._storage = storage
        self._engine = Engine(storage, EngineOptions(threads=threads))
        self._timeout_s = timeout_s
        self._threads = threads

    @property
    def storage(self) -> Storage:
        """The storage below, for what has no shorter way."""
        return self._storage

    def append(
        self, labels: Mapping[str, str] | str, timestamps: Sequence[Time] | NDArray[np.generic],
        values: Sequence[float] | NDArray[np.floating],
    ) -> None:
        """Adds samples of one series; they can be queried when it returns.

        `labels` is a label set with ``__name__``, or just a metric name. `timestamps` is a column of seconds,
        datetimes, datetime64 or RFC 3339 texts, of any age and in any order; `values` a column of numbers of the same
        length. Where the series has a sample at a time already, that one stays.

        Raises BadRequest for labels or columns that make no sense, or for another value at the series' newest time;
        OutOfBounds for samples in the future; ReadOnly; Unavailable. The samples that could be taken are kept.
        """
        label_set = {METRIC_NAME: labels} if isinstance(labels, str) else dict(labels)
        _check_labels(label_set)
        try:
            ts = column_to_ms(timestamps)
        except BadData as problem:
            raise BadRequest(str(problem)) from problem
        floats = np.ascontiguousarray(values, np.float64)
        if floats.shape != ts.shape:
            raise BadRequest(f"{ts.size} timestamps and values of shape {floats.shape}: give two columns of one length")
        if ts.size > 1 and (np.diff(ts) < 0).any():
            order = np.argsort(ts, kind="stable")
            ts, floats = ts[order], floats[order]
        bits = floats.view(np.uint64)
        codes = np.zeros(ts.size, np.uint8)
        limits: dict[int, str] = {}
        for part in _pieces(ts):
            appended = self._storage.submit(self._batch(label_set, ts[part], bits[part])).result()
            codes[part] = appended.codes
            limits.update(appended.refusals)
        _raise_for(codes, label_set, ts, limits)

    def append_exemplars(self, labels: Mapping[str, str] | str,
                         exemplars: Iterable[tuple[Time, float, Mapping[str, str]]]) -> None:
        """Adds exemplars of one series, examples of what went into its samples: (time, value, labels such as
        ``{"trace_id": "4bf92f"}``) each. Of all series together the newest are kept (`open`'s `max_exemplars`).

        Raises BadRequest where one is older than the newest of its series, in the future or of long labels, or where
        the series has had no sample lately; the others are kept. ReadOnly; Unavailable.
        """
        label_set = {METRIC_NAME: labels} if isinstance(labels, str) else dict(labels)
        _check_labels(label_set)
        offered = []
        for time, value, own in exemplars:
            _check_texts(own)
            offered.append(Exemplar(0, tuple(own.items()), float(value), to_ms(time)))
        offered.sort(key=lambda each: (each.ts, each.value))
        batch = self._batch(label_set, np.empty(0, np.int64), np.empty(0, np.uint64))
        batch.exemplars = offered
        codes = self._storage.submit(batch).result().exemplar_codes
        wrong = np.flatnonzero(codes)
        if wrong.size:
            first = int(wrong[0])
            raise BadRequest(f"{wrong.size} of {codes.size} exemplars of {label_set} were refused, the others are "
                             f"kept; the first: {EXEMPLAR_REASONS[codes[first]]} (time {offered[first].ts / 1000:.3f})")

    def exemplars(self, selector: str, start: Time | None = None, end: Time | None = None, *,
                  timeout: float | None = None) -> list[SeriesExemplars]:
        """Exemplars from start to end (default: all) of the series that a selector such as ``http_requests_total``
        finds, each with labels, value and ts in ms. Raises QueryError."""
        first = -FOREVER if start is None else to_ms(start)
        last = FOREVER if end is None else to_ms(end)
        return self._storage.exemplars([parse_selector(selector)], first, last, self._context(timeout))

    def set_metadata(self, family: str, type: str = "unknown", help: str = "", unit: str = "") -> None:
        """Says what a family of metrics is; `type` is Prometheus' word, such as ``counter``. Raises BadRequest,
        ReadOnly, Unavailable."""
        if type not in METRIC_TYPES:
            raise BadRequest(f"type {type!r} of {family!r}: it is one of {', '.join(METRIC_TYPES)}")
        _check_texts({"family": family, "help": help, "unit": unit})
        none = np.empty(0, np.uint32)
        batch = Batch(np.empty(0, np.uint8), np.empty(0, np.uint64), none, none, none, np.empty(0, np.int64),
                      np.empty(0, np.uint64), [Metadata(family, type, help, unit)])
        self._storage.submit(batch).result()

    def metadata(self, family: str | None = None) -> dict[str, Metadata]:
        """What families of metrics are, by name: one, if it is known, or all."""
        return {name: found[0] for name, found in self._storage.metadata(family).items()}

    def query(self, expr: str, time: Time | None = None, *, timeout: float | None = None,
              max_source_resolution: float | str | None = None) -> Result:
        """Evaluates PromQL at one time (default: now). `max_source_resolution` in seconds or as a duration
        (``"1h"``): the coarsest downsampling tier of at most this resolution is read, exact or not; 0: samples alone.
        Raises QueryError, such as ParseError."""
        at = round(clock.time() * 1000) if time is None else to_ms(time)
        return _result(self._engine.query(expr, at, self._context(timeout),
                                          max_source_resolution_ms=_resolution(max_source_resolution)))

    def query_range(self, expr: str, start: Time, end: Time, step: float | str, *, timeout: float | None = None,
                    max_source_resolution: float | str | None = None) -> Result:
        """Evaluates PromQL at start, start + step, … <= end; `step` in seconds or as a duration (``"1m"``);
        `max_source_resolution` as in `query`.

        Raises QueryError.
        """
        step_ms = round(step * 1000) if isinstance(step, (int, float)) else parse_step(step)
        first, last = to_ms(start), to_ms(end)
        if step_ms <= 0:
            raise BadData(f"a step of {step} is not positive")
        if last < first:
            raise BadData("the end is before the start")
        return _result(self._engine.query_range(expr, first, last, step_ms, self._context(timeout),
                                                max_source_resolution_ms=_resolution(max_source_resolution)))

    def close(self) -> None:
        """Makes everything durable and lets go of the directory. May be called twice."""
        self._engine.close()
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batch(self, labels: Mapping[str, str], ts: NDArray[np.int64], bits: NDArray[np.uint64]) -> Batch:
        """Samples of one series."""
        key = np.frombuffer(canonical_key(labels), np.uint8)
        offsets, lengths = np.zeros(1, np.uint32), np.array([key.size], np.uint32)
        hashes = np.empty(1, np.uint64)
        hash_rows(self._storage.secret, key, offsets, lengths, hashes)
        return Batch(key, hashes, offsets, lengths, np.zeros(ts.size, np.uint32), ts, bits, history=True)

    def _context(self, timeout: float | None) -> RequestContext:
        return RequestContext.with_timeout(self._timeout_s if timeout is None else timeout, threads=self._threads)


def _resolution(wanted: float | str | None) -> int | None:
    """Milliseconds. Raises BadData."""
    if wanted is None:
        return None
    found = round(wanted * 1000) if isinstance(wanted, (int, float)) else parse_step(wanted)
    if found < 0:
        raise BadData(f"a resolution of {wanted} is negative")
    return found


@dataclass(frozen=True, slots=True)
class DownsamplingTier:
    """Aggregates of all samples within windows of a length, which queries over long times read instead of samples."""

    resolution: str
    """How long the windows are: ``5m``, ``1h``."""
    retention: str = "0"
    """How long they are kept; ``0``: for ever."""
    match: str = ""
    """Selector of the series; without: all of them."""
    quantiles: Sequence[float] = ()
    """0 to 1, that are kept beside count, sum, min, max and the like."""

    def rule(self) -> TierRule:
        """As storage takes it. ConfigError, ParseError."""
        try:
            resolution, retention = parse_duration(self.resolution), parse_duration(self.retention)
        except ValueError as problem:
            raise ConfigError(f"downsampling: {problem}") from None
        if resolution <= 0 or 0 < retention <= resolution or not all(0 <= each <= 1 for each in self.quantiles):
            raise ConfigError(f"{self}: the resolution is more than 0, the retention longer or 0 (for ever), quantiles "
                              "are from 0 to 1")
        matchers = parse_selector(self.match) if self.match else ()
        return TierRule(resolution, retention, matchers, tuple(self.quantiles))


def open(path: str | Path, *, read_only: bool = False, sync: Sync = "interval", timeout: float = 120.0,
         threads: int = 2, limits: SeriesLimits | None = None, max_exemplars: int = 100_000,
         downsampling: Sequence[DownsamplingTier] = ()) -> Database:
    """Opens a data directory, made where there is none.

    `read_only` shows what was committed when it was opened, beside a running server if need be. `sync` says when an
    append returns: "commit" after it is on the disk, "interval" (about a second later it is), "os". `timeout` (seconds)
    is for queries, which use up to `threads` threads. `limits` are on new series, as `storage.limits` of the server's
    config: ``tsdb.SeriesLimits(max_series_per_metric=10_000, max_label_values={"user": 100})``. Of exemplars the newest
    `max_exemplars` are kept. `downsampling` are tiers, as in the server's config:
    ``[tsdb.DownsamplingTier("5m", "90d"), tsdb.DownsamplingTier("1h", match='{job="node"}', quantiles=(0.99,))]``.

    Raises DirectoryLocked, FormatTooNew, StorageError. The first use on a machine compiles kernels (half a minute).
    """
    if threads < 1:
        raise ConfigError(f"threads is {threads}: at least 1")
    folder = Path(path)
    warm_up(None if read_only else folder)
    options = StorageOptions(wal_sync=sync, series_limits=limits or SeriesLimits(), max_exemplars=max_exemplars,
                             tiers=tuple(tier.rule() for tier in downsampling))
    return Database(Storage.open(folder, options, read_only=read_only), timeout_s=timeout, threads=threads)


def _pieces(ts: NDArray[np.int64]) -> list[slice]:
    """Of sorted times (ms): commits of a column, those of its last hour first, since they go to the head; what is older
    would push them out."""
    recent = int(np.searchsorted(ts, ts[-1] - HOUR_MS)) if ts.size else 0
    return [slice(start, min(start + APPEND_AT_ONCE, end)) for begin, end in ((recent, ts.size), (0, recent))
            for start in range(begin, end, APPEND_AT_ONCE)]


def _raise_for(codes: NDArray[np.uint8], labels: dict[str, str], ts: NDArray[np.int64],
               limits: Mapping[int, str]) -> None:
    """`limits`: what was refused for one, by code."""
    wrong = np.flatnonzero(codes)
    if wrong.size == 0:
        return
    first = int(wrong[0])
    message = (f"{wrong.size} of {codes.size} samples of {labels} were refused, the others are kept; "
               f"the first: {REASONS[codes[first]]} (time {ts[first] / 1000:.3f})")
    if codes[first] == DUPLICATE:
        raise BadRequest(f"{message}: the series has another value at that time")
    if int(codes[first]) in limits:
        raise BadRequest(f"{message}: {limits[int(codes[first])]}")
    raise OutOfBounds(f"{message}: times are in seconds, at most 10 minutes ahead of the clock")


def parse_step(text: str) -> int:
    """Milliseconds of a duration such as ``1m30s``. Raises BadData."""
    try:
        return parse_duration(text)
    except ValueError as problem:
        raise BadData(str(problem)) from None


def _check_labels(labels: Mapping[str, str]) -> None:
    if not labels.get(METRIC_NAME):
        raise BadRequest(f"{dict(labels)} has no metric name: add a label {METRIC_NAME}")
    _check_texts(labels)


def _check_texts(labels: Mapping[str, str]) -> None:
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BadRequest(f"label {name!r} = {value!r}: names and values are texts")
        if not name:
            raise BadRequest("a label name is empty")
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            raise BadRequest(f"label {name!r} = {value!r} cannot be written as UTF-8") from None


def _result(found: QueryResult) -> Result:
    series = found.series
    labels = [] if series is None else [series.labels(row) for row in range(len(series))]
    present, samples, histograms = found.present, found.samples or [], []
    if found.payload is not None and samples:
        histograms = [_histograms(*row, found.payload) for row in samples]
        samples = [_floats(*row) for row in samples]
    elif found.payload is not None:
        boxes = is_boxed(found.values.view(np.uint64)) & present
        histograms = [_histograms(found.times[here], values[here], found.payload)
                      for values, here in zip(found.values, boxes, strict=True)]
        present = present & ~boxes
    values = np.where(present, found.values, np.nan)
    return Result(str(found.type), labels, found.times, values, present, samples, histograms, found.text or "",
                  found.warnings, found.infos)


def _floats(times: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    here = ~is_boxed(values.view(np.uint64))
    return times[here], values[here]


def _histograms(times: NDArray[np.int64], values: NDArray[np.float64], payload: NDArray[np.uint8],
                ) -> tuple[NDArray[np.int64], list[NativeHistogram]]:
    bits = values.view(np.uint64)
    here = is_boxed(bits)
    return times[here], [decode(payload, offset) for offset in offsets(bits[here]).tolist()]
