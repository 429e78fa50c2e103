"""Several batches as the columns of one commit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.model.native_histograms import is_boxed, only_floats
from tsdb.storage.head.head import NO_PAYLOAD, Bounds, Samples
from tsdb.wal import SampleColumns


def log_columns(samples: Samples, payload: NDArray[np.uint8], starts: NDArray[np.int64] | None = None) -> SampleColumns:
    """For the log."""
    return SampleColumns(samples.refs, samples.ts, samples.values, payload if payload.size else None, starts)


def starts_of(batches: list[Batch]) -> NDArray[np.int64] | None:
    """Start times of all samples; None: no batch has any."""
    if all(batch.start_ts is None for batch in batches):
        return None
    found = [np.zeros(batch.samples, np.int64) if batch.start_ts is None else batch.start_ts for batch in batches]
    return np.ascontiguousarray(found[0]) if len(found) == 1 else np.concatenate(found)


def values_of(batches: list[Batch]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Of all samples, and the one payload of their histograms; empty if there are none. Where a batch has none, nothing
    in it leads to one."""
    values, payloads, base = [np.empty(0, np.uint64)], [NO_PAYLOAD], 0
    for batch in batches:
        if batch.payload is None:
            values.append(only_floats(batch.values))
        else:
            values.append(np.where(is_boxed(batch.values), batch.values + np.uint64(base), batch.values) if base
                          else batch.values)
            payloads.append(batch.payload)
            base += batch.payload.size
    return (values[1] if len(batches) == 1 else np.concatenate(values),
            payloads[1] if len(payloads) == 2 else np.concatenate(payloads))


def together_of(batches: list[Batch], bounds: list[Bounds]) -> list[tuple[int, Bounds]]:
    """(end of the samples that have them, bounds), for `Head.judge`."""
    found: list[tuple[int, Bounds]] = []
    end = 0
    for batch, each in zip(batches, bounds, strict=True):
        end += batch.samples
        if found and found[-1][1] == each:
            found.pop()
        found.append((end, each))
    return found
