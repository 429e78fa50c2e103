"""ULIDs: 128-bit names that sort by the time they were made (github.com/ulid/spec), as Prometheus names its blocks."""

from __future__ import annotations

import re
import secrets
import time

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def new_ulid(now_ms: int | None = None, bits: int | None = None) -> str:
    """26 characters: 48 bits of time (ms since 1970, by default now), then 80 `bits`, by default random ones."""
    if now_ms is None:
        now_ms = time.time_ns() // 1_000_000
    number = now_ms << 80 | (secrets.randbits(80) if bits is None else bits)
    return "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


def made_at(ulid: str) -> int:
    """When it was made, ms since 1970."""
    number = 0
    for digit in ulid:
        number = number << 5 | _DIGITS.index(digit)
    return number >> 80


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None
