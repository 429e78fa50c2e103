"""Series of remote_write 2.0 that `remote_write_v2_kernels` leaves pending: their labels are judged, and brought into
order."""
# mypy: disable-error-code="operator,assignment,return-value,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import (
    MAX_LABELS,
    METRIC_NAME,
    ODD_REFS,
    REF_BEYOND_SYMBOLS,
    TOO_MANY_LABELS,
    VALID,
    check_labels,
    sort_labels,
    write_key,
)
from tsdb.ingest.protobuf_kernels import read_field
from tsdb.ingest.remote_write_kernels import AT, DONE, JUDGED, KEYS, NEED_KEYS, SYMBOLS
from tsdb.ingest.remote_write_v2_kernels import BEGIN, SIZE, note_metadata, read_ref
from tsdb.kernels.hash_kernels import hash_bytes
from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import kernel


@kernel("int64(uint8[::1], uint32[:, ::1], uint64[::1], int64, uint32[::1], uint8[::1], uint8[::1], uint64[::1],"
        " uint32[::1], uint32[::1], int64[:, ::1], int64[:, ::1], int64[::1])", stage="later")
def transcode_rows_v2(data: NDArray[np.uint8], symbols: NDArray[np.uint32], secret: NDArray[np.uint64], max_key: int,
                      pending: NDArray[np.uint32], wrong: NDArray[np.uint8], keys: NDArray[np.uint8],
                      row_hash: NDArray[np.uint64], row_offset: NDArray[np.uint32], row_length: NDArray[np.uint32],
                      metadata: NDArray[np.int64], labels: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Judges the pending rows into `wrong` u8[pending] (`canonical_kernels`), writes the keys of the valid behind those
    that there are, and points their rows at them.

    labels i64[MAX_LABELS, 4] is scratch. Returns DONE; NEED_KEYS or NEED_METADATA (call again with more room, it goes
    on); or an error.
    """
    count = state[SYMBOLS]
    for i in range(state[JUDGED], pending.size):
        state[JUDGED] = i
        row = np.int64(pending[i])
        at = np.int64(row_offset[row])
        end = at + np.int64(row_length[row])
        refs = np.int64(0)
        name = np.int64(0)
        verdict = np.int64(VALID)
        described = np.int64(0)
        described_end = np.int64(0)
        while at < end:
            field, _, inner, at = read_field(data, at, end)
            if field == 5:
                described, described_end = inner, at
            if field != 1:
                continue
            while inner < at:
                ref, inner = read_ref(data, inner, at)
                if ref >= count:
                    verdict = np.int64(REF_BEYOND_SYMBOLS)
                elif refs < 2 * MAX_LABELS:
                    side = 2 * (refs & 1)
                    labels[refs >> 1, side] = np.int64(symbols[ref, BEGIN])
                    labels[refs >> 1, side + 1] = np.int64(symbols[ref, SIZE])
                    if side == 2 and labels[refs >> 1, 1] == 8 and load_u64(data, labels[refs >> 1, 0]) == METRIC_NAME:
                        name = ref
                refs += 1
        size = np.int64(0)
        if refs & 1:
            verdict = np.int64(ODD_REFS)
        elif verdict == VALID and refs > 2 * MAX_LABELS:
            verdict = np.int64(TOO_MANY_LABELS)
        elif verdict == VALID:
            sort_labels(data, labels, refs >> 1)
            verdict, size = check_labels(data, labels, refs >> 1, max_key)
        wrong[i] = verdict
        if verdict != VALID:
            continue
        key = state[KEYS]
        if key + size > keys.size:
            return NEED_KEYS
        status = np.int64(DONE)
        if described_end > described:
            status = note_metadata(data, described, described_end, name, symbols, count, metadata, state)
        if status != DONE:
            state[AT] = described
            return status
        key_end = write_key(data, labels, refs >> 1, keys, key)
        row_offset[row] = np.uint32(key)
        row_length[row] = np.uint32(size)
        row_hash[row] = hash_bytes(secret[0], secret[1], keys, key, key_end)
        state[KEYS] = key_end
    return DONE
