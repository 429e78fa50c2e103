"""The columns that kernels decode a remote_write request into, and what becomes of them: a batch, and what of the
request could not be taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest import canonical_kernels as canonical
from tsdb.ingest import protobuf_kernels as protobuf
from tsdb.ingest.decoded import LABEL_REASONS, Decoded, IngestLimits, Rejected
from tsdb.ingest.histogram_kernels import VALID_HISTOGRAM
from tsdb.ingest.histogram_messages import REASONS as HISTOGRAM_REASONS
from tsdb.ingest.histogram_messages import decode_histograms
from tsdb.ingest.remote_write_kernels import (
    EXEMPLARS,
    HISTOGRAMS,
    METADATA,
    NEED_EXEMPLARS,
    NEED_HISTOGRAMS,
    NEED_METADATA,
    NEED_ROWS,
    NEED_SAMPLES,
    NEED_START_TIMES,
    PENDING,
    ROWS,
    SAMPLES,
    STATE,
)
from tsdb.model.batch import Batch, Exemplar
from tsdb.model.errors import TooLarge
from tsdb.model.labels import format_series, labels_of_key

T = TypeVar("T", bound=np.generic)
Labels = tuple[tuple[str, str], ...]

WIRE_ERRORS = {
    protobuf.TRUNCATED: "the message ends within a field",
    protobuf.VARINT_OVERFLOW: "a varint is longer than 64 bits",
    protobuf.LENGTH_TOO_LARGE: "a length reaches beyond the message that holds it",
    protobuf.BAD_FIELD_NUMBER: "a field number is not between 1 and 2^29-1",
    protobuf.BAD_WIRE_TYPE: "a field has the wrong wire type",
    protobuf.GROUP: "groups are not part of the format",
}
"""By the code of `protobuf_kernels`."""

METADATA_TYPES = ("unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset")
"""By number in messages of both versions."""
EXAMPLE_LENGTH = 400
"""Characters of a rejected series in a message."""
PAYLOAD_RATIO = 4
"""Bytes of histograms in a batch for a byte of the largest body: the smallest message becomes 43 bytes."""
EXEMPLAR_BYTES = 4096
"""Longer messages, and longer labels, are refused without a look: exemplars have 128 characters at most."""


class Columns:
    """What a kernel fills while it goes through a request; it grows where the kernel says that it is full."""

    def __init__(self, rows: int, samples: int) -> None:
        """`rows` and `samples` are first guesses."""
        self.row_hash = np.empty(rows, np.uint64)
        self.row_offset = np.empty(rows, np.uint32)
        self.row_length = np.empty(rows, np.uint32)
        self.pending = np.empty(rows, np.uint32)
        """Rows whose labels are not judged yet."""
        self.sample_row = np.empty(samples, np.uint32)
        self.ts = np.empty(samples, np.int64)
        self.values = np.empty(samples, np.uint64)
        self.start_ts = np.empty(0, np.int64)
        """As long as `ts` where a sample has one."""
        self.histograms = np.empty((16, 3), np.int64)
        """Begin and end of messages, their samples."""
        self.exemplars = np.empty((16, 3), np.int64)
        """Begin and end of messages, their rows."""
        self.metadata = np.empty((64, 6), np.int64)
        self.state = np.zeros(STATE, np.int64)

    def grow(self, code: int, limits: IngestLimits) -> bool:
        """Makes room for what a kernel that returned `code` needs, or says that it needs nothing. Raises TooLarge."""
        if code == NEED_ROWS and self.row_hash.size < limits.max_samples:
            self.row_hash, self.row_offset = doubled(self.row_hash), doubled(self.row_offset)
            self.row_length, self.pending = doubled(self.row_length), doubled(self.pending)
        elif code == NEED_SAMPLES and self.ts.size < limits.max_samples:
            self.sample_row, self.ts, self.values = doubled(self.sample_row), doubled(self.ts), doubled(self.values)
            self.start_ts = doubled(self.start_ts)
        elif code == NEED_START_TIMES:
            self.start_ts = np.zeros(self.ts.size, np.int64)
        elif code == NEED_HISTOGRAMS:
            self.histograms = doubled(self.histograms)
        elif code == NEED_EXEMPLARS and len(self.exemplars) < limits.max_exemplars:
            self.exemplars = doubled(self.exemplars)
        elif code == NEED_METADATA and len(self.metadata) < limits.max_metadata:
            self.metadata = doubled(self.metadata)
        else:
            self._check(code, limits)
            return False
        return True

    def _check(self, code: int, limits: IngestLimits) -> None:
        state = self.state
        for need, number, most, things in (
            (NEED_ROWS, state[ROWS], limits.max_samples, "series or samples"),
            (NEED_SAMPLES, state[SAMPLES], limits.max_samples, "series or samples"),
            (NEED_EXEMPLARS, state[EXEMPLARS], limits.max_exemplars, "exemplars"),
            (NEED_METADATA, state[METADATA], limits.max_metadata, "metadata entries"),
        ):
            if code == need or number > most:
                raise TooLarge(f"more than {most} {things} in one request: send fewer at once")


def doubled(array: NDArray[T]) -> NDArray[T]:
    """A copy with room for as much again."""
    grown = np.empty((2 * array.shape[0], *array.shape[1:]), array.dtype)
    grown[: array.shape[0]] = array
    return grown


def make_batch(columns: Columns, keys: NDArray[np.uint8]) -> Batch:
    """All rows and samples, also those yet to be judged."""
    rows, samples = int(columns.state[ROWS]), int(columns.state[SAMPLES])
    return Batch(keys, columns.row_hash[:rows], columns.row_offset[:rows], columns.row_length[:rows],
                 columns.sample_row[:samples], columns.ts[:samples], columns.values[:samples],
                 start_ts=columns.start_ts[:samples] if columns.start_ts.size else None)


def judge(decoded: Decoded, columns: Columns, wrong: NDArray[np.uint8], data: NDArray[np.uint8], limits: IngestLimits,
          series_text: Callable[[int, int], str], read_exemplar: Callable[[int, int, int], Exemplar | None]) -> None:
    """Decodes histograms and exemplars, and takes what is invalid out of the batch.

    `wrong` u8[pending rows] says what is wrong with their labels (`canonical_kernels`); `data` is the request.
    `series_text` writes the series of a rejected row, whose message is data[begin:end]; `read_exemplar` reads the
    message data[begin:end] of a row, or gives None where it is invalid. Raises TooLarge and MalformedHistogram.
    """
    batch, state = decoded.batch, columns.state
    if not (state[PENDING] or state[HISTOGRAMS] or state[EXEMPLARS]):
        return
    rows = np.ones(batch.row_hash.size, np.bool_)
    pending = columns.pending[: state[PENDING]]
    rows[pending[wrong != canonical.VALID]] = False
    if not rows.all():
        counts = np.bincount(batch.sample_row, minlength=rows.size)
        for code in np.unique(wrong[wrong != canonical.VALID]).tolist():
            bad = pending[wrong == code]
            bad = bad[counts[bad] > 0]
            if bad.size:
                begin = int(batch.row_offset[bad[0]])
                example = series_text(begin, begin + int(batch.row_length[bad[0]]))
                decoded.rejected.append(Rejected(LABEL_REASONS[code], int(bad.size), int(counts[bad].sum()), example))
    samples = rows[batch.sample_row]
    if state[HISTOGRAMS]:
        _decode_histograms(decoded, columns.histograms[: state[HISTOGRAMS]], data, limits, samples)
    for begin, end, row in columns.exemplars[: state[EXEMPLARS]].tolist():
        exemplar = read_exemplar(begin, end, row) if end - begin <= EXEMPLAR_BYTES else None
        if rows[row] and exemplar is not None:
            batch.exemplars.append(exemplar)
        elif rows[row]:
            decoded.rejected_exemplars += 1
    joined = _join_exemplars(batch, samples) if batch.exemplars else False
    if joined or not samples.all() or pending.size or decoded.rejected_exemplars:
        _keep(batch, samples)


def _decode_histograms(decoded: Decoded, histograms: NDArray[np.int64], data: NDArray[np.uint8], limits: IngestLimits,
                       samples: NDArray[np.bool_]) -> None:
    """Into the batch; takes those that are wrong out of `samples`."""
    batch = decoded.batch
    batch.payload, codes, starts, problems = decode_histograms(
        data, histograms, batch.ts, batch.values, PAYLOAD_RATIO * limits.max_body_bytes)
    if starts.any():
        if batch.start_ts is None:
            batch.start_ts = np.zeros(batch.samples, np.int64)
        batch.start_ts[histograms[starts != 0, 2]] = starts[starts != 0]
    for problem in problems:
        bad = histograms[codes == problem.code, 2]
        bad = bad[samples[bad]]
        if bad.size:
            rows = batch.sample_row[bad]
            decoded.rejected.append(Rejected(
                HISTOGRAM_REASONS[problem.code], int(np.unique(rows).size), int(bad.size),
                shortened(format_series(labels_of_key(_key(batch, rows[0])).items())),
                detail=problem.detail if bad[0] == histograms[problem.first, 2] else ""))
    samples[histograms[codes != VALID_HISTOGRAM, 2]] = False


def _join_exemplars(batch: Batch, samples: NDArray[np.bool_]) -> bool:
    """Senders put exemplars into messages of their own: gives these the row of their series that has samples, where
    there is one. Whether it did."""
    rows = np.zeros(batch.row_hash.size, np.bool_)
    rows[batch.sample_row[samples]] = True
    alone = np.array([exemplar.row for exemplar in batch.exemplars if not rows[exemplar.row]], np.intp)
    of_hash = {int(batch.row_hash[row]): int(row)
               for row in np.flatnonzero(rows & np.isin(batch.row_hash, batch.row_hash[alone]))}
    row_of = {}
    for row in set(alone.tolist()):
        other = of_hash.get(int(batch.row_hash[row]))
        if other is not None and _key(batch, row) == _key(batch, other):
            row_of[row] = other
    batch.exemplars = [replace(exemplar, row=row_of.get(exemplar.row, exemplar.row)) for exemplar in batch.exemplars]
    return bool(row_of)


def _key(batch: Batch, row: int) -> bytes:
    begin = int(batch.row_offset[row])
    return batch.keys[begin : begin + int(batch.row_length[row])].tobytes()


def _keep(batch: Batch, samples: NDArray[np.bool_]) -> None:
    """These samples, their rows and those of exemplars."""
    rows = np.zeros(batch.row_hash.size, np.bool_)
    rows[batch.sample_row[samples]] = True
    rows[[exemplar.row for exemplar in batch.exemplars]] = True
    number = np.cumsum(rows, dtype=np.uint32) - np.uint32(1)
    batch.sample_row = number[batch.sample_row[samples]]
    batch.ts, batch.values = batch.ts[samples], batch.values[samples]
    batch.start_ts = None if batch.start_ts is None else batch.start_ts[samples]
    batch.row_hash, batch.row_offset = batch.row_hash[rows], batch.row_offset[rows]
    batch.row_length = batch.row_length[rows]
    batch.exemplars = [replace(exemplar, row=int(number[exemplar.row])) for exemplar in batch.exemplars]


def exemplar_labels(pairs: list[tuple[bytes, bytes]]) -> Labels | None:
    """Labels of an exemplar, or None where they are no text."""
    try:
        return tuple((name.decode(), value.decode()) for name, value in pairs)
    except UnicodeDecodeError:
        return None


def shortened(text: str) -> str:
    """A series as a message shows it."""
    return text if len(text) <= EXAMPLE_LENGTH else text[:EXAMPLE_LENGTH] + "…"
