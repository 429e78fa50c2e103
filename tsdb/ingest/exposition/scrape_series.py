"""One target's scrapes to batches: what is remembered of a target between them, staleness, and the series about them.

A scrape that has the series of the last one costs one kernel call: they are known by their text, and the appender by
slot and ref. Staleness is that of Prometheus' scrape loop: per series, not per text; none for samples with a time of
their own, unless asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition import exposition_kernels as kernels
from tsdb.ingest.exposition.classic_histogram_kernels import convert_histograms
from tsdb.ingest.exposition.classic_histograms import converted
from tsdb.ingest.exposition.created_kernels import link_created
from tsdb.ingest.exposition.created_lines import CreatedLines
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.label_kernels import read_series
from tsdb.ingest.exposition.metadata_lines import cached_texts, families, metadata_of, read_line, read_lines
from tsdb.ingest.exposition.metric_families import HistogramOptions, transcoded
from tsdb.ingest.exposition.metric_family_kernels import write_records
from tsdb.ingest.exposition.readable import Part, Readable
from tsdb.ingest.exposition.refused_series import RefusedSeries
from tsdb.ingest.exposition.scrape import FILLED, Exemplars, Scrape, ScrapeArrays, exemplars_of
from tsdb.ingest.exposition.scrape_batch import join
from tsdb.ingest.exposition.scrape_exemplars import new_exemplars
from tsdb.ingest.exposition.scrape_problems import (
    Problem,
    exemplar_problems,
    kernel_problem,
    number_problems,
    raise_first,
)
from tsdb.ingest.exposition.series_cache import SeriesCache
from tsdb.ingest.exposition.series_cache_kernels import (
    DROPPED,
    FLAGS,
    FORMAT_MASK,
    FORMAT_SHIFT,
    METADATA,
    OFFSET,
    SEEN,
    SLOT,
    TYPE_MASK,
    TYPE_SHIFT,
    UNKNOWN_SLOT,
    rebuild_cache,
)
from tsdb.ingest.exposition.series_keys import KeyedRows, SeriesKeys, SeriesLimits, WrongSeries, joined, keyed_rows
from tsdb.model.batch import REASONS, STALE_NAN, Appended, Batch, Exemplar, KnownRows, Metadata
from tsdb.model.errors import ScrapeRefused
from tsdb.model.labels import METRIC_NAME, canonical_key

__all__ = ["Exemplars", "Scrape", "ScrapeRefused", "SeriesLimits", "TargetSeries"]

KERNELS = (kernels.read_lines, read_series, rebuild_cache, write_records, convert_histograms, link_created)
"""What scrapes call: to be loaded before, since a kernel that still compiles holds up who calls it."""
METADATA_SCRAPES = 10
"""Metadata is remembered for so many scrapes after its last line, as in Prometheus."""
_NO_ENTRIES = np.empty(0, np.int64)
_NO_ROWS = KeyedRows(np.empty(0, np.uint8), np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint32))


@dataclass(slots=True)
class _Sent:
    """The last batch: what its verdict is for."""

    scrape: Scrape | None
    entries: NDArray[np.int64]
    """Of its keyed rows."""
    reports_keyed: bool
    tracked: NDArray[np.uint8] | None
    """As before it; None: nothing changed."""
    last: int
    """The scrape that succeeded before it."""


class TargetSeries:
    """What is remembered of one target between scrapes. For one scrape at a time, from any thread."""

    def __init__(self, secret: NDArray[np.uint64], labels: Mapping[str, str], *, reports: Sequence[str],
                 honor_labels: bool, limits: SeriesLimits, histograms: HistogramOptions | None = None,
                 relabel: Callable[[dict[str, str]], dict[str, str] | None] | None = None) -> None:
        """`secret` u64[2] is that of the storage. `labels` are the target's and go to each series; of a label that both
        have, the series' goes on as ``exported_<name>``, or wins with `honor_labels`. `reports`: names of the series
        about scrapes, with the target's labels only. `relabel`: metric_relabel_configs, called once for each new text
        of a series with all its labels; None drops it."""
        self._sample_limit = limits.sample_limit
        self._histograms = histograms or HistogramOptions()
        self._keys = SeriesKeys(secret, labels, honor_labels, limits, relabel)
        self._cache = SeriesCache(secret)
        self._created = CreatedLines(self._cache)
        self._refused = RefusedSeries(self._cache)
        self._lock = threading.Lock()
        self._reports = _report_rows(secret, labels, reports)
        self._report_slots = KnownRows(np.full(len(reports), UNKNOWN_SLOT, np.int32), np.zeros(len(reports), np.uint64))
        self._reports_known = not reports
        self._format = Format.TEXT
        self._track_staleness = False
        self._number = 0  # of the last scrape
        self._last = 0  # of the last that succeeded, and how many entries and samples it had
        self._live = 0
        self._samples = 0
        self._tracked = 0  # entries whose disappearance is to be marked
        self._sent: _Sent | None = None
        self._exemplars = np.empty(0, np.uint64)  # what those of the last scrape that had any are known by
        self._carried_added = 0  # of a batch that was not written
        self._carried_metadata: list[Metadata] = []

    @property
    def memory(self) -> int:
        """Bytes of what is remembered, without this object itself."""
        return self._cache.memory + self._created.memory + self._refused.memory

    @property
    def metadata(self) -> Mapping[str, Metadata]:
        """By family, as lines of the last scrapes have it."""
        return self.read_metadata({})

    def read_metadata(self, known: dict[bytes, Mapping[str, Metadata]]) -> Mapping[str, Metadata]:
        """The same; `known` is what lines of other targets were found to say, for them all: most have the same."""
        with self._lock:
            texts, formats = cached_texts(self._cache, self._last - METADATA_SCRAPES)
        key = b"\n".join([formats, *texts])
        if key not in known:
            known[key] = families(read_lines(texts, formats))
        return known[key]

    def parse(self, body: bytes, format: Format, ts: int, *, honor_timestamps: bool = True,
              track_staleness: bool = False) -> Scrape:
        """Reads the body of a scrape at `ts` (ms). Without `honor_timestamps` times in it are ignored;
        `track_staleness`: series with times of their own get stale markers too.

        Raises ScrapeRefused, a BadRequest that names the line, where a line is wrong or a limit is exceeded.
        """
        with self._lock:
            self._begin(format)
            self._track_staleness = track_staleness
            first_new = self._cache.count
            made = transcoded(body, self._histograms) if format is Format.PROTOBUF else Readable((Part(body, format),))
            if self._histograms.convert:
                made = converted(made, self._histograms.wanted)
            lines = made.parts[0].data if format is Format.PROTOBUF else body
            arrays, code = self._read(made, len(body), ts, honor_timestamps)
            state = arrays.state.tolist()
            if code == kernels.DONE and not state[kernels.NEW] and not state[kernels.LINES] \
                    and not state[kernels.ODD] and not state[kernels.EXEMPLARS]:
                metadata: list[Metadata] = []
                keyed = None
            else:
                metadata, keyed = self._look_at_new(lines, arrays, code, first_new)
            if format is Format.OPENMETRICS:
                self._created.note_start_times(arrays, self._number)
            scrape = Scrape(
                state[kernels.SCRAPED], state[kernels.KEPT], state[kernels.ADDED] + self._carried_added,
                state[kernels.REPEATED], None, self._carried_metadata + metadata, self._number, state[kernels.SAMPLES],
                state[kernels.KNOWN], state[kernels.EXPLICIT], state[kernels.AGAIN], state[kernels.LIVE], arrays,
                payload=made.payload,
            )
            if keyed is not None:
                self._add_new(scrape, keyed)
            if state[kernels.EXEMPLARS] and (found := exemplars_of(arrays, ts)) is not None:
                scrape.exemplars = found
                scrape.new_exemplars, scrape.exemplars_known_by = new_exemplars(
                    found, arrays.entry, self._cache, body, format, self._exemplars
                )
            if self._sample_limit:
                self._check_sample_limit(scrape, first_new)
            if made.over_limit:
                raise ScrapeRefused("histogram bucket limit exceeded", scraped=scrape.scraped, kept=scrape.kept,
                                    added=scrape.added)
            self._carried_added, self._carried_metadata = 0, []
            return scrape

    def batch(self, scrape: Scrape | None, ts: int, reports: Sequence[float]) -> Batch:
        """The samples of a scrape, stale markers at `ts` (ms) for what the last one had and this one has not, and the
        report samples. None: a scrape that failed, markers for all."""
        bits = np.array(reports, np.float64).view(np.uint64)
        batch = self._samples_batch(scrape, ts, bits)
        if scrape is not None and scrape.keyed is not None and batch.row_hash.size == scrape.keyed.row_hash.size:
            batch.refused = self._refused.for_limits(scrape.keyed)
        if scrape is not None and scrape.new_exemplars:
            batch.exemplars = [Exemplar(int(batch.sample_row[each.sample]), each.labels, each.value, each.ts)
                               for each in scrape.new_exemplars]
        return batch

    def _samples_batch(self, scrape: Scrape | None, ts: int, bits: NDArray[np.uint64]) -> Batch:
        """Samples of the scrape first. `bits`: of the reports."""
        if scrape is None:
            return self._composed(None, self._end_tracking(), ts, bits)
        sent = self._sent = _Sent(scrape, scrape.keyed_entries, False, None, self._last)
        self._last, self._live = scrape.number, scrape.live
        if scrape.keyed is None and not scrape.explicit and scrape.again == self._tracked == scrape.samples:
            if self._reports_known:
                return self._usual(scrape, ts, bits)
            return self._composed(scrape, _NO_ENTRIES, ts, bits)
        cache = self._cache
        now = np.zeros(cache.count, np.uint8)
        now[self._trackable(scrape)] = 1
        sent.tracked = cache.tracked[: cache.count].copy()
        self._track(now)
        gone = np.flatnonzero(sent.tracked > now)
        if gone.size:
            here = cache.fields[np.flatnonzero(now), SLOT]
            gone = _each_series_once(gone[~np.isin(cache.fields[gone, SLOT], here[here >= 0])], cache)
        return self._composed(scrape, gone, ts, bits)

    def end(self, ts: int) -> Batch | None:
        """Stale markers for all that the target had, the reports too: it is gone. None where it never had anything."""
        gone = self._end_tracking()
        if not gone.size and not self._reports_known:
            return None
        batch = self._composed(None, gone, ts, np.full(self._report_slots.slot.size, STALE_NAN, np.uint64))
        batch.discard_late = True  # where the target is back, they would cut its series in two
        return batch

    def appended(self, appended: Appended) -> list[int]:
        """Takes the verdict on the last batch: remembers where its new series are. Returns how many of the body's own
        samples were refused, by code of `tsdb.model.batch.REASONS`: markers and reports that come too late are nobody's
        concern."""
        sent, self._sent = self._sent, None
        if sent is None:
            return [0] * len(REASONS)
        keyed, cache, new = appended.keyed, self._cache, sent.entries.size
        if keyed is not None and keyed.slot.size:
            cache.fields[sent.entries, SLOT] = keyed.slot[:new]
            cache.refs[sent.entries] = keyed.ref[:new]
            if sent.reports_keyed:
                self._report_slots = KnownRows(keyed.slot[new:].copy(), keyed.ref[new:].copy())
                self._reports_known = bool((self._report_slots.slot >= 0).all())
        scrape = sent.scrape
        if scrape is not None and scrape.keyed is not None and keyed is not None:
            self._refused.remember(scrape.keyed_entries, scrape.keyed, appended)
        if scrape is not None and scrape.exemplars_known_by is not None:
            self._exemplars = scrape.exemplars_known_by
        if scrape is None or not appended.rejected:
            return [0] * len(REASONS)
        codes = appended.codes[: scrape.samples]
        taken = np.zeros(cache.count, np.uint8)
        taken[self._trackable(scrape, (codes == 0) | (scrape.arrays.row[: scrape.samples] >= scrape.known))] = 1
        self._track(cache.tracked[: cache.count] & taken)
        counts: list[int] = np.bincount(codes, minlength=len(REASONS)).tolist()
        return counts

    def forget(self) -> None:
        """After ForgottenSeries: the last batch was not written. Parse the body again, and the batch will have keys."""
        self._cache.forget_slots()
        self._reports_known = not self._report_slots.slot.size
        sent = self._sent
        if sent is not None:
            self._last = sent.last
            if sent.tracked is not None:
                self._track(sent.tracked)
            if sent.scrape is not None:
                self._carried_added = sent.scrape.added

    def _begin(self, format_: Format) -> None:
        """Prepares for the next scrape: forgets lines that are gone for good."""
        cache = self._cache
        if self._sent is not None and self._sent.scrape is not None:
            self._carried_metadata = self._sent.scrape.metadata
        self._sent = None
        dead = cache.count - 1 - self._live
        failed = self._number != self._last
        if dead > (self._live + 1000 if failed else self._live // 4 + 64):
            seen = cache.fields[: cache.count, SEEN]
            gone = np.where(cache.flagged(METADATA), seen <= self._last - METADATA_SCRAPES, seen != self._number)
            gone[0] = False
            cache.drop(gone)
            self._tracked = int(np.count_nonzero(cache.tracked[: cache.count]))
        if not failed and cache.slack > 1.25:
            cache.trim()
        self._number += 1
        if format_ is not self._format:
            self._format = format_
            cache.forget_slots()
            self._refused.forget()
            cache.fields[np.flatnonzero(cache.flagged(METADATA)), SEEN] = -1

    def _read(self, made: Readable, size: int, ts: int, honor_timestamps: bool) -> tuple[ScrapeArrays, int]:
        """Runs the kernel over what is to be read of a body of `size`. Returns its output, and DONE or its error."""
        cache = self._cache
        first = cache.count == 1
        if first:
            cache.reserve(size // 64 + 64, size // 2 + 512)
        reports = self._report_slots.slot.size
        arrays = ScrapeArrays((size // 64 if first else self._samples + self._samples // 64) + reports + 8, first,
                              made.started)
        state = arrays.state
        state[kernels.ENTRIES] = cache.count
        state[kernels.NOW : kernels.OWN_TIMES + 1] = self._number, self._last, ts, honor_timestamps
        for part in made.parts:
            data, filled = np.frombuffer(part.data, np.uint8), [int(state[each]) for each in FILLED]
            state[kernels.AT] = 0
            while True:
                code = kernels.read_lines(data, part.format.value, cache.secret, cache.texts, cache.fields, cache.refs,
                                          cache.tracked, cache.table, arrays.entry, arrays.row, arrays.ts,
                                          arrays.values, arrays.explicit, arrays.start_ts, arrays.slot, arrays.ref,
                                          arrays.new, arrays.lines, arrays.odd, arrays.exemplars, state)
                cache.count = int(state[kernels.ENTRIES])
                if code <= kernels.DONE:
                    break
                if code == kernels.MORE_ROOM:
                    arrays.grow()
                else:
                    most = cache.text_bytes + data.size - int(state[kernels.AT])
                    cache.reserve(2 * cache.count + 64, min(most, 2 * cache.texts.size + 4096))
            arrays.relocate(filled, part, size)
            if code < kernels.DONE:
                break
        self._samples = int(state[kernels.SAMPLES])
        if arrays.values.size - self._samples < reports:
            arrays.grow(reports)
        cache.fields[arrays.new[: state[kernels.NEW], 0], SLOT] = UNKNOWN_SLOT
        return arrays, code

    def _look_at_new(self, body: bytes, arrays: ScrapeArrays, code: int,
                     first_new: int) -> tuple[list[Metadata], KeyedRows | None]:
        """Metadata that the last scrape had not, and keys of series without a slot. Raises ScrapeRefused."""
        cache, state = self._cache, arrays.state
        new, lines = arrays.new[: state[kernels.NEW]], arrays.lines[: state[kernels.LINES]]
        flags = cache.fields[lines[:, 0], FLAGS] & ~(FORMAT_MASK << FORMAT_SHIFT)
        cache.fields[lines[:, 0], FLAGS] = flags | self._format.value << FORMAT_SHIFT
        said, problems, keyed = [], [], None
        for (entry, at, scraped, kept), text in zip(lines.tolist(), cache.text(lines[:, 0]), strict=True):
            try:
                said.append(read_line(text, self._format))
            except ValueError as problem:
                problems.append(Problem(at, str(problem), scraped, kept, entry))
        try:
            if new.size:
                keyed = self._refused.keys_of(new[:, 0], self._keys_of)
        except WrongSeries as problem:
            entry, at, scraped, kept = new[problem.row, :4].tolist()
            problems.append(Problem(at, str(problem), scraped + problem.parsed, kept, entry))
        problems += number_problems(body, self._format, arrays)
        problems += exemplar_problems(body, self._format, arrays, self._keys)
        if code < 0:
            problems.append(kernel_problem(body, self._format, arrays, code, self._keys))
        if problems:
            cache.fields[lines[:, 0], SEEN] = -1  # to be told with the next scrape
            self._drop_from(min((each.entry for each in problems if each.entry >= first_new), default=cache.count))
            before = new[:, 1] < min(problem.at for problem in problems)
            raise_first(body, self._format, problems, int(state[kernels.ADDED] + new[before, 5].sum()))
        return metadata_of(said, cache, self._last - METADATA_SCRAPES), keyed

    def _keys_of(self, entries: NDArray[np.int64]) -> KeyedRows:
        """Keys of entries. Raises WrongSeries."""
        fields = self._cache.fields
        formats = fields[entries, FLAGS] >> FORMAT_SHIFT & FORMAT_MASK
        borders = np.flatnonzero(formats[1:] != formats[:-1]) + 1
        if borders.size:  # converted histograms are records
            made: list[KeyedRows] = []
            for begin, some in zip((0, *borders.tolist()), np.split(entries, borders), strict=True):
                try:
                    made.append(self._keys_of(some))
                except WrongSeries as problem:
                    problem.row += begin
                    raise
            return joined(made)
        begins = fields[entries, OFFSET].astype(np.int64)
        types = fields[entries, FLAGS] >> TYPE_SHIFT & TYPE_MASK
        return self._keys.read(self._cache.texts, begins, fields[entries + 1, OFFSET] - begins, types.astype(np.uint8),
                               int(formats[0]))

    def _add_new(self, scrape: Scrape, keyed: KeyedRows) -> None:
        """Takes series without a slot into a scrape, without what relabeling drops."""
        cache, arrays, samples = self._cache, scrape.arrays, scrape.samples
        new = arrays.new[: keyed.row_length.size]
        left = keyed.row_length > 0
        fresh = arrays.row[:samples] >= kernels.NEW_ROW
        rows = arrays.row[:samples][fresh] - kernels.NEW_ROW
        arrays.row[:samples][fresh] = scrape.known + np.cumsum(left)[rows] - 1
        if not left.all():
            cache.fields[new[~left, 0], FLAGS] |= DROPPED
            keep = np.ones(samples, np.bool_)
            keep[fresh] = left[rows]
            scrape.samples = int(np.count_nonzero(keep))
            scrape.kept -= samples - scrape.samples
            arrays.keep(keep)
            new, keyed = new[left], keyed.some(left)
        scrape.added += int(new[:, 5].sum())
        scrape.keyed, scrape.keyed_entries = keyed, new[:, 0]

    def _check_sample_limit(self, scrape: Scrape, first_new: int) -> None:
        limit, values = self._sample_limit, scrape.arrays.values[: scrape.samples]
        counted = np.flatnonzero(values != STALE_NAN) if scrape.samples > limit else values
        if counted.size <= limit:
            return
        beyond = scrape.arrays.entry[counted[limit] : scrape.samples]
        self._drop_from(int(beyond[beyond >= first_new].min(initial=self._cache.count)))
        added = scrape.added - int(np.count_nonzero(scrape.keyed_entries >= self._cache.count))
        raise ScrapeRefused("sample limit exceeded", scraped=scrape.scraped, kept=scrape.kept, added=added)

    def _drop_from(self, entry: int) -> None:
        if entry < self._cache.count:
            self._cache.drop(np.arange(self._cache.count) >= entry)
            self._cache.trim()

    def _trackable(self, scrape: Scrape, some: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
        """Entries of samples (only of those in `some`, bool[samples]) that count for staleness."""
        entries = scrape.arrays.entry[: scrape.samples]
        if scrape.explicit and not self._track_staleness:
            own = scrape.arrays.explicit[: scrape.samples] == 0
            some = own if some is None else own & some
        return entries if some is None else entries[some]

    def _track(self, now: NDArray[np.uint8]) -> None:
        """now u8[entries]: 1 where the disappearance of the series is to be marked from now on."""
        self._cache.tracked[: now.size] = now
        self._cache.tracked[now.size : self._cache.count] = 0
        self._tracked = int(np.count_nonzero(now))

    def _end_tracking(self) -> NDArray[np.int64]:
        """Entries, one for each series, that are to be marked, since the scrape failed."""
        cache = self._cache
        tracked = cache.tracked[: cache.count].copy()
        self._sent = _Sent(None, _NO_ENTRIES, False, tracked, self._last)
        self._track(np.zeros(0, np.uint8))
        return _each_series_once(np.flatnonzero(tracked), cache)

    def _usual(self, scrape: Scrape, ts: int, reports: NDArray[np.uint64]) -> Batch:
        """The batch of a scrape with the series of the last one: its arrays, and reports behind."""
        arrays, begin, end = scrape.arrays, scrape.samples, scrape.samples + reports.size
        arrays.slot[begin:end] = self._report_slots.slot
        arrays.ref[begin:end] = self._report_slots.ref
        arrays.row[begin:end] = np.arange(begin, end)
        arrays.ts[begin:end] = ts
        arrays.values[begin:end] = reports
        arrays.start_ts[begin:end] = 0
        none = _NO_ROWS
        return Batch(none.keys, none.row_hash, none.row_offset, none.row_length, arrays.row[:end], arrays.ts[:end],
                     arrays.values[:end], scrape.metadata, KnownRows(arrays.slot[:end], arrays.ref[:end]),
                     payload=scrape.payload, start_ts=arrays.start_ts[:end] if arrays.start_ts.size else None)

    def _composed(self, scrape: Scrape | None, gone: NDArray[np.int64], ts: int, reports: NDArray[np.uint64]) -> Batch:
        """Any batch: samples of a scrape, stale markers of entries that are gone, reports (bits)."""
        cache, sent = self._cache, self._sent
        assert sent is not None
        reports_known = self._reports_known
        lost = gone[cache.fields[gone, SLOT] < 0]  # to be named again
        gone = gone[cache.fields[gone, SLOT] >= 0]
        known = [KnownRows(cache.fields[gone, SLOT], cache.refs[gone])]
        keyed: list[KeyedRows] = []
        entries = [_NO_ENTRIES]
        if scrape is not None:
            known.insert(0, KnownRows(scrape.arrays.slot[: scrape.known], scrape.arrays.ref[: scrape.known]))
            if scrape.keyed is not None:
                keyed.append(scrape.keyed)
                entries.append(scrape.keyed_entries)
        for format_ in Format if lost.size else ():
            some = lost[cache.fields[lost, FLAGS] >> FORMAT_SHIFT & FORMAT_MASK == format_.value]
            if some.size:
                rows = self._keys_of(some)
                entries.append(some[rows.row_length > 0])
                keyed.append(rows.some(rows.row_length > 0))
        if reports_known:
            known.append(self._report_slots)
        else:
            keyed.append(self._reports)
        sent.entries = np.concatenate(entries)
        sent.reports_keyed = not reports_known
        lost_rows = sent.entries.size - (0 if scrape is None else scrape.keyed_entries.size)
        return join(scrape, known, keyed, gone.size, lost_rows, ts, reports, reports_known)


def _each_series_once(entries: NDArray[np.int64], cache: SeriesCache) -> NDArray[np.int64]:
    """Those entries whose series no other in front of them is, as far as its slot is known."""
    slots = cache.fields[entries, SLOT].astype(np.int64)
    _, first = np.unique(np.where(slots >= 0, slots, -1 - entries), return_index=True)
    return entries[np.sort(first)]


def _report_rows(secret: NDArray[np.uint64], labels: Mapping[str, str], names: Sequence[str]) -> KeyedRows:
    """Rows of the series about scrapes, with the target's labels as Prometheus gives them to these."""
    keys = []
    for name in names:
        made = {METRIC_NAME: name}
        for label, value in sorted(labels.items()):
            made.pop("exported_" + label, None)
            made[label] = value
        keys.append(canonical_key(made))
    return keyed_rows(secret, keys)
