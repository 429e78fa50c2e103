"""The batch of a scrape that is not like the last one: new series, stale markers, reports new to the storage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.scrape import Scrape
from tsdb.ingest.exposition.series_keys import KeyedRows
from tsdb.model.batch import STALE_NAN, Batch, KnownRows


def join(scrape: Scrape | None, known: Sequence[KnownRows], keyed: Sequence[KeyedRows], gone: int, lost: int, ts: int,
         reports: NDArray[np.uint64], reports_known: bool) -> Batch:
    """Samples of a scrape, then markers at `ts` (ms) for `gone` known and `lost` keyed rows, then `reports` (bits).

    Rows, known and keyed, are those of the scrape, of the markers, and of the reports on one of the two sides.
    """
    slots = np.concatenate([rows.slot for rows in known])
    first = slots.size  # keyed row
    row = np.empty(0, np.uint32)
    start_ts = None
    times, values = np.empty(0, np.int64), np.empty(0, np.uint64)
    scrape_known = new = 0
    if scrape is not None:
        scrape_known = scrape.known
        new = 0 if scrape.keyed is None else scrape.keyed.row_length.size
        row = scrape.arrays.row[: scrape.samples]
        row = np.where(row < scrape_known, row, row + np.uint32(first - scrape_known))
        times, values = scrape.arrays.ts[: scrape.samples], scrape.arrays.values[: scrape.samples]
        if scrape.arrays.start_ts.size:
            start_ts = np.concatenate([scrape.arrays.start_ts[: scrape.samples],
                                       np.zeros(gone + lost + reports.size, np.int64)])
    begin = scrape_known + gone if reports_known else first + new + lost
    rows: list[NDArray[np.integer]] = [
        row, np.arange(scrape_known, scrape_known + gone), np.arange(first + new, first + new + lost),
        np.arange(begin, begin + reports.size),
    ]
    sizes = np.cumsum([0, *(each.keys.size for each in keyed[:-1])])
    return Batch(
        keys=np.concatenate([np.empty(0, np.uint8), *(each.keys for each in keyed)]),
        row_hash=np.concatenate([np.empty(0, np.uint64), *(each.row_hash for each in keyed)]),
        row_offset=np.concatenate([np.empty(0, np.uint32), *(each.row_offset + np.uint32(at)
                                                             for each, at in zip(keyed, sizes, strict=False))]),
        row_length=np.concatenate([np.empty(0, np.uint32), *(each.row_length for each in keyed)]),
        sample_row=np.concatenate(rows).astype(np.uint32),
        ts=np.concatenate([times, np.full(gone + lost + reports.size, ts, np.int64)]),
        values=np.concatenate([values, np.full(gone + lost, STALE_NAN, np.uint64), reports]),
        metadata=[] if scrape is None else scrape.metadata,
        payload=None if scrape is None else scrape.payload,
        start_ts=start_ts,
        known=KnownRows(slots, np.concatenate([rows.ref for rows in known])),
    )
