# mypy: disable-error-code="no-any-return"
"""Sums of floats, compensated."""

from __future__ import annotations

import math

from tsdb.kernels.registry import device


@device
def add_compensated(value: float, total: float, lost: float) -> tuple[float, float]:
    """One step of Kahan summation as Neumaier improved it: the new (total, lost)."""
    new = total + value
    if math.isinf(new):
        lost = 0.0
    elif abs(total) >= abs(value):
        lost += (total - new) + value
    else:
        lost += (value - new) + total
    return new, lost
