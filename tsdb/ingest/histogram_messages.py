"""Native histograms in messages of remote_write: into a payload; what is wrong with others, in Prometheus' words."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest import histogram_kernels as kernels
from tsdb.model.errors import TooLarge
from tsdb.model.native_histograms import MAX_BYTES

_SCHEMAS = "which must be between -4 and 8 for exponential buckets, or -53 for custom buckets"
REASONS = {
    kernels.SPANS_AND_BUCKETS: "histogram spans specify different number of buckets than provided",
    kernels.NEGATIVE_OFFSET: "histogram has a span whose offset is negative",
    kernels.NEGATIVE_BUCKET: "histogram has a bucket whose observation count is negative",
    kernels.COUNT_MISMATCH: "histogram's observation count should equal the number of observations found in the "
                            "buckets (in absence of NaN)",
    kernels.COUNT_TOO_SMALL: "histogram's observation count should be at least the number of observations found in "
                             "the buckets",
    kernels.NEGATIVE_COUNT: "histogram's observation count is negative",
    kernels.NEGATIVE_ZERO_COUNT: "histogram has a bucket whose observation count is negative",
    kernels.FEW_BOUNDS: "histogram custom bounds are too few",
    kernels.BOUNDS_NOT_INCREASING: "histogram custom bounds must be in strictly increasing order",
    kernels.INFINITE_BOUND: "histogram custom bounds must be finite",
    kernels.NAN_BOUND: "histogram custom bounds must not be NaN",
    kernels.CUSTOM_ZERO_COUNT: "custom buckets: must have zero count of 0",
    kernels.CUSTOM_ZERO_THRESHOLD: "custom buckets: must have zero threshold of 0",
    kernels.CUSTOM_NEGATIVE_SPANS: "custom buckets: must not have negative spans",
    kernels.CUSTOM_NEGATIVE_BUCKETS: "custom buckets: must not have negative buckets",
    kernels.BOUNDS_OF_EXPONENTIAL: "histogram with exponential schema must not have custom bounds",
    kernels.INVALID_SCHEMA: f"histogram has an invalid schema, {_SCHEMAS}",
    kernels.TOO_LONG: f"histogram of more than {MAX_BYTES} bytes",
}
"""Why a histogram is refused, by the code of `histogram_kernels`. The words are Prometheus'."""

_DETAILS = {
    kernels.SPANS_AND_BUCKETS: "{side}: spans need {wanted} buckets, have {found} buckets",
    kernels.NEGATIVE_OFFSET: "{side}: span number {found} with offset {wanted}",
    kernels.NEGATIVE_BUCKET: "{side}: bucket number {found} has observation count of {count}",
    kernels.COUNT_MISMATCH: "{unsigned} observations found in buckets, but the Count field is {unsigned_found}",
    kernels.COUNT_TOO_SMALL: "{unsigned} observations found in buckets, but the Count field is {unsigned_found}",
    kernels.NEGATIVE_COUNT: "observation count is {float_found:g}",
    kernels.NEGATIVE_ZERO_COUNT: "zero bucket has observation count of {float_found:g}",
    kernels.FEW_BOUNDS: "custom buckets: only {found} custom bounds defined which is insufficient to cover total span "
                        "length of {wanted}",
    kernels.BOUNDS_NOT_INCREASING: "custom buckets: previous bound is {float_found:f} and current is {float_wanted:f}",
    kernels.INFINITE_BOUND: "custom buckets: last +Inf bound must not be explicitly defined",
    kernels.NAN_BOUND: "custom buckets",
    kernels.INVALID_SCHEMA: "schema {found}",
    kernels.TOO_LONG: "{found} bytes",
}
_SIDES = ("positive side", "negative side", "custom buckets")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with some histograms."""

    code: int
    first: int
    """Number of the first such histogram."""
    detail: str
    """Of that one, and the reason."""


class MalformedHistogram(ValueError):
    """A message is not a Histogram."""

    def __init__(self, code: int, at: int) -> None:
        super().__init__(f"histogram at byte {at}")
        self.code = code
        """Of `protobuf_kernels`."""
        self.at = at


def decode_histograms(
    data: NDArray[np.uint8], histograms: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
    max_payload: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], list[Problem]]:
    """(payload, code per histogram, ms of the start or 0 of each, problems). `histograms` i64[n, 3]: begin, end and
    sample of each message in `data`, which has eight bytes more; `ts` and `values` are those of all samples.

    Raises MalformedHistogram, and TooLarge above `max_payload` bytes in all.
    """
    lengths = histograms[:, 1] - histograms[:, 0]
    capacity = min(int(lengths.max()), MAX_BYTES)
    spans = np.empty((2, capacity, 2), np.int64)
    lists = np.empty((3, capacity), np.int64)
    payload = np.empty(int(lengths.sum()) + kernels.WRITTEN_MORE * len(histograms), np.uint8)
    if payload.size > max_payload:
        raise TooLarge(f"native histograms of the request take {payload.size} bytes, the limit is {max_payload}: "
                       "send fewer at once")
    wrong = np.empty(len(histograms), np.uint8)
    starts = np.zeros(len(histograms), np.int64)
    problems = np.full((kernels.HISTOGRAM_PROBLEMS, 1 + kernels.DETAILS), -1, np.int64)
    state = np.zeros(kernels.HISTOGRAM_STATE, np.int64)
    code = kernels.decode_histograms(
        data, histograms, ts, values, wrong, starts, payload, np.empty(kernels.FIELDS, np.int64), spans, lists,
        np.zeros(kernels.DETAILS, np.int64), problems, state)
    if code < 0:
        raise MalformedHistogram(code, int(state[kernels.MALFORMED_AT]))
    found = [Problem(code, int(row[0]), problem_detail(code, *row[1:].tolist()))
             for code, row in enumerate(problems) if row[0] >= 0]
    return payload[: state[kernels.PAYLOAD_END]], wrong, starts, found


def problem_detail(code: int, side: int, floats: int, found: int, wanted: int) -> str:
    if code not in _DETAILS:
        return REASONS[code]
    detail = _DETAILS[code].format(
        side=_SIDES[side], found=found, wanted=wanted, unsigned=wanted & (1 << 64) - 1,
        unsigned_found=found & (1 << 64) - 1, float_found=_float(found), float_wanted=_float(wanted),
        count=f"{_float(wanted):g}" if floats else wanted)
    return f"{detail}: {REASONS[code]}"


def _float(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])
