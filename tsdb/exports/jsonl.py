"""JSON lines, as VictoriaMetrics exports and imports them: ::

    {"metric":{"__name__":"up","job":"api"},"values":[1,0.5],"timestamps":[1795392000000,1795392015000]}

A line has samples of one series; a series has several lines. NaN is null, infinities are "Infinity" and "-Infinity".
What VictoriaMetrics does not have stands in keys that it passes over, where needed: ``nan_bits`` and ``histograms`` are
pairs of a place in `values` and the bits (hex) of a NaN that is not the usual one, or the bytes of a native histogram
(base64 of its form in `tsdb.model.native_histograms`); ``start_timestamps`` stand beside ``timestamps``, 0: not known.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import orjson

from tsdb.exports.losses import Losses
from tsdb.exports.reading import MatcherSets, Progress, metrics, nobody, read
from tsdb.exports.text_kernels import write_json_lines
from tsdb.exports.texts import Bytes, Columns, Longs, Parts, Texts
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Queryable

ANY = 1 << 62


def export(storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, losses: Losses, *,
           progress: Progress = nobody, context: RequestContext | None = None, max_rows_per_line: int = 0,
           ) -> Generator[bytes]:
    """See `tsdb.exports.reading.Export`. `max_rows_per_line`: most samples of a line; 0: as many as make 1 MiB, which
    no line exceeds by more than a histogram."""
    context = context or RequestContext()
    most = max_rows_per_line or ANY
    texts, parts = Texts(_pair, _series), Parts()

    def write(columns: Columns, place: Longs, out: Bytes) -> int:
        return write_json_lines(*columns, most, place, out)

    names = metrics(storage, matcher_sets, mint, maxt, context)
    for rows in read(storage, matcher_sets, names, mint, maxt, losses, progress, context):
        yield from parts.write(rows, *texts.of(rows), write)
    yield from parts.end()


def _pair(name: str, value: str) -> str:
    return f"{orjson.dumps(name).decode()}:{orjson.dumps(value).decode()}"


def _series(pairs: Sequence[str]) -> str:
    return f'{{"metric":{{{",".join(pairs)}}},"values":['
