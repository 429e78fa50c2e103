"""OpenMetrics text, as ``promtool tsdb create-blocks-from openmetrics`` takes it: ::

    up{job="api",instance="a:80"} 1 1795392000
    # EOF

Metrics stand one behind the other, sorted; each is a family of its own, of the type unknown, as where there is no TYPE.
Stale markers, native histograms and series without a name are left out. Names that are not plain are quoted, as
Prometheus 3 has them: ``{"my.metric","my.label"="x"} 1 1795392000``.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from tsdb.exports.losses import Losses
from tsdb.exports.reading import DAY, MatcherSets, Progress, metrics, nobody, read
from tsdb.exports.text_kernels import OPENMETRICS, SECONDS, write_lines
from tsdb.exports.texts import Bytes, Columns, Longs, Parts, Texts, counted, lost_counts
from tsdb.model.context import RequestContext
from tsdb.model.labels import METRIC_NAME
from tsdb.model.tiles import Queryable

SLICE_MS = 366 * DAY
"""Within it, all samples of a series stand together, as the format wants it: no tile is longer."""
_PLAIN_METRIC = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_PLAIN_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


def export(storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, losses: Losses, *,
           progress: Progress = nobody, context: RequestContext | None = None) -> Generator[bytes]:
    """See `tsdb.exports.reading.Export`."""
    context = context or RequestContext()
    lost, parts, texts = lost_counts(), Parts(), Texts(_pair, _series)

    def write(columns: Columns, place: Longs, out: Bytes) -> int:
        return write_lines(*columns, OPENMETRICS, SECONDS, lost, place, out)

    names = metrics(storage, matcher_sets, mint, maxt, context)
    for rows in read(storage, matcher_sets, names, mint, maxt, losses, progress, context, slice_ms=SLICE_MS,
                     contiguous=True):
        if not rows.metric:
            losses.nameless += int((rows.tile.end - rows.begin).sum())
            continue
        yield from parts.write(rows, *texts.of(rows), write)
        counted(lost, losses)
    yield from parts.add(b"# EOF\n")
    yield from parts.end()


def _pair(name: str, value: str) -> str:
    """With a comma behind it; that of the metric's name is what the line begins with, ``up{`` or ``{"my.metric",``."""
    if name == METRIC_NAME:
        return f"{value}{{" if _PLAIN_METRIC.fullmatch(value) else f"{{{_quoted(value)},"
    return f"{name if _PLAIN_LABEL.fullmatch(name) else _quoted(name)}={_quoted(value)},"


def _series(pairs: Sequence[str]) -> str:
    # labels in capital letters stand before the name
    head = next(each for each in pairs if each[-1] == "{" or each[0] == "{")
    labels = "".join(each for each in pairs if each is not head)
    if not labels and head[-1] == "{":
        return f"{head[:-1]} "
    return f"{(head + labels)[:-1]}}} "  # without the last comma


def _quoted(text: str) -> str:
    if "\\" in text or "\n" in text or '"' in text:
        text = text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r'\"')
    return f'"{text}"'
