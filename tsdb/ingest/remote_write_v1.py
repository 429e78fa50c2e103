"""remote_write 1.0: a WriteRequest to a batch.

https://prometheus.io/docs/specs/prw/remote_write_spec/, with histograms, exemplars and metadata as in Prometheus'
prompb/types.proto. Labels need not be sorted; empty values count as absent, as in Prometheus.
"""

from __future__ import annotations

import struct
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest import canonical_kernels as canonical
from tsdb.ingest import protobuf_kernels as protobuf
from tsdb.ingest.decoded import Decoded, IngestLimits
from tsdb.ingest.histogram_messages import MalformedHistogram
from tsdb.ingest.protobuf import MalformedMessage, fields
from tsdb.ingest.remote_write_columns import (
    EXAMPLE_LENGTH,
    METADATA_TYPES,
    WIRE_ERRORS,
    Columns,
    exemplar_labels,
    judge,
    make_batch,
    shortened,
)
from tsdb.ingest.remote_write_kernels import (
    AT,
    KEYS,
    METADATA,
    PENDING,
    SERIES,
    decode_request,
    transcode_rows,
)
from tsdb.model.batch import Exemplar, Metadata
from tsdb.model.errors import BadRequest
from tsdb.model.labels import format_series


def decode_write_request(data: NDArray[np.uint8], size: int, secret: NDArray[np.uint64], limits: IngestLimits,
                         ) -> Decoded:
    """Decodes the message data[:size], where data is eight bytes longer. Raises TooLarge and BadRequest."""
    columns = Columns(size // 64 + 16, size // 24 + 16)
    while True:
        code = decode_request(
            data, size, secret, limits.max_key_bytes, columns.row_hash, columns.row_offset, columns.row_length,
            columns.pending, columns.sample_row, columns.ts, columns.values, columns.histograms, columns.exemplars,
            columns.metadata, columns.state)
        if not columns.grow(code, limits):
            break
    state = columns.state
    if code < 0:
        raise _malformed(WIRE_ERRORS[code], int(state[AT]), size)
    batch = make_batch(columns, data)
    decoded = Decoded(batch, series=int(state[SERIES]), samples=batch.samples)
    wrong = np.empty(int(state[PENDING]), np.uint8)
    if wrong.size:
        pending = columns.pending[: wrong.size]
        keys = np.empty(size + int(batch.row_length[pending].sum(dtype=np.int64)), np.uint8)
        keys[:size] = data[:size]
        state[KEYS] = size
        labels = np.empty((canonical.MAX_LABELS, 4), np.int64)
        code = transcode_rows(keys, secret, limits.max_key_bytes, pending, wrong, batch.row_hash, batch.row_offset,
                              batch.row_length, labels, state)
        if code < 0:
            raise _malformed(WIRE_ERRORS[code], int(state[AT]), size)
        batch.keys = keys[: state[KEYS]]

    def series_text(begin: int, end: int) -> str:
        return _series_text(data, begin, end)

    def read_exemplar(begin: int, end: int, row: int) -> Exemplar | None:
        try:
            return _exemplar(data[begin:end].tobytes(), row)
        except MalformedMessage as problem:
            raise _malformed(f"exemplar: {problem}", begin, size) from problem

    try:
        judge(decoded, columns, wrong, data, limits, series_text, read_exemplar)
    except MalformedHistogram as problem:
        raise _malformed(f"histogram: {WIRE_ERRORS[problem.code]}", problem.at, size) from problem
    places = columns.metadata[: state[METADATA], :2].tolist()
    batch.metadata = [_metadata(data, begin, end, size) for begin, end in places]
    return decoded


def _malformed(problem: str, at: int, size: int) -> BadRequest:
    return BadRequest(f"remote_write body is not a WriteRequest: {problem}, at byte {at} of {size}")


def _exemplar(data: bytes, row: int) -> Exemplar | None:
    """The exemplar of a message, or None where it is invalid. Raises MalformedMessage."""
    pairs, value, ts = [], 0.0, 0
    for number, wire_type, content in fields(data):
        if number <= 3 and wire_type != (protobuf.LENGTH, protobuf.FIXED64, protobuf.VARINT)[number - 1]:
            raise MalformedMessage(f"field {number} has the wrong wire type")
        if number == 1 and isinstance(content, bytes):
            texts = {1: b"", 2: b""}
            for inner, inner_type, text in fields(content):
                if inner in texts and (inner_type != protobuf.LENGTH or not isinstance(text, bytes)):
                    raise MalformedMessage(f"field {inner} of a label has the wrong wire type")
                if isinstance(text, bytes):
                    texts[inner] = text
            pairs.append((texts[1], texts[2]))
        elif number == 2 and isinstance(content, bytes):
            [value] = struct.unpack("<d", content)
        elif number == 3 and isinstance(content, int):
            ts = content - (1 << 64) if content >> 63 else content
    labels = exemplar_labels(pairs)
    return None if labels is None else Exemplar(row, labels, value, ts)


def _metadata(data: NDArray[np.uint8], begin: int, end: int, size: int) -> Metadata:
    number, texts = 0, {2: "", 4: "", 5: ""}
    try:
        for field, wire_type, content in fields(data[begin:end].tobytes()):
            if field == 1 and isinstance(content, int):
                number = content
            elif field in texts and wire_type == protobuf.LENGTH and isinstance(content, bytes):
                texts[field] = content.decode(errors="replace")
            elif field in (1, 2, 4, 5):
                raise MalformedMessage(f"field {field} has the wrong wire type")
    except MalformedMessage as problem:
        raise _malformed(f"metadata: {problem}", begin, size) from problem
    return Metadata(
        family=texts[2],
        type=METADATA_TYPES[number] if number < len(METADATA_TYPES) else "unknown",
        help=texts[4],
        unit=texts[5],
    )


def _series_text(data: NDArray[np.uint8], begin: int, end: int) -> str:
    """The labels of a TimeSeries as sent, even if duplicate, empty or not UTF-8; long ones are cut."""
    pairs = []
    for field, _, content in islice(fields(data[begin:end].tobytes()), EXAMPLE_LENGTH):
        if field == 1 and isinstance(content, bytes):
            label = {number: text[:EXAMPLE_LENGTH] for number, _, text in fields(content) if isinstance(text, bytes)}
            pairs.append((label.get(1, b"").decode(errors="replace"), label.get(2, b"").decode(errors="replace")))
    return shortened(format_series(pairs))
