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
from tsdb.model.tiles import Capture, Selected, Selection, Symbols
from tsdb.server import parameters
from tsdb.server.answer import Answer, text
from tsdb.server.escaping import negotiated, quoted, written
from tsdb.server.queries import in_query_thread, new_context
from tsdb.server.route import Request
from tsdb.server.services import Services

SERIES_OF_A_PART = 2000
NO_SAMPLE = -(2**63)


@dataclass(frozen=True, slots=True)
class Row:
    """One series with its newest sample."""

    name: str
    labels: tuple[tuple[int, int], ...]
    """Symbols of the other labels, by name."""
    ts: int
    value: float


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

    def work() -> Answer:
        context.check()
        with services.storage.capture([Selection(each, mint, now) for each in matcher_sets], context) as capture:
            rows = newest(capture, context)
            lines = Lines(capture.symbols, external, scheme)
            answer = Answer(200, [], f"text/plain; version=0.0.4; charset=utf-8; escaping={scheme}")
            answer.rest = lines.parts(rows)
            return answer

    return await in_query_thread(services, context, work)


def newest(capture: Capture, context: RequestContext) -> list[Row]:
    """The series of all selections, each once, by name and then in the order of their labels; without those whose
    newest sample is a staleness marker, and those without a name."""
    found: dict[tuple[tuple[int, int], ...], Row] = {}
    text = capture.symbols.text
    name_symbol = capture.symbols.find("__name__")
    for selected in capture.selected:
        ts, values = newest_samples(selected, context)
        series = selected.series
        kept = np.flatnonzero((ts != NO_SAMPLE) & (values.view(np.uint64) != STALE_NAN))
        names, symbols, offsets = series.names.tolist(), series.values.tolist(), series.offsets.tolist()
        for row in kept.tolist():
            labels = tuple(zip(names[offsets[row] : offsets[row + 1]], symbols[offsets[row] : offsets[row + 1]],
                               strict=True))
            metric = next((value for name, value in labels if name == name_symbol), None)
            if metric is not None and labels not in found:
                others = tuple(label for label in labels if label[0] != name_symbol)
                found[labels] = Row(text(metric), others, int(ts[row]), float(values[row]))
        context.check()
    return sorted(found.values(), key=lambda row: (
        row.name.encode(), [(text(name).encode(), text(value).encode()) for name, value in row.labels]
    ))


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
        self._external = [(name, f"{written(name, scheme)}={quoted(external[name])}") for name in sorted(external)]
        """(label, its pair) of what series get that have no such label."""
        self._scheme = scheme
        self._pairs: dict[tuple[int, int], str] = {}
        self._names: dict[int, str] = {}

    def parts(self, rows: Sequence[Row]) -> Iterator[bytes]:
        name, written_name = "", ""
        for begin in range(0, len(rows), SERIES_OF_A_PART):
            lines = []
            for row in rows[begin : begin + SERIES_OF_A_PART]:
                if row.name != name:
                    name, written_name = row.name, written(row.name, self._scheme)
                    lines.append(f"# TYPE {written_name} untyped\n")
                lines.append(self._line(written_name, row))
            yield "".join(lines).encode("utf-8", "surrogateescape")

    def _line(self, name: str, row: Row) -> str:
        pairs = [self._pairs.get(label) or self._pair(label) for label in row.labels]
        own = {self._names[label[0]] for label in row.labels}
        pairs += [pair for label, pair in self._external if label not in own]
        if name[0] == '"':  # not plain: it stands among the labels
            pairs.insert(0, name)
            name = ""
        return f"{name}{{{','.join(pairs)}}} {value_text(row.value)} {row.ts}\n"

    def _pair(self, label: tuple[int, int]) -> str:
        name = self._names[label[0]] = self._text(label[0])
        pair = self._pairs[label] = f"{written(name, self._scheme)}={quoted(self._text(label[1]))}"
        return pair


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
