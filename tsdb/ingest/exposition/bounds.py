"""Bounds of buckets and quantiles, as OpenMetrics writes them: ``le="1"`` becomes ``le="1.0"`` in Prometheus 3."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?|nan", re.IGNORECASE)


def rewritten_bound(text: bytes) -> bytes:
    """The bound, rewritten if it is a number."""
    return format_bound(float(text)) if _NUMBER.fullmatch(text) else text


def format_bound(value: float) -> bytes:
    """Go's shortest form, with ``.0`` where no point or exponent is."""
    if math.isnan(value) or math.isinf(value):
        return b"NaN" if math.isnan(value) else b"+Inf" if value > 0 else b"-Inf"
    if value == 0:
        return b"0.0"
    number = Decimal(repr(value)).normalize()
    sign, digits, power = number.as_tuple()
    exponent = len(digits) - 1 + int(power)
    if not -4 <= exponent < 6:
        point = "." if len(digits) > 1 else ""
        mantissa = f"{digits[0]}{point}{''.join(map(str, digits[1:]))}"
        return f"{'-' if sign else ''}{mantissa}e{exponent:+03d}".encode()
    plain = f"{number:f}"
    return (plain if "." in plain else plain + ".0").encode()
