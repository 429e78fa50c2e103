"""Storage: a data directory, open. What ingest and queries see of all below it.

::

    <data>/FORMAT            "tsdb 2": the version of the directory
    <data>/LOCK              held by the process that writes
    <data>/wal/              tsdb.wal: segments and checkpoints
    <data>/chunks/           sealed chunks of the head, a file for every two hours
    <data>/histograms/       histograms of the head
    <data>/blocks/           immutable blocks
    <data>/tiers/            downsampling tiers: blocks of windows
    <data>/uploads/          blocks that are being uploaded
    <data>/damaged/          what was found damaged and is left out, with a note about each
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import REASONS, Appended, Batch, Metadata
from tsdb.model.context import RequestContext
from tsdb.model.errors import Corruption, ReadOnly, StorageError, TsdbError
from tsdb.model.matchers import Matcher
from tsdb.model.summary import Summary
from tsdb.model.tiers import Tiers
from tsdb.model.tiles import Capture, Selection, SeriesSet
from tsdb.storage.appender import Appender, HistogramCounters
from tsdb.storage.block import Block, BlockMeta
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import Damage
from tsdb.storage.directory import FORMAT_NAME, check_format, refuse_what_is_not_ours
from tsdb.storage.exemplars.selecting import SeriesExemplars, select_exemplars
from tsdb.storage.family_metadata import FamilyMetadata
from tsdb.storage.head.cardinality import Cardinality, HeadChurn, cardinality, churn
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.head.limits import LimitState, SeriesLimits
from tsdb.storage.head.payloads import Payloads
from tsdb.storage.head.windows import Windows
from tsdb.storage.options import StorageOptions
from tsdb.storage.reading.analysis import Analysis, analyze_all
from tsdb.storage.reading.reading import Reading
from tsdb.storage.restart.opening import open_head, save_head
from tsdb.storage.restart.recovery import Report
from tsdb.storage.statistics import StorageStatistics
from tsdb.storage.tiers.reading import TierReading
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.tiers.store import TierStore
from tsdb.storage.tiers.upkeep import TierUpkeep
from tsdb.storage.upkeep.cleaning import Cleaning
from tsdb.storage.upkeep.deletes import Deletes
from tsdb.storage.upkeep.expiry import Expiry, RetentionStatistics
from tsdb.storage.upkeep.maintenance import Maintenance, log_failure
from tsdb.storage.upkeep.reserve import Reserve
from tsdb.storage.upkeep.retention import Retention
from tsdb.storage.upkeep.snapshots import Snapshots
from tsdb.storage.upkeep.statistics import UpkeepStatistics
from tsdb.storage.uploads import Uploads, UploadStatistics
from tsdb.storage.uploads.acceptance import keeps
from tsdb.wal import Wal, WalOptions
from tsdb.wal.files import FileSystem, LocalFileSystem, Lock

log = logging.getLogger(__name__)


class Storage:
    """An open data directory. All methods are thread-safe."""

    def __init__(self, fs: FileSystem, path: Path, options: StorageOptions, lock: Lock | None,
                 report: Report, damage: Damage) -> None:
        self._fs = fs
        self.path = path
        self._lock = lock
        self._read_only = lock is None
        self._damage = damage
        self._metadata: dict[str, Metadata] = FamilyMetadata()
        self._head = Head(Windows(fs, path / "chunks", read_only=self._read_only, damage=damage),
                          Payloads(fs, path / "histograms", read_only=self._read_only, damage=damage))
        self._head.exemplars.resize(options.max_exemplars)
        self._index = Index(self._head.table)
        self._blocks = Blocks.open(fs, path / "blocks", self._head.lock, damage, read_only=self._read_only)
        self._tiers = TierStore(fs, path, self._head.lock, damage, read_only=self._read_only)
        self._reading = Reading(self._head, self._index, self._blocks, damage, self._block_is_damaged)
        self._reading.windows = TierReading(self._tiers, self._blocks, self._head, self._block_is_damaged)
        self._wal = Wal.open(fs, path / "wal", WalOptions(sync=options.wal_sync), read_only=self._read_only)
        self._closing = threading.Lock()
        self._closed = False
        self.opened = open_head(fs, path, self._wal, self._head, self._metadata, self._blocks, report,
                                read_only=self._read_only)
        """How the head came back."""
        if places := self._wal.statistics().damaged:
            damage.add_notice(f"Damage was found in the write-ahead log, in {places} places: samples of their records "
                              f"may be missing. `tsdb check data {path}` says which.")
        self._index.refresh(force=True)
        self._maintenance: Maintenance | None = None
        self._appender: Appender | None = None
        if not self._read_only:
            self._maintenance = Maintenance(self._head, self._index, self._wal, self._metadata, self._blocks, damage)
            self._appender = Appender(self._head, self._index, self._wal, self._metadata,
                                      queue_samples=options.queue_samples,
                                      after_commit=self._maintenance.after_commit)
            self.set_late_window(options.late_window_ms)
            self.set_series_limits(options.series_limits)
            self._snapshots = Snapshots(fs, path, self._head, self._blocks, self._appender, self._maintenance.go_on)
            self._snapshots.remove_left()
            reserve = Reserve(fs, path)
            self._deletes = Deletes(fs, self._head, self._index, self._blocks, self._wal, self._appender, reserve)
            self._expiry = self._maintenance.expiry = Expiry(fs, path, self._head, self._blocks, self._wal,
                                                             self._deletes)
            self.set_retention(Retention(options.retention_ms, options.retention_bytes, options.retention_percentage,
                                         options.retention_rules))
            self._downsampling = TierUpkeep(fs, self._tiers, self._blocks, self._head, self._deletes,
                                            self._maintenance.pause, self._maintenance.block_is_damaged)
            self._maintenance.tiers = self._expiry.tiers = self._deletes.tiers = self._downsampling
            self._downsampling.follow(options.tiers)
            self._cleaning = self._maintenance.cleaning = Cleaning(
                fs, self._blocks, reserve, self._maintenance.pause, self._maintenance.block_is_damaged,
                self._expiry.more_goes)
            self._uploads = Uploads(fs, path, self._blocks, self._maintenance.do,
                                    lambda maxt: keeps(maxt, self._expiry, self._tiers.tiers))
            self._maintenance.others.append(self._uploads.tidy)
            self._appender.start()
            self._maintenance.start(self._appender)
            for block, problem in self._blocks.damaged():
                self._maintenance.block_is_damaged(block, problem)

    @classmethod
    def open(cls, path: Path, options: StorageOptions | None = None, *, read_only: bool = False,
             report: Report = lambda _: None, fs: FileSystem | None = None) -> Storage:
        """Opens a data directory, made where there is none. Read-only, it sees what was committed when it was opened,
        takes no lock and changes nothing, so that a server may run beside it.

        `report` is told how far it is. Raises DirectoryLocked, FormatTooNew, StorageError.
        """
        fs = fs or LocalFileSystem()
        options = options or StorageOptions()
        try:
            damage = Damage(fs, path, read_only=read_only)
            if read_only:
                check_format(fs, path, damage, create=False)
                return cls._open_beside_writer(fs, path, options, report, damage)
            refuse_what_is_not_ours(fs, path)
            fs.mkdir(path)
            lock = fs.lock(path)
        except OSError as problem:
            raise _cannot_open(path, problem) from problem
        try:
            check_format(fs, path, damage, create=True)
            return cls(fs, path, options, lock, report, damage)
        except OSError as problem:
            lock.release()
            raise _cannot_open(path, problem) from problem
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_beside_writer(cls, fs: FileSystem, path: Path, options: StorageOptions, report: Report, damage: Damage,
                            ) -> Storage:
        for _ in range(10):
            try:
                storage = cls(fs, path, options, None, report, damage)
            except OSError as problem:
                if problem.errno in (errno.ENOENT, errno.ESTALE):
                    continue  # the writer has removed a file of which we knew the name, or cut one
                raise
            if storage.opened.consistent and storage._blocks.unchanged() and storage._tiers.unchanged():
                return storage
            storage.close()  # the writer has moved samples from the log to other files in between
        raise StorageError(f"{path} changes faster than it can be read: open it again")

    @property
    def secret(self) -> NDArray[np.uint64]:
        """u64[2]: what keys of batches are hashed with."""
        return self._head.table.secret

    @property
    def read_only(self) -> bool:
        return self._read_only

    def submit(self, batch: Batch, *, patient: bool = False) -> Future[Appended]:
        """Queues a batch. The future has the verdict on each sample, once accepted ones are logged and can be queried;
        or it raises Unavailable. Raises Unavailable at once where too much waits, and ReadOnly. A `patient`
        batch may wait a tenth of a second for others, which makes many small ones cheaper."""
        if self._appender is None:
            raise ReadOnly(f"{self.path} was opened read-only")
        return self._appender.submit(batch, patient=patient)

    def set_late_window(self, window_ms: int) -> None:
        """As in `StorageOptions`; from now on."""
        if self._appender is not None:
            self._appender.late_window_ms = window_ms

    def set_retention(self, retention: Retention) -> None:
        """As in `StorageOptions`; from now on."""
        if not self._read_only:
            self._expiry.retention = retention

    def set_tiers(self, rules: Sequence[TierRule]) -> None:
        """As in `StorageOptions`; soon."""
        if self._maintenance is not None:
            self._maintenance.do(lambda: self._downsampling.follow(rules)).add_done_callback(log_failure)

    def set_series_limits(self, limits: SeriesLimits) -> None:
        """As in `StorageOptions`; from now on."""
        if self._appender is not None:
            self._appender.guard.follow(limits)

    def set_max_exemplars(self, most: int) -> None:
        """As in `StorageOptions`; from now on."""
        self._head.exemplars.resize(most)

    def delete_series(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> None:
        """Deletes the samples with mint <= ts <= maxt (ms) of series that satisfy any of the matcher sets, durably; see
        `Deletes.delete`. Raises ReadOnly, Unavailable, OSError, Corruption, BadData."""
        if self._maintenance is None:
            raise ReadOnly(f"{self.path} was opened read-only")
        self._maintenance.do(lambda: self._deletes.delete(matcher_sets, mint, maxt)).result()

    def compact(self) -> None:
        """Makes blocks of everything, and compacts them until nothing is left to do. Raises ReadOnly, Unavailable,
        OSError, StorageError."""
        if self._maintenance is None or self._appender is None:
            raise ReadOnly(f"{self.path} was opened read-only")
        maintenance, appender = self._maintenance, self._appender
        maintenance.do(lambda: maintenance.compact(appender)).result()

    def clean_tombstones(self) -> None:
        """Frees the room of what was deleted, now. Raises ReadOnly, Unavailable, OSError, StorageError."""
        if self._maintenance is None:
            raise ReadOnly(f"{self.path} was opened read-only")
        maintenance, cleaning = self._maintenance, self._cleaning
        maintenance.do(lambda: maintenance.clean_all(cleaning)).result()

    def snapshot(self, *, skip_head: bool = False) -> str:
        """Copies all data to a folder in <data>/snapshots, whose name is returned; see `Snapshots.take`. Raises
        ReadOnly, Unavailable, OSError, Corruption."""
        if self._maintenance is None:
            raise ReadOnly(f"{self.path} was opened read-only")
        return self._maintenance.do(lambda: self._snapshots.take(skip_head=skip_head)).result()

    @property
    def uploads(self) -> Uploads:
        """Takes blocks from elsewhere. Raises ReadOnly."""
        if self._maintenance is None:
            raise ReadOnly(f"{self.path} was opened read-only")
        return self._uploads

    def oldest(self) -> int | None:
        """The lower bound of times in order now, ms; None: any."""
        found = self._head.oldest()
        return None if found == NO_TS else found

    @property
    def reading(self) -> Reading:
        """Queries and label lookups over all that is stored."""
        return self._reading

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture:
        """A consistent view for one query: of a prefix of commits."""
        return self._reading.capture(selections, context)

    def tiers(self) -> Tiers:
        """Which downsampling tiers there are now."""
        return self._reading.tiers()

    def label_names(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
                    ) -> list[str]:
        """Sorted names of labels of series with a chunk that touches mint..maxt (ms)."""
        return self._reading.label_names(matcher_sets, mint, maxt, context)

    def label_values(self, name: str, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                     context: RequestContext) -> list[str]:
        """Sorted values of one label of such series."""
        return self._reading.label_values(name, matcher_sets, mint, maxt, context)

    def names_at_hand(self, label: str | None, mint: int, maxt: int) -> list[str] | None:
        """What `label_values` (None: `label_names`) gives without matchers, where it is known from the last time and
        takes no work; else None."""
        return self._reading.names_at_hand(label, mint, maxt)

    def series(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
               first: int = 0) -> SeriesSet:
        """Label sets of such series, sorted by labels; where `first` is not 0, so many of them suffice."""
        return self._reading.series(matcher_sets, mint, maxt, context, first)

    def metadata(self, family: str | None = None) -> dict[str, list[Metadata]]:
        """Metadata by family name: of one family, or of all."""
        if family is not None:
            found = self._metadata.get(family)
            return {} if found is None else {family: [found]}
        return {name: [each] for name, each in list(self._metadata.items())}

    def exemplars(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
                  ) -> list[SeriesExemplars]:
        """Exemplars with mint <= ts <= maxt (ms) of series that satisfy any of the matcher sets, sorted by labels."""
        return select_exemplars(self._head.exemplars, matcher_sets, mint, maxt, context)

    def cardinality(self, most: int, matcher_sets: Sequence[Sequence[Matcher]] = ()) -> Cardinality:
        """What makes the most series of the head: the `most` largest metrics, label names and pairs. With matchers, of
        the series that satisfy any of the sets. BadData for a regex that is none."""
        table = self._head.table
        with self._head.readers.reading():
            if not matcher_sets:
                return cardinality(table, most)
            found = [self._index.select(matchers) for matchers in matcher_sets]
            return cardinality(table, most, found[0] if len(found) == 1 else np.unique(np.concatenate(found)))

    def analyze(self, most: int, matcher_sets: Sequence[Sequence[Matcher]] = ()) -> Analysis:
        """What makes series many, and come and go, in all that is stored. Raises Corruption, BadData."""
        return analyze_all(self._head, self._index, self._blocks, matcher_sets, most)

    def churn(self, most: int) -> HeadChurn:
        """The `most` metrics whose series were created and removed most."""
        return churn(self._head.table, most)

    def _block_is_damaged(self, block: Block, problem: Corruption) -> None:
        if self._maintenance is not None:
            self._maintenance.block_is_damaged(block, problem)
        elif any(each is block for each in self._blocks.every):  # read-only: nothing else changes the blocks
            self._blocks.take_out(block)
            self._damage.note(block.path, problem, block.meta.mint, block.meta.maxt)

    def follow_damage(self, told: Callable[[list[str]], None]) -> None:
        """Has `told` get a text for each kind of damage that was found: now and, in any thread, when these change."""
        self._damage.follow(told)

    def block_metas(self) -> list[BlockMeta]:
        """What the blocks say of themselves, the oldest first."""
        return sorted((block.meta for block in self._blocks.every), key=lambda meta: (meta.mint, meta.maxt, meta.ulid))

    def statistics(self) -> StorageStatistics:
        head = self._head
        counters = self._appender.counters if self._appender is not None else None
        rejected = counters.rejected.tolist() if counters is not None else [0] * len(REASONS)
        empty = head.max_ts == NO_TS
        maintenance = self._maintenance
        with head.lock:
            head.windows.settle()
            sealed = sum(window.sealed for window in head.windows.every)
            sealed_bytes = sum(window.used for window in head.windows.every) + head.payloads.used
            opened, ever = head.opened.tolist()
        return StorageStatistics(
            series=head.table.series,
            series_made=head.table.made,
            series_removed=head.table.removed,
            collections=(maintenance.collector.seconds if maintenance is not None else Summary()).read(),
            symbols=head.table.symbols_in_use,
            label_pairs=head.table.pairs_in_use,
            windows=len(head.windows),
            chunks=opened + sealed,
            chunks_opened=ever,
            chunks_removed=head.windows.chunks_removed,
            chunks_bytes=sealed_bytes,
            dropped_windows=0 if self._read_only else self._expiry.dropped_windows,
            min_ts=None if empty or head.min_ts > head.max_ts else head.min_ts,
            max_ts=None if empty else head.max_ts,
            lowest_ts=self._lowest_ts(),
            samples=head.samples,
            samples_appended=counters.samples if counters is not None else 0,
            commits=counters.commits if counters is not None else 0,
            failed_commits=counters.failed_commits if counters is not None else 0,
            rejected=dict(zip(REASONS[1:], rejected[1:], strict=True)),
            wal=self._wal.statistics(),
            upkeep=self._upkeep_statistics(),
            late_appended=counters.late if counters is not None else 0,
            histograms=counters.histograms if counters is not None else HistogramCounters(),
            late_stored=head.late.size,
            opening=self.opened,
            retention=RetentionStatistics() if self._read_only else self._expiry.statistics(),
            windows_damaged=sum(self.path / "chunks" in (each.path, each.path.parent) for each in self._damage.found),
            damaged=len(self._damage.found),
            damaged_known=len(self._damage.known),
            mended=len(self._damage.mended),
            tiers=[] if self._read_only else self._downsampling.statistics(),
            limits=self._limit_states(),
            uploads=UploadStatistics() if self._read_only else self._uploads.statistics(),
            exemplars=head.exemplars.statistics(),
        )

    def _limit_states(self) -> list[LimitState]:
        if self._appender is None:
            return []
        with self._head.readers.reading():
            return list(self._appender.guard.states())

    def _lowest_ts(self) -> int | None:
        head = self._head
        times = [block.meta.mint for block in self._blocks.every]
        if head.min_ts <= head.max_ts:
            times.append(head.min_ts)
        if (late := head.late.mint) is not None:
            times.append(late)
        return min(times, default=None)

    def _upkeep_statistics(self) -> UpkeepStatistics:
        found = UpkeepStatistics() if self._maintenance is None else self._maintenance.statistics()
        blocks = self._blocks.every
        found.blocks, found.blocks_bytes = len(blocks), sum(block.bytes for block in blocks)
        return found

    def end_upkeep(self) -> None:
        """Before `close`, where writes and queries go on until then: ends compactions, snapshots and the like at their
        next pause, and whoever waits for one gets Unavailable. Returns at once."""
        if self._maintenance is not None:
            self._maintenance.end()

    def close(self) -> None:
        """Commits what waits, makes it durable, lets go of the directory. May be called twice."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        try:
            if self._maintenance is not None and self._appender is not None:
                self._maintenance.end()
                self._uploads.close()
                self._maintenance.close()
                self._appender.close()
                with self._head.lock:
                    self._head.sync()
            self._wal.close()
            # after damage the log may have more than the head, but for that of FORMAT
            whole = all(found.path == self.path / FORMAT_NAME for found in self._damage.found)
            if self._appender is not None and not self._appender.holds_samples and whole:
                save_head(self._fs, self.path, self._wal, self._head, self._metadata)
        except (OSError, TsdbError) as problem:
            log.error("%s could not be closed cleanly: %s; the log is replayed at the next start", self.path, problem)
        finally:
            with self._head.lock:
                self._head.close()
            self._blocks.close()
            self._tiers.close()
            if self._lock is not None:
                self._lock.release()


def _cannot_open(path: Path, problem: OSError) -> StorageError:
    where = f" ({problem.filename})" if problem.filename not in (None, str(path)) else ""
    return StorageError(f"the data directory {path} cannot be opened: {problem.strerror or problem}{where}: "
                        "look at the disk and at the folder's owner, or give another folder (--storage.tsdb.path)")
