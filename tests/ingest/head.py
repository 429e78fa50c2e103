"""A storage for tests of scraping: it takes batches as the appender does, slowly, and tells what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.ingest.test_remote_write import SECRET, hashes, key_of
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import Scrape, SeriesLimits, TargetSeries
from tsdb.model.batch import DUPLICATE, OUT_OF_ORDER, STALE_NAN, Appended, Batch, KnownRows
from tsdb.model.errors import ForgottenSeries
from tsdb.model.labels import format_series, labels_of_key

Written = tuple[str, int, int | str]
"""(series as PromQL writes it, ms, bits; or "stale")."""


@dataclass
class Series:
    ref: int
    key: bytes
    newest: tuple[int, int] | None = None


@dataclass
class Head:
    series: list[Series] = field(default_factory=list)
    keyed: int = 0
    """Rows with a key in the last batch."""
    refs: int = 1000

    def append(self, batch: Batch) -> tuple[list[Written], Appended]:
        """What of the batch is written, and the verdict."""
        assert batch.known is not None
        assert batch.row_hash.tolist() == hashes(batch).tolist()
        slots = batch.known.slot.tolist()
        if any(self.series[slot].ref != ref for slot, ref in zip(slots, batch.known.ref.tolist(), strict=True)):
            raise ForgottenSeries("gone")
        self.keyed = batch.row_hash.size
        for row in range(self.keyed):
            key = key_of(batch, row)
            found = [slot for slot, series in enumerate(self.series) if series.key == key]
            if not found:
                self.refs += 1
                self.series.append(Series(self.refs, key))
            slots.append(found[0] if found else len(self.series) - 1)
        written: list[Written] = []
        codes = []
        columns = batch.sample_row.tolist(), batch.ts.tolist(), batch.values.tolist()
        for row, ts, bits in zip(*columns, strict=True):
            series = self.series[slots[row]]
            code = 0
            if series.newest is not None and ts < series.newest[0]:
                code = OUT_OF_ORDER
            elif series.newest is not None and ts == series.newest[0] and bits != series.newest[1]:
                code = DUPLICATE
            else:
                series.newest = ts, bits
                written.append((format_series(labels_of_key(series.key).items()), ts,
                                "stale" if bits == STALE_NAN else bits))
            codes.append(code)
        new = slots[batch.known.slot.size :]
        keyed = KnownRows(np.array(new, np.int32), np.array([self.series[slot].ref for slot in new], np.uint64))
        return written, Appended(codes.count(0), np.array(codes, np.uint8), keyed)

    def lose(self, name: str) -> None:
        """The series leaves the head, and its slot becomes another's."""
        for series in self.series:
            if labels_of_key(series.key).get("__name__") == name:
                self.refs += 1
                series.ref, series.key, series.newest = self.refs, b"", None


def target(labels: dict[str, str] | None = None, *, reports: Sequence[str] = (), honor_labels: bool = False,
           limits: SeriesLimits | None = None, **more: object) -> TargetSeries:
    return TargetSeries(SECRET, labels or {}, reports=reports, honor_labels=honor_labels,
                        limits=limits or SeriesLimits(), **more)  # type: ignore[arg-type]


def read(series: TargetSeries, body: str | bytes, format_: Format = Format.TEXT, ts: int = 0) -> tuple[Scrape, Batch]:
    scrape = series.parse(body.encode() if isinstance(body, str) else body, format_, ts)
    return scrape, series.batch(scrape, ts, [])
