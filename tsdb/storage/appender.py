"""The appender: the one thread that changes the head and writes the log.

A commit holds whole batches, several together where they wait. In this order: resolve keys (making new series), judge
the samples, make room in the windows' files, log what was accepted, apply it. If anything before the log's end fails,
nothing is applied and every batch of the commit gets the error.

Samples in order go to the head; late ones, out of order or older than what the head takes, to the store of late
samples. The histograms of both go to the head's `Payloads` before they are logged: nothing refers to them until then.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import (
    EXEMPLAR_OUT_OF_ORDER,
    OVER_SERIES,
    REASONS,
    Appended,
    Batch,
    KnownRows,
    Metadata,
    RefusedRows,
)
from tsdb.model.errors import ForgottenSeries, StorageError, TsdbError, Unavailable
from tsdb.model.native_histograms import is_boxed
from tsdb.storage.exemplars.judging import judge
from tsdb.storage.head import payload_kernels
from tsdb.storage.head.churn import CREATED
from tsdb.storage.head.commit_columns import log_columns, starts_of, together_of, values_of
from tsdb.storage.head.head import FOREVER, Bounds, Head, Judged, Unapplied
from tsdb.storage.head.index import Index
from tsdb.storage.head.layout import NO_TS, WINDOW_MS
from tsdb.storage.head.limits import Guard, Moment, Rules
from tsdb.storage.head.series_kernels import REFUSED
from tsdb.storage.starts.live import StartChanges
from tsdb.wal import SeriesColumns, StartColumns, Wal
from tsdb.wal.exemplars import ExemplarColumns

log = logging.getLogger(__name__)

COMMIT_SAMPLES = 100_000
"""A commit takes waiting batches until it holds so many samples: below 50 ms of work."""
PATIENCE_S = 0.1
"""How long a batch that is in no hurry may wait for others: a commit of many small ones costs half as much."""
HISTORY_WAIT_S = 120.0
"""How long history waits for earlier late samples to become blocks before it is refused."""
NEWEST_AHEAD_MS = 10 * 60 * 1000
"""Samples further in the future are refused, as by Prometheus."""


@dataclass(slots=True)
class Waiting:
    """A batch in the queue, or a piece of work to be done between commits."""

    future: Future[Appended]
    batch: Batch | None = None
    work: Callable[[], None] | None = None


CALL = Waiting(Future())
"""In the queue: look at the patient batches."""


@dataclass(slots=True)
class HistogramCounters:
    """Which of the samples that the appender has counted are histograms."""

    samples: int = 0
    late: int = 0
    rejected: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(REASONS), np.int64))


class Counters:
    """What the appender has done since the start; read by metrics without a lock."""

    def __init__(self) -> None:
        self.samples = 0
        """Late ones included."""
        self.late = 0
        self.commits = 0
        self.batches = 0
        self.rejected = np.zeros(len(REASONS), np.int64)
        """By code of `tsdb.model.batch.REASONS`."""
        self.histograms = HistogramCounters()
        self.failed_commits = 0


class Appender:
    """Owns the head and the log. `submit` is for any thread."""

    def __init__(
        self, head: Head, index: Index, wal: Wal, metadata: dict[str, Metadata], *, queue_samples: int,
        after_commit: Callable[[], None], clock: Callable[[], float] = time.time,
    ) -> None:
        self._head = head
        self._index = index
        self._wal = wal
        self._metadata = metadata
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._patient: list[Waiting] = []
        """Batches in no hurry. Their first one puts `CALL` into the queue, and so does one that makes them enough."""
        self._patient_samples = 0
        self._queue_samples = queue_samples
        self._queued = 0
        self._lock = threading.Lock()
        self._after_commit = after_commit
        self._clock = clock
        head.table.logged()
        self._unapplied: Unapplied | None = None
        self._closed = False
        self.late_window_ms = 0
        """How much older than the newest sample late ones may be; 0: none are taken. May be changed at any time."""
        self.guard = Guard(head.table, index)
        """Limits on new series."""
        self.counters = Counters()
        self._thread = threading.Thread(target=self._run, name="appender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, batch: Batch, *, patient: bool = False) -> Future[Appended]:
        """Queues a batch; the future gets the codes of its samples once it is logged and can be queried. A `patient`
        one may wait for others for `PATIENCE_S`. Where there is too much of it, history waits in the caller's thread.

        Raises Unavailable where too much waits already or the storage is closing, ValueError where a boxed value leads
        nowhere.
        """
        wrong = -1 if batch.payload is None else payload_kernels.check(batch.values, batch.payload)
        if wrong >= 0:
            raise ValueError(f"the value of sample {wrong} leads to no histogram of the batch")
        if batch.history:
            self._wait_for_room()
        with self._lock:
            if self._closed:
                raise Unavailable("the storage is shutting down: send again later")
            if self._queued > self._queue_samples:
                raise Unavailable(f"{self._queued} samples wait to be written already: send again later", retry_after=1)
            self._queued += batch.samples
            future: Future[Appended] = Future()
            if patient:
                before, self._patient_samples = self._patient_samples, self._patient_samples + batch.samples
                self._patient.append(Waiting(future, batch))
                if len(self._patient) == 1 or before < COMMIT_SAMPLES <= self._patient_samples:
                    self._queue.put(CALL)
            else:
                self._queue.put(Waiting(future, batch))
        return future

    def _wait_for_room(self) -> None:
        """Late samples are kept in memory until they are in blocks."""
        head = self._head
        until = time.monotonic() + HISTORY_WAIT_S
        while head.late.size > 4 * head.late_enough():
            if self._closed or time.monotonic() > until:
                raise self._too_many_late()
            time.sleep(0.01)

    def _too_many_late(self) -> Unavailable:
        return Unavailable(f"{self._head.late.size} late samples wait to be written to blocks, which takes long or "
                           "does not succeed: send again later, and look at the log")

    def run_between_commits(self, work: Callable[[], None]) -> Future[Appended]:
        """Queues work that needs the head and the log to itself. The future tells when it is done."""
        future: Future[Appended] = Future()
        with self._lock:
            if self._closed:
                raise StorageError("the storage is shutting down")
            self._queue.put(Waiting(future, work=work))
        return future

    def close(self) -> None:
        """Commits what waits, and ends the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._work():
            pass

    def _work(self) -> bool:
        """One commit and what follows it; False at the end. Nothing of it is kept while the next is waited for."""
        first = self._queue.get()
        if first is CALL:
            with contextlib.suppress(queue.Empty):
                first = self._queue.get(timeout=PATIENCE_S)
        last = first is None
        group = self._patient_ones(every=last)
        if first is not None and first is not CALL:
            group.append(first)
        samples = sum(each.batch.samples for each in group if each.batch is not None)
        while not last and samples < COMMIT_SAMPLES and (not group or group[-1].work is None):
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            last = more is None
            taken = self._patient_ones(every=last) if more is None or more is CALL else [more]
            group += taken
            samples += sum(each.batch.samples for each in taken if each.batch is not None)
        batches = [each for each in group if each.batch is not None]
        if batches:
            self._commit(batches)
            self._after_commit()
        for each in group:
            if each.work is not None:
                self._do(each.work, each.future)
        return not last

    def _patient_ones(self, *, every: bool) -> list[Waiting]:
        """Takes patient batches: all, or as many as a commit holds."""
        taken: list[Waiting] = []
        samples = 0
        with self._lock:
            for each in self._patient:
                if samples >= COMMIT_SAMPLES and not every:
                    break
                taken.append(each)
                samples += each.batch.samples if each.batch is not None else 0
            del self._patient[: len(taken)]
            self._patient_samples -= samples
            if self._patient:
                self._queue.put(CALL)
        return taken

    def _do(self, work: Callable[[], None], future: Future[Appended]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - it is the future's to raise
            future.set_exception(problem)
        else:
            future.set_result(Appended(0, np.zeros(0, np.uint8)))

    def _commit(self, waiting: list[Waiting]) -> None:
        samples = sum(each.batch.samples for each in waiting if each.batch is not None)
        # whoever has given up meanwhile gets nothing written; from here on it is too late to
        waiting = [each for each in waiting if each.future.set_running_or_notify_cancel() and self._knows(each)]
        batches = [each.batch for each in waiting if each.batch is not None]
        try:
            codes, rows, outdone, refused, refusals, exemplars = self._log_and_apply(batches)
        except (TsdbError, OSError, MemoryError) as problem:
            self.counters.failed_commits += 1
            error = problem if isinstance(problem, TsdbError) else Unavailable(f"cannot write now: {problem}")
            log.error("a commit of %d samples failed: %s", samples, error)
            for each in waiting:
                each.future.set_exception(error)
        except BaseException as problem:
            for each in waiting:
                each.future.set_exception(problem)
            raise
        else:
            self.counters.rejected += np.bincount(codes, minlength=len(REASONS))
            self.counters.commits += 1
            self.counters.batches += len(batches)
            refs = self._head.records["ref"]
            at = 0
            for number, (each, batch, slots) in enumerate(zip(waiting, batches, rows, strict=True)):
                own = codes[at : at + batch.samples]
                among = int(np.count_nonzero((outdone >= at) & (outdone < at + batch.samples)))
                at += batch.samples
                keyed = None if batch.known is None else KnownRows(slots, refs[slots])
                appended = Appended(int(np.count_nonzero(own == 0)), own, keyed, among, refusals.get(number, {}))
                if batch.known is not None:
                    appended.refused = refused.get(number)
                if number in exemplars:
                    appended.exemplar_codes = exemplars[number]
                each.future.set_result(appended)
        finally:
            with self._lock:
                self._queued -= samples

    def _knows(self, waiting: Waiting) -> bool:
        """Whether the series that the sender remembers are still there; if not, it is told so."""
        batch = waiting.batch
        assert batch is not None
        if batch.known is None or (self._head.records["ref"][batch.known.slot] == batch.known.ref).all():
            return True
        waiting.future.set_exception(ForgottenSeries("some of the series have left the head: send them with keys"))
        return False

    def _log_and_apply(self, batches: list[Batch],
                       ) -> tuple[NDArray[np.uint8], list[NDArray[np.int32]], NDArray[np.intp],
                                  dict[int, RefusedRows], dict[int, dict[int, str]], dict[int, NDArray[np.uint8]]]:
        """Codes of all samples, slots of the keyed rows of each batch, the numbers of the samples that others outdo,
        and by number of the batch what limits refused, twice, as `Appended` says, and codes of its exemplars."""
        head = self._head
        if self._unapplied is not None:
            self._apply(self._unapplied.judged, self._unapplied.start)
        keyed, slots = [], []
        bounds = self._bounds(batches)
        rules = self.guard.rules
        now = Moment(rules, head.table.removed)
        refused: dict[int, RefusedRows] = {}
        for number, (batch, own) in enumerate(zip(batches, bounds, strict=True)):
            if batch.refused is not None and now.is_that_of(batch.refused):
                rows = np.full(batch.row_hash.size, -1, np.int32)
                refused[number] = batch.refused
            else:
                rows, missing = head.table.resolve(batch)
                if missing:
                    self._create(batch, rows, own, rules)
                    if rules.each and int(rows.min()) <= REFUSED:
                        refused[number] = RefusedRows(now, REFUSED - rows)
                        np.maximum(rows, -1, out=rows)
            keyed.append(rows)
            every = rows if batch.known is None else np.concatenate([batch.known.slot, rows])
            slots.append(every[batch.sample_row])
        if len(batches) == 1:
            samples, ts = slots[0], batches[0].ts
        else:
            samples = np.concatenate(slots or [np.empty(0, np.int32)])
            ts = np.concatenate([np.empty(0, np.int64), *(batch.ts for batch in batches)])
        values, payload = values_of(batches)
        starts = starts_of(batches)
        together = together_of(batches, bounds)
        codes, judged = head.judge(samples, ts, values, together, payload, starts)
        refusals = self._refuse(batches, refused, codes, rules) if refused else {}
        outdone = np.flatnonzero((codes > 0) & (codes < OVER_SERIES))
        if outdone.size:
            outdone = outdone[head.taken_alone(outdone, samples, ts, values, together, payload)]
        late = judged.late
        if late is not None and head.late.size + late.slots.size > 8 * head.late_enough():
            raise self._too_many_late()
        try:
            head.reserve(judged)
            kept = head.keep(judged, payload)
        except OSError as problem:
            raise Unavailable(f"no space for sealed chunks: {problem}: free some space on the disk") from problem
        changed = self._changed_metadata(batches)
        exemplar_codes, exemplars = self._judge_exemplars(batches, keyed)
        born = head.table.unlogged()
        new = self._new_series(born)
        if starts is not None or head.starts.active:
            kept.changes = head.starts.stage(judged.slots, judged.ts, judged.starts, head.table.series)
        if judged.slots.size or late is not None or new is not None or changed or exemplars is not None:
            try:
                self._wal.append(
                    exemplars=exemplars, starts=self._start_columns(kept.changes),
                    series=new, samples=log_columns(judged, payload), metadata=changed,
                    late=None if late is None else log_columns(late, payload, late.starts),
                )
            except BaseException:
                if kept.changes is not None:
                    head.starts.undo(kept.changes)
                raise
        head.table.logged()
        head.table.churn.count(head.table, born, CREATED)
        if exemplars is not None:
            head.exemplars.append(exemplars)
        for each in changed:
            self._metadata[each.family] = each
        self._apply(kept, 0)
        self._count(codes, values, judged, payload)
        return codes, keyed, outdone, refused, refusals, exemplar_codes

    def _start_columns(self, changes: StartChanges | None) -> StartColumns | None:
        if changes is None:
            return None
        return StartColumns(self._head.records["ref"][changes.slots], changes.ts, changes.starts)

    def _judge_exemplars(self, batches: list[Batch], keyed: list[NDArray[np.int32]],
                         ) -> tuple[dict[int, NDArray[np.uint8]], ExemplarColumns | None]:
        """Codes of exemplars by number of the batch, where it has any, and those to be stored."""
        numbers = [number for number, batch in enumerate(batches) if batch.exemplars]
        if not numbers:
            return {}, None
        offered = [(self._key_of_row(batches[number], keyed[number], each.row), each) for number in numbers
                   for each in batches[number].exemplars]
        store = self._head.exemplars
        codes, taken = judge(store, offered, int(self._clock() * 1000) + NEWEST_AHEAD_MS)
        store.out_of_order += int(np.count_nonzero(codes == EXEMPLAR_OUT_OF_ORDER))
        ends = np.cumsum([len(batches[number].exemplars) for number in numbers])
        return dict(zip(numbers, np.split(codes, ends[:-1]), strict=True)), taken

    def _key_of_row(self, batch: Batch, keyed: NDArray[np.int32], row: int) -> bytes | None:
        """Canonical key of the series; None where it was not made."""
        known = 0 if batch.known is None else batch.known.slot.size
        slot = int(batch.known.slot[row] if batch.known is not None and row < known else keyed[row - known])
        return None if slot < 0 else self._head.table.key(slot)

    def _count(self, codes: NDArray[np.uint8], values: NDArray[np.uint64], judged: Judged,
               payload: NDArray[np.uint8]) -> None:
        counters, late = self.counters, judged.late
        counters.samples += judged.slots.size
        if late is not None:
            counters.samples += late.slots.size
            counters.late += late.slots.size
        if payload.size:
            histograms, of_late = counters.histograms, late.values if late is not None else values[:0]
            histograms.rejected += np.bincount(codes[is_boxed(values)], minlength=len(REASONS))
            histograms.late += int(np.count_nonzero(is_boxed(of_late)))
            histograms.samples += int(np.count_nonzero(is_boxed(judged.values)) + np.count_nonzero(is_boxed(of_late)))

    def _refuse(self, batches: list[Batch], refused: dict[int, RefusedRows], codes: NDArray[np.uint8],
                rules: Rules) -> dict[int, dict[int, str]]:
        """Gives samples of series that were not made, for a limit, their code. `refused`: by number of the batch.
        Returns the texts for each batch."""
        texts = {}
        ends = np.cumsum([batch.samples for batch in batches])
        code_of = np.array([rule.code for rule in rules.each], np.uint8)
        for number, of_row in refused.items():
            batch = batches[number]
            known = 0 if batch.known is None else batch.known.slot.size
            by = np.concatenate([np.full(known, -1, np.int32), of_row.by])[batch.sample_row]
            samples = np.flatnonzero(by >= 0)
            codes[ends[number] - batch.samples + samples] = code_of[by[samples]]
            counts = np.bincount(by[samples], minlength=len(rules.each))
            texts[number] = self.guard.refusals(rules, batch, of_row.by, counts)
        return texts

    def _bounds(self, batches: list[Batch]) -> list[Bounds]:
        """What times the samples of each batch may have. As by Prometheus, a batch does not move its own bounds; but
        history does, since it may be the first there is."""
        head = self._head
        now, window, oldest = int(self._clock() * 1000) + NEWEST_AHEAD_MS, self.late_window_ms, head.oldest()
        late_from = FOREVER if window == 0 else NO_TS if oldest == NO_TS else head.max_ts - window
        usual = Bounds(now, oldest, head.border, late_from, windowed=window > 0)
        never_late = Bounds(now, oldest, head.border, border_refuses=True)
        found = []
        for batch in batches:
            if batch.history:
                newest = int(batch.ts.max(where=batch.ts <= now, initial=NO_TS + WINDOW_MS))
                oldest = max(oldest, newest - WINDOW_MS // 2)
                found.append(Bounds(now, oldest, head.border, NO_TS))
            else:
                found.append(never_late if batch.discard_late else usual)
        return found

    def _create(self, batch: Batch, rows: NDArray[np.int32], bounds: Bounds, rules: Rules) -> None:
        """Makes the series of rows that are -1, if any of their samples is within the bounds: wrong clocks shall not
        fill the head. Rows that a rule does not allow become `REFUSED`, or less."""
        known = 0 if batch.known is None else batch.known.slot.size
        wanted = np.zeros(known + rows.size, np.bool_)
        wanted[batch.sample_row[(batch.ts >= bounds.least) & (batch.ts <= bounds.newest)]] = True
        new = np.flatnonzero((rows < 0) & wanted[known:])
        slots = np.full(new.size, -1, np.int32)
        self._head.table.create(batch.row_hash[new], batch.keys, batch.row_offset[new], batch.row_length[new], slots,
                                rules=rules)
        rows[new] = slots

    def _apply(self, judged: Judged, start: int) -> None:
        """The samples are logged: they count as written even if their window's file must wait for space."""
        try:
            self._head.apply(judged, start)
        except Unapplied as problem:
            if self._unapplied is not None:
                self._unapplied = problem
                raise Unavailable("no space for sealed chunks: free some space on the disk") from problem
            self._unapplied = problem
            log.error("no space for sealed chunks: writes are refused until there is")
        else:
            self._unapplied = None

    def _new_series(self, slots: NDArray[np.int32]) -> SeriesColumns | None:
        table = self._head.table
        if not slots.size:
            return None
        return SeriesColumns(table.records["ref"][slots], table.key_bytes, table.key_offset[slots],
                             table.key_length[slots])

    @property
    def holds_samples(self) -> bool:
        """Whether there are logged samples that the head does not have yet. Of its own thread."""
        return self._unapplied is not None

    def _changed_metadata(self, batches: list[Batch]) -> list[Metadata]:
        changed = {}
        for batch in batches:
            for each in batch.metadata:
                if self._metadata.get(each.family) != each:
                    changed[each.family] = each
        return list(changed.values())
