# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""From when to when series of the head have samples."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import words_at
from tsdb.kernels.registry import kernel
from tsdb.storage.head.layout import HEAD_TYPE, SEALED_HEADER_WORDS
from tsdb.storage.head.sealed_kernels import before

U64, I32, I64 = uint64[::1], int32[::1], int64[::1]
LOW32 = np.uint64(0xFFFFFFFF)


@kernel(types.void(I32, HEAD_TYPE, U64, U64, I64, I64), stage="later")
def find_spans(slots: NDArray[np.int32], records, addresses: NDArray[np.uint64], chains: NDArray[np.uint64],
               first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
    """Lowers `first` and raises `last` i64[n] (ms) to the times of the oldest and newest sample of n slots, in open
    chunks and in windows (`addresses` and `chains` u64[w]). Call it under the head's lock."""
    for i in range(slots.size):
        slot = slots[i]
        record = records[np.int64(slot)]
        if record.count > 0:
            first[i] = min(first[i], record.first_ts)
            last[i] = max(last[i], record.last_ts)
        for w in range(addresses.size):
            at = words_at(chains[w] + np.uint64(slot) * np.uint64(8), 1)[0]
            while at != 0:
                header = words_at(addresses[w] + at, SEALED_HEADER_WORDS)
                begins = np.int64(header[2])
                first[i] = min(first[i], begins)
                last[i] = max(last[i], begins + np.int64(header[3] & LOW32))
                at = before(header, at)
