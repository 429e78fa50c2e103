"""The head: one record and one open chunk for every series, and the windows of sealed chunks behind them."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.native_histograms import is_boxed
from tsdb.storage.exemplars.circular import CircularExemplars
from tsdb.storage.head import arena, head_kernels, layout, payload_kernels
from tsdb.storage.head.layout import CHUNK_BITS, CHUNK_WORDS, MAX_SERIES, NO_TS, SEALED_MAX_BYTES, WINDOW_MS
from tsdb.storage.head.payloads import Payloads
from tsdb.storage.head.refs import Refs
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.head.windows import Window, Windows, room_for
from tsdb.storage.late.late import Late
from tsdb.storage.starts import start_kernels
from tsdb.storage.starts.live import HeadStarts, StartChanges
from tsdb.storage.tombstones import Tombstones

FOREVER = (1 << 63) - 1
NO_PAYLOAD = np.empty(0, np.uint8)
APPLY_AT_ONCE = 200_000
"""Samples applied by one kernel call, under the lock: below 20 ms."""
LATE_ENOUGH = 1 << 20
SEAL_AT_ONCE = 20_000
"""Slots swept by one kernel call."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What times samples may have; all ms."""

    newest: int = FOREVER
    oldest: int = NO_TS
    """Of samples in order. Prometheus', an hour behind the newest one."""
    border: int = NO_TS
    """Samples in order before it would come too late for their block: they are taken as late."""
    late_from: int = FOREVER
    """The oldest time of late samples. FOREVER: none are taken."""
    border_refuses: bool = False
    """Of what is in order and before the border: refuse it."""
    windowed: bool = False
    """There is a window for late samples: whoever misses it is told so."""

    @property
    def least(self) -> int:
        """The oldest time that can be accepted."""
        return max(self.oldest, self.border) if self.border_refuses else min(self.oldest, self.late_from)

    def columns(self) -> NDArray[np.int64]:
        """i64[6], for the kernel."""
        new_late_from = FOREVER if self.border_refuses else min(self.oldest, self.late_from)
        return np.array([self.newest, self.oldest, self.border, self.late_from, new_late_from, self.windowed], np.int64)


@dataclass(slots=True)
class Samples:
    """Samples in columns."""

    refs: NDArray[np.uint64]
    slots: NDArray[np.int32]
    ts: NDArray[np.int64]
    values: NDArray[np.uint64]
    starts: NDArray[np.int64] | None = field(default=None, kw_only=True)
    """Start times, ms; None: none."""


@dataclass(slots=True)
class Judged(Samples):
    """Samples of one commit that are to be logged and applied: those in order, and late ones."""

    mint: int
    maxt: int
    late: Samples | None
    changes: StartChanges | None = None
    """What those in order change in `Head.starts`: `stage` gives it."""


class Head:
    """Owned by the appender; readers copy from it while they hold `lock`."""

    def __init__(self, windows: Windows, payloads: Payloads | None = None) -> None:
        """`payloads`: None keeps histograms in memory."""
        self.records = arena.reserve("records", MAX_SERIES, layout.HEAD)
        self.chunks = arena.reserve("open-chunks", MAX_SERIES * CHUNK_WORDS, np.uint64)
        self.table = SeriesTable(new_secret(), self.records)
        self.windows = windows
        self.payloads = payloads or Payloads()
        self.lock = threading.Lock()
        self.readers = self.table.readers
        self.late = Late(self.lock)
        self.starts = HeadStarts(self.lock, MAX_SERIES)
        self.exemplars = CircularExemplars(0)
        """Also of series that have left."""
        self.max_ts = NO_TS
        """Newest sample, ms."""
        self.min_ts = -NO_TS - 1
        """Oldest sample in the windows or the open chunks, ms."""
        self.border = NO_TS
        """All windows that end here or before are complete (ms); older samples are refused."""
        self.tombstones = Tombstones.none()
        """By slot, of what stands in windows and open chunks. Replaced as a whole, under `lock`; see `deleted`."""
        self.samples = 0
        """Samples applied or loaded since the start."""
        self.opened = np.zeros(2, np.int64)
        """Chunks that are open, and that were since the start."""
        self._commit = 0

    def oldest(self) -> int:
        """The lower bound of times in order (ms): an hour behind the newest sample, as in Prometheus."""
        return NO_TS if self.max_ts == NO_TS else self.max_ts - WINDOW_MS // 2

    def late_enough(self) -> int:
        """So many late samples should become blocks: few for each series would make large blocks of them."""
        return max(LATE_ENOUGH, 4 * self.table.series)

    def judge(
        self, slots: NDArray[np.int32], ts: NDArray[np.int64], values: NDArray[np.uint64],
        bounds: Sequence[tuple[int, Bounds]], payload: NDArray[np.uint8] = NO_PAYLOAD,
        starts: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.uint8], Judged]:
        """Codes u8[n] (`tsdb.model.batch.REASONS`) for the samples of a commit, and what is to be applied, after
        `keep`. `bounds`: (end, those for the samples up to there), one after the other. `payload` u8[]: of boxed
        values. `starts` i64[n] ms: start times."""
        count = slots.size
        codes = np.empty(count, np.uint8)
        refs, out_slots = np.empty(count, np.uint64), np.empty(count, np.int32)
        out_ts, out_values = np.empty(count, np.int64), np.empty(count, np.uint64)
        self._commit = self._commit % 0xFFFF_FFFF + 1
        late = np.empty(count, np.int32)
        start, written, found, least, greatest = 0, 0, 0, FOREVER, NO_TS
        for end, each in bounds:
            written, found, mint, maxt = head_kernels.validate(
                slots, ts, values, start, end, self.records, each.columns(), self._commit, written, found, codes, refs,
                out_slots, out_ts, out_values, late, payload, self.payloads.table
            )
            start, least, greatest = end, min(least, mint), max(greatest, maxt)
        judged = Judged(refs[:written], out_slots[:written], out_ts[:written], out_values[:written], least, greatest,
                        None)
        late = late[:found]
        if found:
            judged.late = Samples(self.records["ref"][slots[late]], slots[late], ts[late], values[late])
        if starts is not None:
            if judged.late is not None:
                own = starts[late]
                judged.late.starts = np.where((own >= 0) & (own <= judged.late.ts), own, 0)
            judged.starts = starts
            if written < count:
                judged.starts = np.zeros(written, np.int64)
                start_kernels.align(slots, ts, starts, codes, late, judged.slots, judged.ts, judged.starts)
        return codes, judged

    def taken_alone(self, numbers: NDArray[np.intp], slots: NDArray[np.int32], ts: NDArray[np.int64],
                    values: NDArray[np.uint64], bounds: Sequence[tuple[int, Bounds]],
                    payload: NDArray[np.uint8] = NO_PAYLOAD) -> NDArray[np.bool_]:
        """Which of some samples of a commit, by number, `judge` would take each without the others; bool. Before
        `apply`."""
        slots, ts, values = slots[numbers], ts[numbers], values[numbers]
        of = np.searchsorted([end for end, _ in bounds], numbers, side="right")
        newest, oldest, border, late_from, new_late_from, windowed = np.array(
            [each.columns() for _, each in bounds])[of].T
        last, last_value = self.records["last_ts"][slots], self.records["last_value"][slots]
        in_order = (ts <= newest) & ((ts >= np.maximum(oldest, border)) | (ts >= new_late_from))
        equal = values == last_value
        if payload.size:
            payload_kernels.are_same(values, payload, last_value, self.payloads.table, equal)
        equal |= (windowed != 0) & (ts < oldest)
        at_last = (ts == last) & ((ts >= oldest) | (ts >= late_from))
        taken = np.where(ts > last, in_order, np.where(at_last, equal, ts >= late_from))
        return np.asarray((slots >= 0) & taken)

    def keep(self, judged: Judged, payload: NDArray[np.uint8]) -> Judged:
        """The same for `apply`, with the histograms of `payload` u8[] stored. Raises OSError. They are lost room where
        nothing follows."""
        if not payload.size:
            return judged
        late, values = judged.late, judged.values
        if is_boxed(values).any():
            values = self.payloads.store(values, payload, judged.ts)
        if late is not None and is_boxed(late.values).any():
            late = replace(late, values=self.payloads.store(late.values, payload, late.ts, self.late.generation))
        return replace(judged, values=values, late=late)

    def reserve(self, judged: Judged) -> None:
        """Makes sure that `apply` finds the files and the room it needs. Raises OSError with nothing changed.

        A commit that spans many windows (history given to an empty database) gets its files as it goes. A window below
        the border gets none: it has its last chunks, and an empty file beside it would stay until the border moves.
        """
        room = room_for(judged.slots.size)
        first, last = judged.mint // WINDOW_MS, judged.maxt // WINDOW_MS
        wanted = set(range(max(first, last - 1), last + 1)) if first <= last else set()
        with self.lock:
            live = {window.number for window in self.windows.table.windows[-3:] if not window.complete}
            for number in sorted(wanted | live):
                if (number + 1) * WINDOW_MS > self.border and not self.windows.has_room(number, room):
                    self.windows.ensure(number, room)

    def apply(self, judged: Judged, start: int = 0) -> None:
        """Appends judged samples from `start`, then the late ones, which are seen together with the last in order.

        Raises OSError where a window's file cannot be had; see `Unapplied`.
        """
        done, total = start, judged.slots.size
        late, changes = judged.late, judged.changes
        staged = None if late is None else self.late.stage(late.slots, late.ts, late.values, late.starts)
        if changes is not None:
            self.starts.make_room(changes.slots.size)
            with self.lock:  # before their samples: those that are there are all earlier
                self.starts.show(changes)
        if done == total and staged is not None:
            with self.lock:
                self.late.show(staged)
        while done < total:
            end = min(done + APPLY_AT_ONCE, total)
            with self.lock:
                table = self.windows.table
                reached, lacking = head_kernels.apply(
                    judged.slots[:end], judged.ts[:end], judged.values[:end], done, self.records, self.chunks,
                    table.numbers, table.addresses, table.chains, table.used, table.limit, table.sealed, self.opened,
                )
                self.samples += reached - done
                if reached > done:
                    self.max_ts = max(self.max_ts, int(judged.ts[done:reached].max()))
                    self.min_ts = min(self.min_ts, int(judged.ts[done:reached].min()))
                done = reached
                if done == total and staged is not None:
                    self.late.show(staged)
                if reached < end:
                    try:
                        self.windows.ensure(lacking, SEALED_MAX_BYTES * 64)
                    except OSError as problem:
                        raise Unapplied(judged, done) from problem

    def seal_before(self, border: int) -> None:
        """Seals the open chunks of windows that end at or before `border` (ms). Raises OSError."""
        done = 0
        while done < self.table.size:
            with self.lock:
                table = self.windows.table
                end = min(done + SEAL_AT_ONCE, self.table.size)
                reached, lacking = head_kernels.seal_before(
                    done, end, border // WINDOW_MS, self.records, self.chunks,
                    table.numbers, table.addresses, table.chains, table.used, table.limit, table.sealed, self.opened,
                )
                if reached < end:
                    self.windows.ensure(lacking, SEALED_MAX_BYTES * 1024)
                done = reached

    def due(self) -> int:
        """The border up to which windows are over: no sample for them can be accepted any more. ms."""
        if self.max_ts == NO_TS:
            return NO_TS
        return (self.max_ts - WINDOW_MS // 2) // WINDOW_MS * WINDOW_MS

    def load_windows(self, border: int, refs: Refs, cut: Collection[str] = ()) -> dict[str, int]:
        """Maps and scans the files of sealed chunks of series in `refs`. Files named in `cut` are in blocks and go.
        Returns totals for the log."""
        self.payloads.load()
        totals = np.zeros(7, np.int64)
        totals[3] = NO_TS
        newest = np.full(self.payloads.table.size // 2, NO_TS, np.int64)
        scratch = np.empty(CHUNK_BITS, np.int64), np.empty(CHUNK_BITS, np.uint64)
        damaged: list[int] = []

        def scan(window: Window, end: int) -> int:
            chunks, without = int(totals[0]), int(totals[6])
            good, reason = head_kernels.scan(
                window.address, window.used, end, border, refs.blocks, refs.lines, refs.slots, self.records,
                window.chain.__array_interface__["data"][0], totals, self.payloads.table, newest, *scratch,
            )
            window.sealed += int(totals[0]) - chunks
            if window.complete and totals[6] > without:
                self.windows.lacks_histograms(window)
            if reason:
                damaged.append(window.number)
            if good > window.used:
                self.min_ts = min(self.min_ts, window.mint)
            return int(good)

        self.windows.load(scan, border, cut)
        self.payloads.referred(newest, int(totals[5]))
        self.border = border
        self.max_ts = max(int(totals[3]), border - 1 if border != NO_TS else NO_TS)
        self.table.reserve_refs(int(totals[4]))
        self.samples += int(totals[1])
        return {
            "windows": len(self.windows), "chunks": int(totals[0]), "samples": int(totals[1]),
            "left_out": int(totals[2]), "damaged": len(damaged),
        }

    def restore_values(self) -> None:
        """After the replay: the newest value of series whose newest sample is in a sealed chunk."""
        table = self.windows.table
        head_kernels.restore_values(self.table.size, self.records, table.addresses, table.chains,
                                    np.empty(CHUNK_BITS, np.int64), np.empty(CHUNK_BITS, np.uint64))

    def sync(self) -> None:
        """Makes the histograms and the chunks that refer to them durable. The caller holds the lock. OSError."""
        self.payloads.sync()
        self.windows.sync()

    def close(self) -> None:
        """Lets go of the files. The caller holds the lock."""
        self.windows.close()
        self.payloads.close()


class Unapplied(OSError):
    """A logged commit that could not be applied wholly: no disk space for a window. Continue from `start` later."""

    def __init__(self, judged: Judged, start: int) -> None:
        super().__init__("no space for sealed chunks")
        self.judged = judged
        self.start = start
