"""Prometheus' protobuf exposition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest import protobuf_kernels as protobuf
from tsdb.ingest.exposition import metric_family_kernels as kernels
from tsdb.ingest.exposition import native_histogram_kernels as native
from tsdb.ingest.exposition import record_kernels as records
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.readable import Part, Readable
from tsdb.ingest.exposition.series_cache import resized
from tsdb.ingest.histogram_kernels import DETAILS, FIELDS, SIDE
from tsdb.ingest.histogram_messages import problem_detail
from tsdb.model.errors import ScrapeRefused

_REASONS = {
    protobuf.TRUNCATED: "a field is cut off",
    protobuf.VARINT_OVERFLOW: "a varint is too long",
    protobuf.LENGTH_TOO_LARGE: "insufficient length of buffer: a length is larger than what is left",
    protobuf.BAD_FIELD_NUMBER: "illegal tag",
    protobuf.BAD_WIRE_TYPE: "a field has the wrong wire type",
    protobuf.GROUP: "groups are not supported",
    kernels.BAD_TYPE: "unknown metric type",
    records.NOT_UTF8: "a name or label value is not valid UTF-8",
}


@dataclass(frozen=True, slots=True)
class HistogramOptions:
    """What is taken of histograms."""

    native: bool = False
    """Native ones: where a target has both kinds, instead of the classic one."""
    classic: bool = False
    """That one too."""
    bucket_limit: int = 0
    """Native histograms with more buckets are made coarser; where that does not help, the scrape fails. 0: no limit."""
    min_bucket_factor: float = 0.0
    """Those whose buckets grow by less are made coarser."""
    convert: bool = False
    """Classic ones become native ones with custom buckets; `classic`: they are taken too."""

    @property
    def wanted(self) -> NDArray[np.int64]:
        """i64[OPTIONS], for `native_histogram_kernels`."""
        return np.array([self.native, self.classic, self.max_schema, self.bucket_limit], np.int64)

    @property
    def max_schema(self) -> int:
        """The finest that `min_bucket_factor` allows, as Prometheus rounds it."""
        factor = self.min_bucket_factor if self.min_bucket_factor > 1 else 1.00271
        if factor == math.inf:
            return native.COARSEST_SCHEMA
        return max(native.COARSEST_SCHEMA, min(native.FINEST_SCHEMA, math.floor(-math.log2(math.log2(factor)))))


def transcoded(body: bytes, options: HistogramOptions) -> Readable:
    """Records of a body of MetricFamily messages, each behind its length. Raises ScrapeRefused where it is malformed,
    or a native histogram is invalid."""
    data = np.frombuffer(body, np.uint8)
    labels = np.empty(2 * len(body), np.uint8)
    out = np.empty(8 * len(body) + 1024, np.uint8)
    wanted = options.wanted
    capacity = min(len(body), native.MOST_BYTES) if options.native else 0
    payload = np.empty(2 * len(body) + 1024 if options.native else 0, np.uint8)
    fields, details = np.empty(FIELDS, np.int64), np.zeros(DETAILS, np.int64)
    spans, lists, runs = (np.empty(shape, np.int64) for shape in ((2, capacity, 2), (3, capacity), (capacity, 2)))
    state = np.zeros(kernels.STATE, np.int64)
    while (code := kernels.write_records(data, wanted, labels, fields, spans, lists, runs, details, out, payload,
                                         state)) == kernels.MORE_OUTPUT:
        larger = np.empty(2 * out.size, np.uint8)
        larger[: state[kernels.OUT]] = out[: state[kernels.OUT]]
        out = larger
        payload = resized(payload, 2 * payload.size)
    if code != records.DONE:
        reason = problem_detail(int(state[kernels.PROBLEM]), *details[SIDE:].tolist()) \
            if code == kernels.BAD_HISTOGRAM else _REASONS[code]
        raise ScrapeRefused(f"metric family {state[kernels.FAMILY] + 1} at byte {state[kernels.AT]}: {reason}")
    size = int(state[kernels.PAYLOAD])
    return Readable((Part(out[: state[kernels.OUT]].tobytes(), Format.PROTOBUF),),
                    payload[:size].copy() if size else None, int(state[kernels.REFUSED]),
                    bool(state[kernels.STARTS]))
