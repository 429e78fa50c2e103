# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Ranges of bytes, eight at a time. The caller knows that they lie within the arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import load_u64, store_u64
from tsdb.kernels.registry import device


@device
def equal_bytes(a: NDArray[np.uint8], at_a: int, b: NDArray[np.uint8], at_b: int, length: int) -> bool:
    """Whether a[at_a : at_a + length] and b[at_b : at_b + length] are."""
    i = 0
    while i + 8 <= length:
        if load_u64(a, at_a + i) != load_u64(b, at_b + i):
            return False
        i += 8
    while i < length:
        if a[at_a + i] != b[at_b + i]:
            return False
        i += 1
    return True


@device
def copy_bytes(source: NDArray[np.uint8], begin: int, length: int, target: NDArray[np.uint8], at: int) -> None:
    """Copies source[begin : begin + length] to target[at:]; they do not overlap."""
    k = 0
    while k + 8 <= length:
        store_u64(target, at + k, load_u64(source, begin + k))
        k += 8
    while k < length:
        target[at + k] = source[begin + k]
        k += 1
