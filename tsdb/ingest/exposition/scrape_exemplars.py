"""Exemplars of a scrape. Targets expose the same ones until others take their place: only those
that the last scrape had not become Python objects."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape import Exemplars, NewExemplar
from tsdb.ingest.exposition.series_cache import SeriesCache
from tsdb.ingest.exposition.series_cache_kernels import OFFSET
from tsdb.ingest.protobuf import MalformedMessage, fields
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.errors import ScrapeRefused

Labels = tuple[tuple[str, str], ...]

_LABEL = re.compile(rb'\s*(?:"((?:\\.|[^"\\])*)"|([^\s={},"]+))\s*=\s*"((?:\\.|[^"\\])*)"', re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\n])')


def new_exemplars(found: Exemplars, entry: NDArray[np.int32], cache: SeriesCache, body: bytes, format_: Format,
                  before: NDArray[np.uint64]) -> tuple[list[NewExemplar], NDArray[np.uint64]]:
    """Those that are new, in the order of Prometheus for each series: by time, then value; and what all are known by,
    u64[n], for the next call's `before`. entry i32[samples]: of the samples of the scrape with that `body`."""
    known_by = _known_by(found, entry, cache, body)
    new = np.flatnonzero(~np.isin(known_by, before))
    values = found.value.view(np.float64)
    new = new[np.lexsort((values[new], found.ts[new]))]
    read = _of_message if format_ is Format.PROTOBUF else _of_text
    rows = zip(found.sample[new].tolist(), found.begin[new].tolist(), found.length[new].tolist(), values[new].tolist(),
               found.ts[new].tolist(), strict=True)
    return [NewExemplar(sample, read(body[begin : begin + length]), value, ts)
            for sample, begin, length, value, ts in rows], known_by


def _known_by(found: Exemplars, entry: NDArray[np.int32], cache: SeriesCache, body: bytes) -> NDArray[np.uint64]:
    """A hash of the series' text, labels, value and own time of each."""
    size = found.sample.size
    entries = entry[found.sample]
    begin, end = cache.fields[entries, OFFSET], cache.fields[entries + 1, OFFSET]
    parts = np.empty((4, size), np.uint64)
    hash_rows(cache.secret, cache.texts, begin.astype(np.uint32), (end - begin).astype(np.uint32), parts[0])
    hash_rows(cache.secret, np.frombuffer(body, np.uint8), found.begin.astype(np.uint32),
              found.length.astype(np.uint32), parts[1])
    parts[2] = found.value
    parts[3] = np.where(found.own_time, found.ts, 0)
    known_by = np.empty(size, np.uint64)
    hash_rows(cache.secret, np.ascontiguousarray(parts.T).view(np.uint8).ravel(),
              np.arange(0, 32 * size, 32, dtype=np.uint32), np.full(size, 32, np.uint32), known_by)
    return known_by


def _of_text(text: bytes) -> Labels:
    """Labels of ``{name="value", …}``, whose form and UTF-8 have been checked."""
    return tuple((_unescaped(quoted or name), _unescaped(value)) for quoted, name, value in _LABEL.findall(text[1:-1]))


def _unescaped(text: bytes) -> str:
    decoded = text.decode()
    if "\\" not in decoded:
        return decoded
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], decoded)


def _of_message(message: bytes) -> Labels:
    """Labels of an io.prometheus.client.Exemplar; no UTF-8 is read as it can be. Raises ScrapeRefused."""
    labels = []
    try:
        for number, _, content in fields(message):
            if number == 1 and isinstance(content, bytes):
                texts = {each: text for each, _, text in fields(content) if isinstance(text, bytes)}
                labels.append((texts.get(1, b"").decode(errors="replace"), texts.get(2, b"").decode(errors="replace")))
    except MalformedMessage as problem:
        raise ScrapeRefused(f"labels of an exemplar: {problem}") from problem
    return tuple(labels)
