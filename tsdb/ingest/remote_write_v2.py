"""remote_write 2.0: an io.prometheus.write.v2.Request to a batch.

https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/. As in 1.0, labels need not be sorted, and empty values
count as absent.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest import canonical_kernels as canonical
from tsdb.ingest import protobuf_kernels as protobuf
from tsdb.ingest.decoded import Decoded, IngestLimits
from tsdb.ingest.histogram_messages import MalformedHistogram
from tsdb.ingest.protobuf import MalformedMessage, fields, read_varint
from tsdb.ingest.remote_write_columns import (
    EXAMPLE_LENGTH,
    EXEMPLAR_BYTES,
    METADATA_TYPES,
    WIRE_ERRORS,
    Columns,
    doubled,
    exemplar_labels,
    judge,
    make_batch,
    shortened,
)
from tsdb.ingest.remote_write_kernels import (
    AT,
    KEYS,
    METADATA,
    NEED_KEYS,
    NEED_SYMBOLS,
    PENDING,
    REJECTED_METADATA,
    SERIES,
    SYMBOLS,
)
from tsdb.ingest.remote_write_v2_kernels import (
    BEGIN,
    SIZE,
    SYMBOL,
    decode_request_v2,
    index_symbols,
)
from tsdb.ingest.remote_write_v2_pending_kernels import transcode_rows_v2
from tsdb.model.batch import Exemplar, Metadata
from tsdb.model.errors import BadRequest, TooLarge
from tsdb.model.labels import format_series

KEYS_RATIO = 8
"""Bytes of keys for a byte of the largest body: there, a label is four bytes that stand for its name and value."""
_SUFFIXES = {
    "histogram": ("_bucket", "_count", "_sum"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
    "summary": ("_count", "_sum"),
}
"""What names of series have behind their family's, by type of the family."""


def decode_request_message(data: NDArray[np.uint8], size: int, secret: NDArray[np.uint64], limits: IngestLimits,
                           ) -> Decoded:
    """Decodes the message data[:size], where data is 16 bytes longer. Raises TooLarge and BadRequest."""
    columns = Columns(size // 32 + 16, size // 24 + 16)
    state = columns.state
    symbols, pieces = _index(data, size, limits, state)
    keys = np.empty(4 * size + 1024, np.uint8)
    names = np.empty(canonical.MAX_LABELS, np.int64)
    labels = np.zeros(state[SYMBOLS], np.uint64)
    state[AT] = 0
    while True:
        code = decode_request_v2(
            data, size, symbols, pieces, labels, secret, limits.max_key_bytes, keys, columns.row_hash,
            columns.row_offset, columns.row_length, columns.pending, columns.sample_row, columns.ts, columns.values,
            columns.histograms, columns.exemplars, columns.metadata, columns.start_ts, names, state)
        if code == NEED_KEYS:
            keys = _more_keys(keys, limits)
        elif not columns.grow(code, limits):
            break
    if code < 0:
        raise _malformed(WIRE_ERRORS[code], int(state[AT]), size)
    if state[SERIES] and (not state[SYMBOLS] or symbols[0, SIZE]):
        raise _malformed("the symbols must begin with an empty string", 0, size)
    batch = make_batch(columns, keys)
    decoded = Decoded(batch, series=int(state[SERIES]), samples=batch.samples)
    wrong = np.empty(int(state[PENDING]), np.uint8)
    scratch = np.empty((canonical.MAX_LABELS, 4), np.int64)
    while wrong.size:
        code = transcode_rows_v2(data, symbols, secret, limits.max_key_bytes, columns.pending[: wrong.size], wrong,
                                 keys, batch.row_hash, batch.row_offset, batch.row_length, columns.metadata, scratch,
                                 state)
        if code == NEED_KEYS:
            keys = _more_keys(keys, limits)
        elif not columns.grow(code, limits):
            break
    if code < 0:
        raise _malformed(WIRE_ERRORS[code], int(state[AT]), size)
    batch.keys = keys[: state[KEYS]]
    table = _Symbols(data, symbols[: state[SYMBOLS]])

    def series_text(begin: int, end: int) -> str:
        return _series_text(data[begin:end].tobytes(), table)

    def read_exemplar(begin: int, end: int, row: int) -> Exemplar | None:
        try:
            return _exemplar(data[begin:end].tobytes(), row, table)
        except MalformedMessage as problem:
            raise _malformed(f"exemplar: {problem}", begin, size) from problem

    try:
        judge(decoded, columns, wrong, data, limits, series_text, read_exemplar)
    except MalformedHistogram as problem:
        raise _malformed(f"histogram: {WIRE_ERRORS[problem.code]}", problem.at, size) from problem
    decoded.rejected_metadata = int(state[REJECTED_METADATA])
    batch.metadata = _metadata(columns.metadata[: state[METADATA]], table, limits)
    return decoded


def _index(data: NDArray[np.uint8], size: int, limits: IngestLimits, state: NDArray[np.int64],
           ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """`symbols` and `pieces` of the kernels."""
    symbols = np.empty((size // 32 + 16, SYMBOL), np.uint32)
    pieces = np.empty(len(symbols), np.uint64)
    while (code := index_symbols(data, size, symbols, pieces, state)) == NEED_SYMBOLS:
        if len(symbols) >= limits.max_samples:
            raise TooLarge(f"more than {limits.max_samples} symbols in one request: send fewer series at once")
        symbols, pieces = doubled(symbols), doubled(pieces)
    if code < 0:
        raise _malformed(WIRE_ERRORS[code], int(state[AT]), size)
    return symbols, pieces


def _more_keys(keys: NDArray[np.uint8], limits: IngestLimits) -> NDArray[np.uint8]:
    if keys.size >= KEYS_RATIO * limits.max_body_bytes:
        raise TooLarge(f"labels of the request take more than {KEYS_RATIO * limits.max_body_bytes} bytes: "
                       "send fewer series at once")
    return doubled(keys)


def _malformed(problem: str, at: int, size: int) -> BadRequest:
    return BadRequest(f"remote_write body is not an io.prometheus.write.v2.Request: {problem}, at byte {at} of {size}")


class _Symbols:
    """The symbols of a request, where Python needs some."""

    def __init__(self, data: NDArray[np.uint8], symbols: NDArray[np.uint32]) -> None:
        self._data = data
        self._symbols = symbols

    def __len__(self) -> int:
        return len(self._symbols)

    def size(self, ref: int) -> int:
        """Bytes."""
        return int(self._symbols[ref, SIZE])

    def bytes(self, ref: int, most: int | None = None) -> bytes:
        """The first `most`, or all."""
        begin, size = int(self._symbols[ref, BEGIN]), self.size(ref)
        return self._data[begin : begin + (size if most is None else min(size, most))].tobytes()

    def text(self, ref: int, most: int | None = None) -> str:
        return self.bytes(ref, most).decode(errors="replace")


def _refs(wire_type: int, content: int | bytes, most: int) -> list[int]:
    """labels_refs of one field, packed or a single one, up to `most`. Raises MalformedMessage."""
    if isinstance(content, int):
        return [content & 0xFFFFFFFF]
    if wire_type != protobuf.LENGTH:
        raise MalformedMessage("labels_refs have the wrong wire type")
    found: list[int] = []
    at = 0
    while at < len(content) and len(found) < most:
        ref, at = read_varint(content, at)
        found.append(ref & 0xFFFFFFFF)
    return found


def _exemplar(data: bytes, row: int, symbols: _Symbols) -> Exemplar | None:
    """The exemplar of a message, or None where it is invalid. Raises MalformedMessage."""
    refs: list[int] = []
    value, ts = 0.0, 0
    for number, wire_type, content in fields(data):
        if number == 1:
            refs += _refs(wire_type, content, len(data))
        elif number in (2, 3) and wire_type != (protobuf.FIXED64, protobuf.VARINT)[number - 2]:
            raise MalformedMessage(f"field {number} has the wrong wire type")
        elif number == 2 and isinstance(content, bytes):
            [value] = struct.unpack("<d", content)
        elif number == 3 and isinstance(content, int):
            ts = content - (1 << 64) if content >> 63 else content
    if len(refs) % 2 or max(refs, default=0) >= len(symbols):
        return None
    if sum(map(symbols.size, refs)) > EXEMPLAR_BYTES:
        return None
    labels = exemplar_labels([(symbols.bytes(refs[i]), symbols.bytes(refs[i + 1])) for i in range(0, len(refs), 2)])
    return None if labels is None else Exemplar(row, labels, value, ts)


def _metadata(entries: NDArray[np.int64], symbols: _Symbols, limits: IngestLimits) -> list[Metadata]:
    """One of each family. A family's name is its series' without what their type adds; that of a counter stays whole,
    since only some senders have `_total` in it. Raises TooLarge."""
    found = {}
    if sum(symbols.size(ref) for row in entries.tolist() for ref in (row[0], row[2], row[3])) > limits.max_body_bytes:
        raise TooLarge(f"metadata take more than {limits.max_body_bytes} bytes: send shorter help texts")
    for name_ref, number, help_ref, unit_ref, *_ in entries.tolist():
        kind = METADATA_TYPES[number] if number < len(METADATA_TYPES) else "unknown"
        name = symbols.text(name_ref)
        for suffix in _SUFFIXES.get(kind, ()):
            if name.endswith(suffix) and name != suffix:
                name = name.removesuffix(suffix)
                break
        found[name] = Metadata(name, kind, symbols.text(help_ref), symbols.text(unit_ref))
    return list(found.values())


def _series_text(data: bytes, symbols: _Symbols) -> str:
    """The labels of a TimeSeries as sent, even if duplicate, empty or not UTF-8; long ones are cut."""
    refs: list[int] = []
    for number, wire_type, content in fields(data):
        if number == 1 and len(refs) < 2 * canonical.MAX_LABELS:
            refs += _refs(wire_type, content, 2 * canonical.MAX_LABELS)
    texts = [symbols.text(ref, EXAMPLE_LENGTH) if ref < len(symbols) else f"symbol {ref} of {len(symbols)}"
             for ref in refs]
    return shortened(format_series(zip(texts[::2], texts[1::2], strict=False)))
