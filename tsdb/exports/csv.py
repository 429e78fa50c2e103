"""CSV (RFC 4180): a line of names, then one for each sample: ::

    timestamp,value,__name__,instance,job
    1795392000000,1,up,a:80,api

A label that a series lacks is empty. Stale markers and native histograms are left out.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from tsdb.exports.losses import Losses
from tsdb.exports.reading import MatcherSets, Progress, metrics, nobody, read
from tsdb.exports.table import label_columns, new_label, own_columns
from tsdb.exports.text_kernels import CSV, MILLISECONDS, NANOSECONDS, RFC3339, SECONDS, write_lines
from tsdb.exports.texts import Bytes, Columns, Longs, Parts, Texts, counted, lost_counts
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Queryable

TIME_FORMATS = {"ms": MILLISECONDS, "s": SECONDS, "ns": NANOSECONDS, "rfc3339": RFC3339}
"""How times are written: Unix times, seconds with up to three decimals; or as ``2026-11-23T12:00:00.000Z``."""


def export(storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, losses: Losses, *,
           progress: Progress = nobody, context: RequestContext | None = None, time_format: str = "ms",
           ) -> Generator[bytes]:
    """See `tsdb.exports.reading.Export`. `time_format`: one of `TIME_FORMATS`. Raises ExecutionError where a label
    appears that was not there at the start."""
    context = context or RequestContext()
    labels = label_columns(storage, matcher_sets, mint, maxt, context)
    own = own_columns(("timestamp", "value"), labels)
    places = {name: place for place, name in enumerate(labels)}
    form, lost, parts = TIME_FORMATS[time_format], lost_counts(), Parts()

    def pair(name: str, value: str) -> tuple[int, str]:
        if name not in places:
            raise new_label(name)
        return places[name], quoted(value)

    def series(pairs: Sequence[tuple[int, str]]) -> str:
        cells = [""] * len(labels)
        for place, text in pairs:
            cells[place] = text
        return f",{','.join(cells)}\n"

    def write(columns: Columns, place: Longs, out: Bytes) -> int:
        return write_lines(*columns, CSV, form, lost, place, out)

    texts = Texts(pair, series)
    yield from parts.add((",".join([*own.values(), *map(quoted, labels)]) + "\n").encode())
    names = metrics(storage, matcher_sets, mint, maxt, context)
    for rows in read(storage, matcher_sets, names, mint, maxt, losses, progress, context):
        yield from parts.write(rows, *texts.of(rows), write)
        counted(lost, losses)
    yield from parts.end()


def quoted(text: str) -> str:
    """A cell, in quotes where it must be."""
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text
