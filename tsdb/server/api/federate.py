"""/federate: the newest sample of each chosen series, in the text format, for another Prometheus to scrape.

Series are Python's one by one here, some microseconds each: pages are meant to hold aggregates, thousands of series.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.errors import ParseError
from tsdb.model.label_order import label_order, take
from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiles import Capture, Selected, Selection, SeriesSet, Symbols
from tsdb.server.api import parameters
from tsdb.server.api.escaping import negotiated, quoted, written
from tsdb.server.api.queries import in_query_thread, new_context
from tsdb.server.http.answer import Answer, text
from tsdb.server.http.route import Request
from tsdb.server.services import Services
from tsdb.server.usage.source import source_of

SERIES_OF_A_PART = 2000
NO_SAMPLE = -(2**63)


@dataclass(frozen=True, slots=True)
class Rows:
    """Series with their newest samples, sorted by metric and then by labels; all have a metric name."""

    series: SeriesSet
    metrics: NDArray[np.uint32]
    """u32[n]: symbols of their names."""
    ts: NDArray[np.int64]
    """i64[n], ms"""
    values: NDArray[np.float64]
    """f64[n]"""


async def federate(services: Services, request: Request) -> Answer:
    if request.form_error:
        return text(400, f"error parsing form values: {request.form_error}")
    try:
        matcher_sets = parameters.selectors(request)
    except ParseError as problem:
        return text(400, str(problem))
    scheme = negotiated(request.http.headers.get("Accept", ""))
    now = time.time_ns() // 1_000_000
    mint = now - services.config.query.lookback_delta
    external = dict(services.config.global_.external_labels)
    external.setdefault("instance", "")
    context = new_context(services, request)
    if services.running.usage is not None:
        source = source_of(request.http.headers, "federation")
        for selector in request.form.get("match[]", ()):
            services.running.usage.note(selector, source, mint, now)

    def work() -> Answer:
        context.check()
        with services.storage.capture([Selection(each, mint, now) for each in matcher_sets], context) as capture:
            lines = Lines(capture.symbols, external, scheme)
            answer = Answer(200, [], f"text/plain; version=0.0.4; charset=utf-8; escaping={scheme}")
            answer.rest = lines.parts(newest(capture, context))
            return answer

    return await in_query_thread(services, context, work)


def newest(capture: Capture, context: RequestContext) -> Rows:
    """The series of all selections, each once; without those whose newest sample is a staleness marker, or a native
    histogram (which the text format cannot say; Prometheus leaves it out as well), and those without a name."""
    symbols = capture.symbols
    kept: list[SeriesSet] = []
    columns: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for selected in capture.selected:
        ts, values = newest_samples(selected, context)
        bits = values.view(np.uint64)
        rows = np.flatnonzero((ts != NO_SAMPLE) & (bits != STALE_NAN) & ~is_boxed(bits))
        kept.append(take(selected.series, rows))
        columns.append((ts[rows], values[rows]))
    nothing = SeriesSet(np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint32), symbols)
    series = concatenated(kept) if kept else nothing
    order = label_order(series)
    order = order[first_of_equals(series, order)]
    series = take(series, order)
    place = np.repeat(np.arange(len(series)), np.diff(series.offsets))
    named = np.flatnonzero(series.names == max(symbols.find("__name__"), 0))
    metrics, rows = series.values[named], place[named]
    texts = {symbol: symbols.text(symbol) for symbol in set(metrics.tolist())}
    ranks = {symbol: rank for rank, symbol in enumerate(sorted(texts, key=texts.__getitem__))}
    rank = np.array([ranks[symbol] for symbol in metrics.tolist()], np.int64)
    by_metric = np.argsort(rank, kind="stable")
    rows = rows[by_metric]
    ts, values = (np.concatenate(column)[order][rows] for column in zip(*columns, strict=True)) if columns else (
        np.zeros(0, np.int64), np.zeros(0))
    return Rows(take(series, rows), metrics[by_metric], ts, values)


def concatenated(parts: Sequence[SeriesSet]) -> SeriesSet:
    """Series sets of one capture, one behind the other."""
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    names, values = np.concatenate([part.names for part in parts]), np.concatenate([part.values for part in parts])
    return SeriesSet(offsets, names, values, parts[0].symbols)


def first_of_equals(series: SeriesSet, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places in `order`, by which equal rows are neighbours, of the first of each."""
    if order.size < 2:
        return np.arange(order.size)
    ordered = take(series, order)
    counts = np.diff(ordered.offsets)
    width = int(counts.max())
    labels = np.zeros((order.size, width), np.uint64)
    row = np.repeat(np.arange(order.size), counts)
    column = np.arange(ordered.names.size) - np.repeat(ordered.offsets[:-1], counts)
    labels[row, column] = ordered.names.astype(np.uint64) << np.uint64(32) | ordered.values
    differs = (labels[1:] != labels[:-1]).any(axis=1) | (counts[1:] != counts[:-1])
    return np.flatnonzero(np.concatenate(([True], differs)))


def newest_samples(selected: Selected, context: RequestContext) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(time in ms, value) of the last sample of every series; `NO_SAMPLE` where there is none."""
    rows = len(selected.series)
    ts, values = np.full(rows, NO_SAMPLE, np.int64), np.zeros(rows)
    for index in range(selected.tile_rows.size - 1):
        context.check()
        tile = selected.tile(index)
        there = np.flatnonzero(tile.end > tile.begin)
        last = tile.end[there] - 1
        ts[tile.first_row + there] = tile.ts[last]
        values.view(np.uint64)[tile.first_row + there] = tile.values.view(np.uint64)[last]
    return ts, values


class Lines:
    """Rows as text. Texts of label pairs are made once."""

    def __init__(self, symbols: Symbols, external: Mapping[str, str], scheme: str) -> None:
        self._text = symbols.text
        self._name = symbols.find("__name__")
        self._external = external
        self._scheme = scheme
        self._pairs: dict[int, str] = {}
        """By name << 32 | value; that of the metric's name is empty."""
        self._added: dict[tuple[int, ...], str] = {}
        """The external labels that series with these label names get, by the names."""

    def parts(self, rows: Rows) -> Iterator[bytes]:
        last = -1
        head, plain = "", True
        offsets, names = rows.series.offsets.tolist(), rows.series.names
        labels = (names.astype(np.uint64) << np.uint64(32) | rows.series.values).tolist()
        names_list = names.tolist()
        for first in range(0, len(rows.series), SERIES_OF_A_PART):
            lines = []
            end = min(first + SERIES_OF_A_PART, len(rows.series))
            columns = (rows.metrics[first:end].tolist(), rows.ts[first:end].tolist(), rows.values[first:end].tolist())
            for row, (metric, ts, value) in enumerate(zip(*columns, strict=True), first):
                if metric != last:
                    last, head = metric, written(self._text(metric), self._scheme)
                    lines.append(f"# TYPE {head} untyped\n")
                    plain = head[0] != '"'
                begin, after = offsets[row], offsets[row + 1]
                pairs = [self._pairs.get(label) or self._pair(label) for label in labels[begin:after]]
                text = "".join(pairs) + self._external_of(tuple(names_list[begin:after]))
                # one that is not plain stands among the labels
                text = f"{head}{{{text[1:]}}}" if plain else f"{{{head}{text}}}"
                lines.append(f"{text} {value_text(value)} {ts}\n")
            yield "".join(lines).encode("utf-8", "surrogateescape")

    def _pair(self, label: int) -> str:
        """With a comma before it."""
        name = label >> 32
        pair = "" if name == self._name else self._written(self._text(name), self._text(label & 0xFFFF_FFFF))
        self._pairs[label] = pair
        return pair

    def _external_of(self, names: tuple[int, ...]) -> str:
        found = self._added.get(names)
        if found is None:
            own = set(map(self._text, names))
            found = self._added[names] = "".join(
                self._written(name, self._external[name]) for name in sorted(self._external) if name not in own
            )
        return found

    def _written(self, name: str, value: str) -> str:
        return f",{written(name, self._scheme)}={quoted(value)}"


def value_text(value: float) -> str:
    """A float with the fewest digits, as Go's %g prints it."""
    if value != value:
        return "NaN"
    if abs(value) == float("inf"):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    digits, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{digits}e{exponent[0]}{exponent[1:]:0>2}"
