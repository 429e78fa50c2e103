"""Opening after a crash: series from checkpoint and log, then the sealed chunks, then the samples that these do not
cover.

The log is read twice. The first reading takes only series (samples are skipped undecoded), since chunk files name
series by ref and a ref may be explained by the newest segment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import Metadata
from tsdb.model.errors import Corruption, StorageError
from tsdb.storage.blocks import Blocks
from tsdb.storage.head import deleted, start_times
from tsdb.storage.head.head import NO_PAYLOAD, Bounds, Head, Unapplied
from tsdb.storage.head.layout import MAX_REF, NO_TS
from tsdb.storage.head.refs import Refs
from tsdb.wal import Replayed, SampleColumns, StartColumns, TombstoneColumns, Wal
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.files import FileSystem
from tsdb.wal.replay import ReplayProgress, replay

log = logging.getLogger(__name__)

FOREVER = (1 << 63) - 1
BORDER = "border"
"""Section of a checkpoint: windows that end here or before are complete and durable (ms)."""
LATE = "late"
"""Section of a checkpoint: the late samples of segments up to this number are in blocks."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an opening is."""

    doing: str
    """What it is busy with, for people."""
    log: ReplayProgress | None = None
    """How far the samples of the log are replayed; None: not so far."""


Report = Callable[[Progress], None]


class _Series:
    """First reading: makes the series and keeps the border and the metadata."""

    late_through = FOREVER

    def __init__(self, head: Head, metadata: dict[str, Metadata], report: Report) -> None:
        self._head = head
        self._metadata = metadata
        self._report = report
        self._refs = [np.zeros(0, np.uint64)]
        self._slots = [np.zeros(0, np.int32)]
        self.border = NO_TS

    def series(self, refs: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint64],
               lengths: NDArray[np.uint64]) -> None:
        if int(refs.max(initial=0)) >= MAX_REF:
            raise Corruption("a ref that was never given out")
        table = self._head.table
        small_offsets, small_lengths = offsets.astype(np.uint32), lengths.astype(np.uint32)
        hashes = np.empty(refs.size, np.uint64)
        hash_rows(table.secret, keys, small_offsets, small_lengths, hashes)
        slots = np.full(refs.size, -1, np.int32)
        table.create(hashes, keys, small_offsets, small_lengths, slots, refs)
        # a series that had left the head has come back under another ref, which counts from then on
        known = table.records["ref"]
        newer = known[slots] < refs
        known[slots[newer]] = refs[newer]
        table.reserve_refs(int(refs.max(initial=0)))  # of a series that left and came back, the table has the first
        self._refs.append(refs)
        self._slots.append(slots)

    def refs(self) -> Refs:
        """Of all series that came."""
        return Refs(np.concatenate(self._refs), np.concatenate(self._slots))

    def metadata(self, rows: list[Metadata]) -> None:
        for each in rows:
            self._metadata[each.family] = each

    def after_checkpoint(self, sections: dict[str, Any]) -> int | None:
        self.border = int(sections.get(BORDER, NO_TS))
        return FOREVER

    def samples(self, columns: SampleColumns) -> None:
        raise AssertionError("samples are skipped in the first reading")

    late = samples

    def tombstones(self, deleted_then: TombstoneColumns) -> None:
        pass

    def exemplars(self, columns: ExemplarColumns) -> None:
        pass

    def starts(self, columns: StartColumns) -> None:
        pass

    def progress(self, at: ReplayProgress) -> None:
        self._report(Progress(f"looking for series in the log, {at.done} of {at.total} bytes"))


class _Samples:
    """Second reading: applies the samples that are newer than the sealed chunks of their series."""

    def __init__(self, head: Head, refs: Refs, report: Report) -> None:
        self._head = head
        self._refs = refs
        self._report = report
        self.applied = 0
        self.unknown = 0

    def series(self, refs: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint64],
               lengths: NDArray[np.uint64]) -> None:
        pass

    def metadata(self, rows: list[Metadata]) -> None:
        pass

    def after_checkpoint(self, sections: dict[str, Any]) -> int | None:
        if deleted.SECTION in sections:
            deleted.restore(self._head, sections[deleted.SECTION], self._refs.find)
        self._head.late.through = int(sections.get(LATE, 0))
        return self._head.border

    @property
    def late_through(self) -> int:
        return self._head.late.through

    def tombstones(self, deleted_then: TombstoneColumns) -> None:
        slots = self._refs.find(deleted_then.refs)
        deleted.take_over(self._head, deleted_then, slots)
        self._head.late.remove(slots[slots >= 0], deleted_then.mint, deleted_then.maxt)

    def samples(self, columns: SampleColumns) -> None:
        head = self._head
        slots, ts, values, _ = self._known(columns)
        payload = NO_PAYLOAD if columns.payload is None else columns.payload
        bounds = Bounds(border=head.border, border_refuses=True)
        _, judged = head.judge(slots, ts, values, [(slots.size, bounds)], payload)
        self.applied += judged.slots.size
        try:
            head.apply(head.keep(judged, payload))
        except Unapplied as problem:
            raise StorageError(f"no space for sealed chunks while the log is replayed ({problem.__cause__}): "
                               "free some space on the disk") from problem
        except OSError as problem:
            raise StorageError(f"no space for histograms while the log is replayed ({problem}): free some space on the "
                               "disk") from problem

    def late(self, columns: SampleColumns) -> None:
        slots, ts, values, starts = self._known(columns)
        late = self._head.late
        if columns.payload is not None:
            values = self._head.payloads.store(values, columns.payload, ts, late.generation)
        late.append(slots, ts, values, starts)
        self.applied += slots.size

    def exemplars(self, columns: ExemplarColumns) -> None:
        self._head.exemplars.restore(columns)

    def starts(self, columns: StartColumns) -> None:
        slots = self._refs.find(columns.refs)
        # of a series that has left the head and come back, those of before were only of samples that are in blocks
        known = (slots >= 0) & (self._head.records["ref"][slots] == columns.refs)
        self._head.starts.restore(slots[known], columns.ts[known], columns.starts[known])

    def _known(self, columns: SampleColumns) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint64],
                                                      NDArray[np.int64] | None]:
        """Slots, times, values and start times of those whose series is known."""
        refs, ts, values, starts = columns.refs, columns.ts, columns.values, columns.starts
        slots = self._refs.find(refs)
        known = slots >= 0
        if not known.all():
            self.unknown += int(np.count_nonzero(~known))
            seen = refs[refs < MAX_REF].max(initial=0)
            self._head.table.reserve_refs(int(seen))  # else a new series would inherit these samples at the next start
            slots, ts, values = slots[known], ts[known], values[known]
            starts = None if starts is None else starts[known]
        return slots, ts, values, starts

    def progress(self, at: ReplayProgress) -> None:
        self._report(Progress(f"replaying the log, segment {at.segment} of {at.first} to {at.last}, {at.done} of "
                              f"{at.total} bytes", at))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a replay found."""

    log: Replayed
    samples: int
    """Applied from the log."""
    same_checkpoint: bool
    """Both readings were of the same log. Not so beside a writer that has dropped some of it: begin anew."""


def recover(fs: FileSystem, wal_folder: Path, wal: Wal, head: Head, metadata: dict[str, Metadata],
            report: Report = lambda _: None, blocks: Blocks | None = None) -> Recovered:
    """Fills an empty head with what is not in `blocks`."""
    first = _Series(head, metadata, report)
    found_series = replay(fs, wal_folder, first)
    border = first.border if blocks is None else max(first.border, blocks.border)
    refs = first.refs()
    report(Progress("checking the files of sealed chunks"))
    totals = head.load_windows(border, refs, blocks.cut_windows if blocks is not None else ())
    second = _Samples(head, refs, report)
    found = wal.replay(second)
    head.restore_values()
    deleted.forget(head)
    start_times.forget(head)
    log.log(
        logging.INFO if head.table.size or totals["chunks"] or second.unknown else logging.DEBUG,
        "replayed: %d series, %d samples in %d sealed chunks of %d windows, %d samples from the log (%d chunks left "
        "out, %d windows with a torn end, %d samples of unknown series)",
        head.table.size, totals["samples"], totals["chunks"], totals["windows"], second.applied, totals["left_out"],
        totals["damaged"], second.unknown,
    )
    return Recovered(found, second.applied, found_series.checkpoint == found.checkpoint)
