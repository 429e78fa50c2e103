"""Classic histograms of a scrape as native ones with custom buckets: convert_classic_histograms_to_nhcb."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import MAX_LABELS
from tsdb.ingest.exposition import classic_bucket_kernels as kernels
from tsdb.ingest.exposition import line_kernels as lines
from tsdb.ingest.exposition.classic_histogram_kernels import convert_histograms
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.readable import Part, Readable
from tsdb.ingest.exposition.record_kernels import MOST_EXEMPLARS
from tsdb.ingest.exposition.scrape_problems import milliseconds
from tsdb.ingest.histogram_kernels import FIELDS, WRITTEN_MORE

_LEAST_SERIES = 22
"""Bytes of a series in records. On lines they are fewer, but lines are counted."""
_BUCKET_BYTES = 18
"""That a bucket takes of a payload at most."""


def converted(read: Readable, wanted: NDArray[np.int64]) -> Readable:
    """Converts the classic histograms of what was to be read of a body. wanted i64[OPTIONS]: of
    `native_histogram_kernels`.

    Nothing is refused here: a histogram that is none, as of buckets that are not cumulative, is left out, as Prometheus
    does, and lines that are wrong are kept for who reads them.
    """
    body, format_ = read.parts[0].data, read.parts[0].format
    protobuf = format_ is Format.PROTOBUF
    most = len(body) // _LEAST_SERIES + 2 if protobuf else body.count(b"\n") + 2
    data = np.frombuffer(body, np.uint8)
    given = np.empty(0, np.uint8) if read.payload is None else read.payload
    payload = np.empty(given.size + most * (_BUCKET_BYTES + 2 * WRITTEN_MORE), np.uint8)
    payload[: given.size] = given
    kept = np.empty((3 if protobuf else 1) * len(body) + 64 * most, np.uint8)
    records = kept if protobuf else np.empty(len(body) + 64 * most, np.uint8)
    runs = 0 if protobuf else most
    kept_at, records_at = np.empty((runs, 2), np.int64), np.empty((runs, 2), np.int64)
    odd = np.empty((0, 4), np.int64)
    state = np.zeros(kernels.STATE, np.int64)
    scratch = (
        np.empty(4 * (len(body) + 64), np.uint8), np.empty((MAX_LABELS, 4), np.int64), np.empty((most + 1, 3)),
        np.empty(FIELDS, np.int64), np.empty((2, most + 1, 2), np.int64), np.empty((3, most + 1), np.int64),
        np.empty((MOST_EXEMPLARS + 1, lines.EXEMPLAR_COLUMNS), np.int64), np.empty(kernels.GROUP, np.int64),
        np.empty((8, 4), np.int64),
    )
    while True:
        resolved = int(state[kernels.RESOLVED])
        state[:] = 0
        state[kernels.PAYLOAD], state[kernels.RESOLVED] = given.size, resolved
        convert_histograms(data, format_.value, wanted, *scratch, odd, kept, kept_at, records, records_at, payload,
                           state)
        if resolved or not state[kernels.ODD]:
            break
        if state[kernels.ODD] <= odd.shape[0]:
            state[kernels.RESOLVED] = _resolve(body, odd)
        else:
            odd = np.empty((int(state[kernels.ODD]), 4), np.int64)
    size = int(state[kernels.PAYLOAD])
    parts = [Part(kept[: state[kernels.KEPT]].tobytes(), format_,
                  None if protobuf else kept_at[: state[kernels.KEPT_RUNS]].copy())]
    if not protobuf and state[kernels.RECORD_RUNS]:
        parts.append(Part(records[: state[kernels.RECORDS]].tobytes(), Format.PROTOBUF,
                          records_at[: state[kernels.RECORD_RUNS]].copy()))
    return Readable(tuple(parts), payload[:size].copy() if size else None,
                    read.over_limit + int(state[kernels.REFUSED]), read.started)


def _resolve(body: bytes, odd: NDArray[np.int64]) -> int:
    """Puts numbers that kernels do not read in the place of their positions. Returns 1: it is done."""
    for row, (kind, _, at, length) in enumerate(odd.tolist()):
        value = float(body[at : at + length])
        time = kind in (lines.ODD_TIME, lines.ODD_EXEMPLAR_TIME)
        odd[row, 1] = milliseconds(value) if time else np.float64(value).view(np.int64)
        if value in (float("inf"), float("-inf")):
            odd[row, 0] = -1
    return 1
