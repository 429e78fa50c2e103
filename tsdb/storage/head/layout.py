"""The binary layouts that storage kernels share: head records, open chunks, sealed chunks, and sizes of arenas."""

from __future__ import annotations

import numba
import numpy as np

WINDOW_MS = 2 * 3600 * 1000
"""Length of a window of sealed chunks; chunks never cross its border."""

MAX_SERIES = 1 << 24
"""Slots of the head: address space only."""
MAX_REF = 1 << 62
MAX_SYMBOLS = 1 << 26
MAX_PAIRS = 1 << 26
MAX_LABELS = 1 << 30
"""Labels of all series together."""
MAX_KEY_BYTES = 1 << 36
MAX_SYMBOL_BYTES = 1 << 35

CHUNK_WORDS = 32
"""u64 words of an open chunk: 256 bytes for every slot."""
CHUNK_BITS = CHUNK_WORDS * 64

NO_TS = -(1 << 63)
"""`last_ts` of a series without a sample."""

HEAD = np.dtype(
    [
        ("ref", "u8"),  # of the series, never reused; 0: the slot is free
        ("last_ts", "i8"),  # ms, of the newest in-order sample
        ("last_value", "u8"),  # its bits
        ("first_ts", "i8"),  # of the open chunk
        ("sealed_ts", "i8"),  # last time in the newest sealed chunk, NO_TS: none
        ("mark", "u8"),  # commit number << 32 | index of the series' newest accepted sample in that commit
        ("window", "i4"),  # of the open chunk: first_ts // WINDOW_MS
        ("delta", "i4"),  # between its last two samples, ms
        ("bits", "u2"),  # used bits of the open chunk
        ("count", "u2"),  # samples in the open chunk
        ("leading", "u1"),  # of the last XOR that was written with its own borders
        ("significant", "u1"),  # 0: none yet
        ("kind", "u1"),  # of the open chunk: FLOATS or HISTOGRAMS
        ("flags", "u1"),  # VALUE_UNKNOWN
    ]
)
"""One 64-byte, line-aligned record per slot."""
assert HEAD.itemsize == 64

HEAD_TYPE = numba.from_dtype(HEAD)[::1]
READONLY_BYTES = numba.types.Array(numba.uint8, 1, "C", readonly=True)

FLOATS, HISTOGRAMS = range(2)
"""Kinds of chunks: a chunk of HISTOGRAMS has boxed values among the others, which stand in the head's `Payloads`."""

VALUE_UNKNOWN = 1
"""Flag of a record: `last_ts` comes from a sealed chunk that was not decoded, `last_value` means nothing."""

SEALED_HEADER_WORDS = 6
"""u64 words before the bits of a sealed chunk; docs/formats.md draws them.

word 0: crc32c of all that follows (u32) | kind (u8) | version (u8) | count (u16)
word 1: ref
word 2: first timestamp, ms
word 3: last - first timestamp, ms (u32) | used bits (u16) | chunks of this series before it in this file (u16)
word 4: byte offset of the series' previous chunk in this file, 0: none (u40) | samples of the series up to here (u24)
word 5: time of the series' last sample before this chunk, in whatever file, or NO_TS: tells a gap that a power cut left
"""
SEALED_MAX_BYTES = (SEALED_HEADER_WORDS + CHUNK_WORDS) * 8
SEALED_VERSION = 1
WINDOW_HEADER_BYTES = 64
