"""Prometheus' protobuf exposition."""

from __future__ import annotations

import numpy as np

from tsdb.ingest import protobuf_kernels as protobuf
from tsdb.ingest.exposition import metric_family_kernels as kernels
from tsdb.model.errors import ScrapeRefused

_REASONS = {
    protobuf.TRUNCATED: "a field is cut off",
    protobuf.VARINT_OVERFLOW: "a varint is too long",
    protobuf.LENGTH_TOO_LARGE: "insufficient length of buffer: a length is larger than what is left",
    protobuf.BAD_FIELD_NUMBER: "illegal tag",
    protobuf.BAD_WIRE_TYPE: "a field has the wrong wire type",
    protobuf.GROUP: "groups are not supported",
    kernels.BAD_TYPE: "unknown metric type",
    kernels.NOT_UTF8: "a name or label value is not valid UTF-8",
}


def transcoded(body: bytes) -> bytes:
    """The records of a body of MetricFamily messages, each behind its length (`metric_family_kernels`). Raises
    ScrapeRefused where it is malformed."""
    data = np.frombuffer(body, np.uint8)
    labels = np.empty(2 * len(body), np.uint8)
    out = np.empty(8 * len(body) + 1024, np.uint8)
    state = np.zeros(kernels.STATE, np.int64)
    while (code := kernels.write_records(data, labels, out, state)) == kernels.MORE_OUTPUT:
        larger = np.empty(2 * out.size, np.uint8)
        larger[: state[kernels.OUT]] = out[: state[kernels.OUT]]
        out = larger
    if code != kernels.DONE:
        raise ScrapeRefused(f"metric family {state[kernels.FAMILY] + 1} at byte {state[kernels.AT]}: {_REASONS[code]}")
    return out[: state[kernels.OUT]].tobytes()
