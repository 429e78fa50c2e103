"""Columns of the head, in which values lead to its store of histograms, to the chunks of a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block import Chunks
from tsdb.storage.block.encoding import encode
from tsdb.storage.block.histogram_encoding import encode_kinds
from tsdb.storage.head import payload_kernels
from tsdb.storage.head.head import Head
from tsdb.storage.head.payloads import PayloadView, resolve

SAMPLES_AT_ONCE = 20_000
"""Samples with histograms that are encoded at once: about as many megabytes."""


def payloads_of(head: Head) -> PayloadView:
    """All histograms that the head shows; where it has none, boxed values lead nowhere."""
    with head.lock:
        return head.payloads.view() or PayloadView(np.zeros(1, np.uint64), ())


def encode_stored(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
                  payloads: PayloadView | None) -> tuple[Chunks, NDArray[np.int64]]:
    """(the chunks of n series: series i has the samples begin[i]:end[i] of `ts` and `values`, as in `encode`; which of
    the series have none since a histogram of theirs is gone or damaged, i64[]). Boxed values are stored ones, and
    change in place; so does `ts` where there is damage. None: there are no histograms."""
    if payloads is None:
        return encode(begin, end, ts, values), np.zeros(0, np.int64)
    before, end = end, end.copy()
    resolve(begin, end, ts, values, None, payloads)
    damaged = np.flatnonzero(end != before)
    end[damaged] = begin[damaged]
    payload = gathered(begin, end, values)
    return encode_kinds(begin, end, ts, values, payload, encode), damaged


def gathered(begin: NDArray[np.int64], end: NDArray[np.int64], values: NDArray[np.uint64]) -> NDArray[np.uint8] | None:
    """The histograms, u8[], to which boxed values among begin[i]:end[i] lead: addresses, which become offsets, in
    place. None: there are no histograms."""
    size = payload_kernels.gather(begin, end, values, np.zeros(0, np.uint8))
    if not size:
        return None
    payload = np.empty(size, np.uint8)
    payload_kernels.gather(begin, end, values, payload)
    return payload
