# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload,operator,return-value"
"""The histograms of one row of a tile, each decoded once while windows slide over them, for kernels.

What the functions here share, where k counts the histograms of the tile's row: `facts` i64[FACTS, n] of all of them;
`slots` f64[slots, WIDTH + 4 * capacity], of which slot k % slots may have histogram k decoded, and does if tags[k %
slots] is k (i64[slots]). There are at least two, so that neighbours are there together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import HINT
from tsdb.histograms.row_kernels import GAUGE, load, room, store
from tsdb.histograms.sum_kernels import UNKNOWN, detect_reset
from tsdb.kernels.intrinsics import bits_float, float_bits
from tsdb.kernels.registry import device
from tsdb.model.native_histograms import BOX, HINT_SHIFT, OFFSET_MASK
from tsdb.promql.histograms.range_kernels import HISTOGRAMS, kind

PLACE, SCHEMA_OF, HINT_OF, WAS_RESET = range(4)
"""Facts: which sample of the tile it is; its schema; its hint; whether the counter was reset since the one before (0 or
1; -1: not known yet)."""
FACTS = 4

DONE, OUTPUT_FULL, ROWS_TOO_SMALL, TIRED = range(4)
"""Why a kernel returns: it is through; there is no room for the next result; for a histogram; it has worked enough."""
MADE, NOTHING, TOO_SMALL = range(3)
"""What becomes of a window: a row; nothing; rows are too small for it."""
ROW, STEP, USED = range(3)
"""Its state i64[3]: the row and the step that come next, and how many bytes of results there are."""


@device
def histogram_at(value: float) -> int:
    """Where in the payload the histogram of a boxed value begins."""
    return np.int64(float_bits(value) & np.uint64(OFFSET_MASK))


@device
def survey(values: NDArray[np.float64], begin: int, end: int, payload: NDArray[np.uint8], forget: bool,
           facts: NDArray[np.int64], tags: NDArray[np.int64]) -> int:
    """Finds the histograms among values[begin:end]; how many they are. `forget`: their hints are about samples that may
    not be there, so that only those of gauges count."""
    count = 0
    for i in range(begin, end):
        if kind(values[i]) == HISTOGRAMS:
            at = histogram_at(values[i])
            hint = np.int64(payload[at + 4]) >> HINT_SHIFT & 3
            facts[PLACE, count] = i
            facts[SCHEMA_OF, count] = np.int8(payload[at + 5])
            facts[HINT_OF, count] = UNKNOWN if forget and hint != GAUGE else hint
            facts[WAS_RESET, count] = -1
            count += 1
    for slot in range(tags.size):
        tags[slot] = -1
    return count


@device
def decoded(k: int, values: NDArray[np.float64], payload: NDArray[np.uint8], facts: NDArray[np.int64],
            slots: NDArray[np.float64], tags: NDArray[np.int64]) -> int:
    """The slot with histogram k. -1: its rows are too small."""
    slot = k % tags.size
    if tags[slot] != k:
        tags[slot] = -1
        if not load(payload, histogram_at(values[facts[PLACE, k]]), slots[slot]):
            return -1
        slots[slot, HINT] = facts[HINT_OF, k]
        tags[slot] = k
    return slot


@device
def starts_anew(before_start: int, before: int, start: int, now: int) -> bool:
    """Whether start timestamps (ms; 0: not known) of two neighbouring samples, taken at `before` and `now`, say that a
    counter was reset between them."""
    if start == 0 or start >= now or start < before:
        return False
    return start > before or (before_start != 0 and before_start < before)


@device
def was_reset(k: int, ts: NDArray[np.int64], values: NDArray[np.float64], starts: NDArray[np.int64],
              payload: NDArray[np.uint8], facts: NDArray[np.int64], slots: NDArray[np.float64], tags: NDArray[np.int64],
              work: NDArray[np.float64]) -> int:
    """Whether the counter was reset between histograms k - 1 and k: 0 or 1. -1: rows are too small."""
    known = facts[WAS_RESET, k]
    if known >= 0:
        return known
    p, q = facts[PLACE, k - 1], facts[PLACE, k]
    if starts.size > 0 and starts_anew(starts[p], ts[p], starts[q], ts[q]):
        facts[WAS_RESET, k] = 1
        return 1
    before = decoded(k - 1, values, payload, facts, slots, tags)
    now = decoded(k, values, payload, facts, slots, tags)
    if before < 0 or now < 0:
        return -1
    known = 1 if detect_reset(slots[now], slots[before], work) else 0
    facts[WAS_RESET, k] = known
    return known


@device
def put_out(h: NDArray[np.float64], row: int, step: int, made: NDArray[np.uint8], state: NDArray[np.int64],
            out: NDArray[np.float64], present: NDArray[np.bool_]) -> bool:
    """Writes a row behind the results in `made`, and a cell that leads there. False: there is no room for it."""
    at = state[USED]
    if at + room(h) > made.size:
        return False
    state[USED] = store(h, made, at)
    out[row, step] = bits_float(np.uint64(BOX) | np.uint64(at))
    present[row, step] = True
    return True
