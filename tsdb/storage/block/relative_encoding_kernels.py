# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Dense chunks of the series of classic histograms to relative ones, where these are smaller."""

from __future__ import annotations

import numpy as np
from numba import int64, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel
from tsdb.kernels.varint_kernels import put_varint, take_varint
from tsdb.storage.block.layout import RELATIVE_FLOATS
from tsdb.storage.codecs.dense_kernels import encode_values
from tsdb.storage.codecs.relative_kernels import DIFFERENT, UNRELATED, subtract
from tsdb.storage.codecs.times_kernels import PART, SOME, THREE, key_of

U8, U64, I64 = uint8[::1], uint64[::1], int64[::1]
TABLE = uint64[:, ::1]

KEY, NUMBER, PLACE, SAMPLES, NAMED, LAST, FIELDS = range(7)
"""Of a base: under which it is found, its number in the block, where its values are kept, how many, what names their
times, the last of these (ms)."""
LEAST = 24
"""Bytes of a chunk that it pays to look at."""
SIXTEENTHS = 15
"""Of its bytes may a chunk take as a relative one: it takes longer to read."""
ONE, SEVEN, EIGHT = np.uint64(1), np.uint64(7), np.uint64(8)


@device
def times_named(data: NDArray[np.uint8], at: int) -> int:
    """What names the times of the dense chunk at byte `at`, as a number; 0 where it takes more than seven bytes, or
    bits."""
    number, past = take_varint(data, at)
    way = np.int64(number & THREE)
    if way == PART:
        _, past = take_varint(data, past)
    if way == SOME or past - at > 7:
        return np.uint64(0)
    found = np.uint64(1)
    for k in range(at, past):
        found = found << EIGHT | np.uint64(data[k])
    return found


@kernel(int64(I64, U64, U64, int64, I64, I64, I64, I64, I64, I64, U8, U8, U8, U64, TABLE, I64, U64, I64, I64, I64, I64,
              I64), stage="later")
def relate_chunks(
    begin: NDArray[np.int64], values: NDArray[np.uint64], families: NDArray[np.uint64], number: int,
    series: NDArray[np.int64], mint: NDArray[np.int64], maxt: NDArray[np.int64], samples: NDArray[np.int64],
    place: NDArray[np.int64], size: NDArray[np.int64], data: NDArray[np.uint8], form: NDArray[np.uint8],
    out: NDArray[np.uint8], kept: NDArray[np.uint64], bases: NDArray[np.uint64], state: NDArray[np.int64],
    differences: NDArray[np.uint64], numbers: NDArray[np.int64], other: NDArray[np.int64],
    exceptions: NDArray[np.int64], left: NDArray[np.int64], sample: NDArray[np.int64],
) -> int:
    """Looks at the dense chunks of n rows that `encode_dense_rows` made of `begin` and `values`, to `series` … `size`
    and `data`, the first of which is chunk `number` of the block. Of those of a family (`families` u64[n], 0: none)
    the first with the same times is the others' base.

    Where it pays, writes the bytes of the relative chunk to `out` u8[] (room for as many as in `data`, and one chunk)
    and changes `place`, `size` and `form` u8[]. Bases stay in `bases` u64[2^k, FIELDS] and `kept` u64[], a ring, of
    which state[0] (i64[1]) were used. Scratch as for `dense_kernels.encode_values`, and `differences` u64[LONGEST].
    Returns the bytes written.
    """
    chunk, used = np.int64(0), np.int64(0)
    for row in range(begin.size):
        first = begin[row]
        for _ in range(series[row]):
            count, own = samples[chunk], size[chunk]
            named = np.uint64(0)
            if families[row] != np.uint64(0) and own >= LEAST and count <= kept.size // 4:
                named = times_named(data, place[chunk])
            if named != np.uint64(0):
                key = key_of(families[row], mint[chunk])
                at = np.int64(key & np.uint64(bases.shape[0] - 1))
                how = UNRELATED
                if (bases[at, KEY] == key and bases[at, NAMED] == named and np.int64(bases[at, SAMPLES]) == count
                        and np.int64(bases[at, LAST]) == maxt[chunk]
                        and np.int64(bases[at, PLACE]) >= state[0] - kept.size):
                    base = np.int64(bases[at, PLACE]) % kept.size
                    how = subtract(values, first, kept, base, count, differences)
                if how == UNRELATED:
                    if state[0] % kept.size + count > kept.size:
                        state[0] += kept.size - state[0] % kept.size
                    base = state[0] % kept.size
                    for i in range(count):
                        kept[base + i] = values[first + i]
                    bases[at, KEY], bases[at, NAMED] = key, named
                    bases[at, NUMBER], bases[at, PLACE] = np.uint64(number + chunk), np.uint64(state[0])
                    bases[at, SAMPLES], bases[at, LAST] = np.uint64(count), np.uint64(maxt[chunk])
                    state[0] += count
                else:
                    distance = np.uint64(number + chunk) - bases[at, NUMBER]
                    past = put_varint(out, used, distance << ONE | np.uint64(how == DIFFERENT))
                    if how == DIFFERENT:
                        past = encode_values(differences, 0, count, out, past, numbers, other, exceptions, left, sample)
                    if (past - used) * 16 <= own * SIXTEENTHS:
                        place[chunk], size[chunk], form[chunk] = used, past - used, np.uint8(RELATIVE_FLOATS)
                        used = past
            first += count
            chunk += 1
    return used
