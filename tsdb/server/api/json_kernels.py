# mypy: disable-error-code="call-overload,arg-type,return-value,assignment,operator,no-any-return"
"""Results as JSON text, written straight from columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import count_buckets
from tsdb.kernels.intrinsics import load_u64, store_u64
from tsdb.kernels.number_kernels import write_text, write_time, write_value
from tsdb.kernels.registry import device, kernel
from tsdb.server.api.json_histogram_kernels import BUCKET_BYTES, HISTOGRAM_BYTES, write_histogram

MATRIX, VECTOR, SERIES = range(3)
"""What `encode_rows` writes for a row: ``{"metric":{…},"values":[[t,"v"],…]}``, ``{"metric":{…},"value":[t,"v"]}``,
``{…}``; each with a comma behind it. Histograms of a MATRIX come behind the floats, as "histograms"; that of a VECTOR
is its "histogram"."""
NOTHING, FLOAT, HISTOGRAM = range(3)
"""What a cell is."""

CELL_BYTES = 56
"""Most bytes of one ``[t,"v"],``. Bytes are stored eight at a time: what follows is spoilt, and written over later."""
STAMP_BYTES = 24
"""Most bytes of ``[t,"``."""
ROW_BYTES = 80
"""Most bytes of a row besides its labels and cells."""


@kernel(
    "int64(int64, int64, int64[::1], int64[::1], int64[::1], Array(uint64, 1, 'C', readonly=True),"
    "Array(uint8, 1, 'C', readonly=True), boolean, int64[::1], int64[::1], int64[::1],"
    "Array(uint8, 1, 'C', readonly=True), int64[::1], Array(uint8, 1, 'C', readonly=True), uint8[::1], int64[::1],"
    "uint8[::1], int64[::1], Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1], float64[::1])",
    stage="query",
)
def encode_rows(kind: int, first: int, begin: NDArray[np.int64], end: NDArray[np.int64], times: NDArray[np.int64],
                values: NDArray[np.uint64], present: NDArray[np.uint8], shared: bool, label_offsets: NDArray[np.int64],
                names: NDArray[np.int64], label_values: NDArray[np.int64], text: NDArray[np.uint8],
                text_offsets: NDArray[np.int64], words: NDArray[np.uint8], stamps: NDArray[np.uint8],
                lengths: NDArray[np.int64], out: NDArray[np.uint8], written: NDArray[np.int64],
                payload: NDArray[np.uint8], parts: NDArray[np.int64], indices: NDArray[np.int64],
                counts: NDArray[np.float64]) -> int:
    """Writes rows from `first` on into `out` u8[] while they are sure to fit; returns the first row not written.

    Row i has the cells begin[i]:end[i] of `values` (u64: bits of floats, or where histograms begin in `payload`) and
    `present` (u8: NOTHING, FLOAT or HISTOGRAM; empty: all are floats). Their times (ms) are at the same places of
    `times`, or, where `shared`, `times` is the same for all rows. A MATRIX or VECTOR row without cells is left out. The
    labels of row i are label_offsets[i]:label_offsets[i + 1] of `names` and `label_values`, which count strings of JSON
    in `text`, cut by `text_offsets`. `words` is ``{"metric":`` + ``,"value":`` + ``,"values":[`` + ``,"histogram":`` +
    ``,"histograms":[``. `text` and `words` have eight bytes to spare behind them. Where `shared`, `stamps`
    u8[times * STAMP_BYTES + 8] and `lengths` i64[times] keep the texts of the times from the call with `first` 0 on.
    `parts`, `indices` and `counts` are scratch of `write_histogram`; without histograms, `payload` is empty and they
    may be. written[0] is set to the bytes written.
    """
    at = np.int64(0)
    rows = label_offsets.size - 1
    if shared and first == 0:
        for j in range(times.size):
            lengths[j] = write_cell_head(stamps, j * STAMP_BYTES, times[j]) - j * STAMP_BYTES
    row = first
    while row < rows:
        size = np.int64(ROW_BYTES)
        for i in range(label_offsets[row], label_offsets[row + 1]):
            size += text_offsets[names[i] + 1] - text_offsets[names[i]] + 2
            size += text_offsets[label_values[i] + 1] - text_offsets[label_values[i]]
        if kind != SERIES:
            size += (end[row] - begin[row]) * CELL_BYTES
            if payload.size:
                for i in range(begin[row], end[row]):
                    if present[i] == HISTOGRAM:
                        size += HISTOGRAM_BYTES + BUCKET_BYTES * count_buckets(payload, np.int64(values[i]))
        if at + size > out.size:
            break
        start = at
        if kind != SERIES:
            at = write_text(out, at, words, 0, 10)
        out[at] = 123
        at += 1
        for i in range(label_offsets[row], label_offsets[row + 1]):
            at = write_text(out, at, text, text_offsets[names[i]], text_offsets[names[i] + 1])
            out[at] = 58
            at = write_text(out, at + 1, text, text_offsets[label_values[i]], text_offsets[label_values[i] + 1])
            out[at] = 44
            at += 1
        if out[at - 1] == 44:
            at -= 1
        out[at] = 125
        at += 1
        labelled = at
        if kind != SERIES:
            head = at
            at = write_text(out, at, words, 10, 19) if kind == VECTOR else write_text(out, at, words, 19, 30)
            cells = at
            base = begin[row]
            for i in range(base, end[row]):
                if present.size and present[i] != FLOAT:
                    continue
                at = write_stamp(out, at, shared, stamps, lengths, i - base, times, i)
                at = write_value(out, at, values[i])
                store_u64(out, at, np.uint64(0x2C5D22))  # "],
                at += 3
            at = end_cells(out, at, head, cells, kind)
            if payload.size:
                head = at
                at = write_text(out, at, words, 30, 43) if kind == VECTOR else write_text(out, at, words, 43, 58)
                cells = at
                for i in range(base, end[row]):
                    if present[i] != HISTOGRAM:
                        continue
                    at = write_stamp(out, at, shared, stamps, lengths, i - base, times, i) - 1  # without the quote
                    at = write_histogram(out, at, payload, np.int64(values[i]), parts, indices, counts)
                    store_u64(out, at, np.uint64(0x2C5D))  # ],
                    at += 2
                at = end_cells(out, at, head, cells, kind)
            if at == labelled:
                at = start
                row += 1
                continue
            out[at] = 125
            at += 1
        out[at] = 44
        at += 1
        row += 1
    written[0] = at
    return row


@device
def write_cell_head(out: NDArray[np.uint8], at: int, ms: int) -> int:
    """``[t,"``. Returns the position behind."""
    out[at] = 91
    at = write_time(out, at + 1, ms)
    out[at] = 44
    out[at + 1] = 34
    return at + 2


@device
def write_stamp(out: NDArray[np.uint8], at: int, shared: bool, stamps: NDArray[np.uint8], lengths: NDArray[np.int64],
                step: int, times: NDArray[np.int64], cell: int) -> int:
    """``[t,"``. Returns the position behind."""
    if not shared:
        return write_cell_head(out, at, times[cell])
    stamp = step * STAMP_BYTES
    store_u64(out, at, load_u64(stamps, stamp))
    store_u64(out, at + 8, load_u64(stamps, stamp + 8))
    store_u64(out, at + 16, load_u64(stamps, stamp + 16))
    return at + lengths[step]


@device
def end_cells(out: NDArray[np.uint8], at: int, head: int, cells: int, kind: int) -> int:
    """Ends the cells from `cells` to `at`, or takes back what stands before them from `head` on where there are none.
    Returns the position behind."""
    if at == cells:
        return head
    if kind == VECTOR:
        return at - 1
    out[at - 1] = 93
    return at
