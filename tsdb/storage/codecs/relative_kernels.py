# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Columns of values relative to another one: what is added to that gives back the very bits.

Buckets of a classic histogram rise together: what one has more than another has fewer bits than either. docs/formats.md
has the bytes, under "Relative chunks".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bits_float, float_bits
from tsdb.kernels.registry import device

SAME, DIFFERENT, UNRELATED = range(3)
"""How values are beside others."""


@device
def subtract(values: NDArray[np.uint64], first: int, bases: NDArray[np.uint64], at: int, count: int,
             out: NDArray[np.uint64]) -> int:
    """Writes to out[:count] what added to bases[at : at + count] gives values[first : first + count] (all are bits of
    floats); the bits 0 where both are the same, whatever they are. UNRELATED: there is no such number for one."""
    found = SAME
    for i in range(count):
        value, base = values[first + i], bases[at + i]
        difference = np.uint64(0)
        if value != base:
            number = bits_float(value) - bits_float(base)
            difference = float_bits(number)
            if float_bits(bits_float(base) + number) != value or difference == np.uint64(0):
                return UNRELATED
            found = DIFFERENT
        out[i] = difference
    return found


@device
def add(differences: NDArray[np.uint64], at: int, out: NDArray[np.uint64], first: int, count: int) -> None:
    """The other way round: adds differences[at : at + count] to out[first : first + count]."""
    to, source = np.uint64(first), np.uint64(at)
    for i in range(np.uint64(count)):
        base, difference = out[to + i], differences[source + i]
        summed = float_bits(bits_float(base) + bits_float(difference))
        out[to + i] = base if difference == np.uint64(0) else summed
