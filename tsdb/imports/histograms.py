"""Native histograms that stand in a file in the form of a payload (`tsdb.model.native_histograms`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.imports import payload_kernels as kernels
from tsdb.ingest.histogram_kernels import DETAILS, FIELDS
from tsdb.ingest.histogram_messages import problem_detail
from tsdb.model.native_histograms import BOX, MAX_BYTES


class WrongHistogram(ValueError):
    """One of them is none, or is not valid."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        """Which."""


def checked(histograms: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """(payload, boxed values u64[n]) of bytes that may be anything. Raises WrongHistogram."""
    count = len(histograms)
    data = np.frombuffer(b"".join(histograms) + bytes(8), np.uint8)
    ends = np.cumsum([len(each) for each in histograms], dtype=np.int64)
    capacity = min(max(map(len, histograms), default=0), MAX_BYTES) + 1
    details, offsets = np.zeros(DETAILS + 1, np.int64), np.zeros(count + 1, np.int64)
    payload = np.empty(data.size, np.uint8)
    done = int(kernels.take_histograms(data, ends, np.empty(FIELDS, np.int64), np.empty((2, capacity, 2), np.int64),
                                       np.empty((3, capacity), np.int64), details, payload, offsets))
    if done < count:
        code = int(details[DETAILS])
        reason = "not a histogram" if code == kernels.MALFORMED else problem_detail(code, *details[:DETAILS].tolist())
        raise WrongHistogram(done, reason)
    return payload[: offsets[count]], offsets[:count].astype(np.uint64) | np.uint64(BOX)
