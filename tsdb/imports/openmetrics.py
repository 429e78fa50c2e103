"""OpenMetrics, and the text format of Prometheus, with a time for every sample.

As `promtool tsdb create-blocks-from openmetrics`, but that samples may come in any order. Lines go through the kernel
that scrapes go through, a slice of a file after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tsdb.imports.files import count_lines, slices_of_lines
from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.series_rows import FULL, SeriesRows
from tsdb.ingest.decoded import IngestLimits
from tsdb.ingest.exposition import exposition_kernels as kernels
from tsdb.ingest.exposition import line_kernels as lines
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.metadata_lines import read_line
from tsdb.ingest.exposition.scrape import ScrapeArrays
from tsdb.ingest.exposition.scrape_problems import (
    REASONS,
    Problem,
    excerpt,
    kernel_problem,
    number_problems,
)
from tsdb.ingest.exposition.series_cache import SeriesCache
from tsdb.ingest.exposition.series_cache_kernels import DROPPED, FLAGS, OFFSET, SLOT, TYPE_MASK, TYPE_SHIFT
from tsdb.ingest.exposition.series_keys import KeyedRows, SeriesKeys, SeriesLimits, WrongSeries
from tsdb.model.batch import Batch
from tsdb.model.errors import WrongInput

LONGEST_LINE = 1 << 20
MULTILINE = 2 * IngestLimits().max_key_bytes
"""In the text format quoted text may have line feeds: a line that begins no further from a slice's end may go on."""
EXEMPLARS = "exemplars: blocks have none"
INVALID = "invalid lines"
NO_TIME = "the sample has no timestamp"


def read(path: Path, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress,
         format: Format = Format.OPENMETRICS, skip_invalid: bool = False, name: str = "") -> Iterator[Batch]:
    """All samples of a file in the format OPENMETRICS (times in seconds) or TEXT (ms), which may be compressed. Lines
    that are wrong, or have no time, raise WrongInput with their number, or with `skip_invalid` are counted; an
    OPENMETRICS that does not end with # EOF is wrong in any case. `name` is that of the file to people."""
    reader = _Lines(secret, format, name or str(path), left_out, skip_invalid)
    waiting: bytes | None = None  # one slice behind: the last one may end without a line feed
    for piece in slices_of_lines(path, progress, longest=LONGEST_LINE):
        if waiting is not None:
            yield from reader.read(waiting, last=False)
        waiting = reader.rest + piece
    yield from reader.read(waiting or b"", last=True)


class _Lines:
    """What is remembered from slice to slice."""

    def __init__(self, secret: NDArray[np.uint64], format_: Format, name: str, left_out: LeftOut, skip: bool) -> None:
        self.rest = b""
        """Of the last slice: a line that goes on."""
        self._secret = secret
        self._format = format_
        self._name = name
        self._left_out = left_out
        self._skip = skip
        self._keys = SeriesKeys(secret, {}, True, SeriesLimits(), None)
        self._before = 0  # lines in slices before
        self._ended = False
        self._samples = 1024  # of the last slice
        self._start()

    def _start(self) -> None:
        self._cache = SeriesCache(self._secret)
        self._rows = SeriesRows()
        self._previous, self._type = 0, 0

    def read(self, data: bytes, *, last: bool) -> Iterator[Batch]:
        """Samples of a slice. Raises WrongInput."""
        if self._ended and data:
            self._refuse(data, 0, REASONS[lines.BEHIND_EOF])
        arrays, problems, end = self._run(data, last=last)
        state, samples = arrays.state, int(arrays.state[kernels.SAMPLES])
        keep = arrays.explicit[:samples] != 0
        timeless = samples - int(np.count_nonzero(keep)) + int(state[kernels.REPEATED])
        problems += self._metadata_problems(arrays)
        wrong = len(problems) + int(state[kernels.REPEATED] + state[kernels.SCRAPED] - state[kernels.KEPT])
        numbers, unnamed = self._numbers(arrays, samples, keep)
        problems += unnamed
        if state[kernels.ODD]:
            problems += self._odd_numbers(data, arrays, keep)
        if timeless and not self._skip:
            problems.append(Problem(self._timeless_line(data), NO_TIME, 0, 0))
        if problems and not self._skip:
            first = min(problems, key=lambda problem: problem.at)
            self._refuse(data, first.at, first.reason)
        if last and self._format is Format.OPENMETRICS and not self._ended:
            self._refuse(data, len(data), REASONS[lines.NO_EOF])
        self._left_out.count(INVALID, wrong + samples - int(np.count_nonzero(keep)))
        self._left_out.count(EXEMPLARS, int(state[kernels.EXEMPLARS]))
        self.rest = data[end:]
        self._before += count_lines(data, end)
        if keep.any():
            yield self._rows.batch(numbers[keep], arrays.ts[:samples][keep], arrays.values[:samples][keep])
        if self._rows.full or self._cache.text_bytes > FULL:
            self._start()

    def _run(self, data: bytes, *, last: bool) -> tuple[ScrapeArrays, list[Problem], int]:
        """(what the kernel says, lines it could not read, how much of the slice was read)."""
        cache, body = self._cache, np.frombuffer(data, np.uint8)
        arrays = ScrapeArrays(self._samples + self._samples // 8 + 64, cache.count == 1, False)
        state = arrays.state
        state[kernels.ENTRIES], state[kernels.PREVIOUS], state[kernels.TYPE] = cache.count, self._previous, self._type
        state[kernels.NOW], state[kernels.OWN_TIMES] = 1, kernels.EXACT
        problems: list[Problem] = []
        end = len(data)
        while True:
            code = int(kernels.read_lines(body, self._format.value, cache.secret, cache.texts, cache.fields, cache.refs,
                                          cache.tracked, cache.table, arrays.entry, arrays.row, arrays.ts,
                                          arrays.values, arrays.explicit, arrays.start_ts, arrays.slot, arrays.ref,
                                          arrays.new, arrays.lines, arrays.odd, arrays.exemplars, state))
            cache.count = int(state[kernels.ENTRIES])
            at = int(state[kernels.AT])
            if code == kernels.DONE or (code == lines.NO_EOF and at == len(data)):
                break
            if code == kernels.MORE_ROOM:
                arrays.grow()
            elif code == kernels.MORE_ENTRIES:
                most = cache.text_bytes + len(data) - at
                cache.reserve(2 * cache.count + 64, min(most, 2 * cache.texts.size + 4096))
            elif code == lines.BAD_LABELS and self._format is Format.TEXT and not last and end - at < MULTILINE:
                end = at
                break
            else:
                problems.append(kernel_problem(data, self._format, arrays, code, self._keys))
                if not self._skip:
                    break
                state[kernels.AT] = data.find(b"\n", at) + 1 or len(data)
        self._ended = self._format is Format.OPENMETRICS and code == kernels.DONE
        self._previous, self._type = int(state[kernels.PREVIOUS]), int(state[kernels.TYPE])
        self._samples = int(state[kernels.SAMPLES])
        return arrays, problems, end

    def _metadata_problems(self, arrays: ScrapeArrays) -> list[Problem]:
        """Lines with HELP, TYPE or UNIT that are wrong."""
        problems = []
        found = arrays.lines[: arrays.state[kernels.LINES]]
        for at, text in zip(found[:, 1].tolist(), self._cache.text(found[:, 0]), strict=True):
            try:
                read_line(text, self._format)
            except ValueError as problem:
                problems.append(Problem(at, str(problem), 0, 0))
        return problems

    def _numbers(self, arrays: ScrapeArrays, samples: int, keep: NDArray[np.bool_],
                 ) -> tuple[NDArray[np.int64], list[Problem]]:
        """(numbers i64[samples] of the samples' series, series that are wrong). What is of a wrong one is taken out of
        `keep`, and later lines with it are passed over."""
        cache, new = self._cache, arrays.new[: arrays.state[kernels.NEW]]
        of_new = np.full(len(new), -1, np.int64)
        problems, begin = [], 0
        while begin < len(new):
            end = len(new)
            try:
                keyed = self._keys_of(new[begin:, 0])
            except WrongSeries as problem:
                end = begin + problem.row
                problems.append(Problem(int(new[end, 1]), str(problem), 0, 0))
                cache.fields[new[end, 0], FLAGS] |= DROPPED
                keyed = self._keys_of(new[begin:end, 0])
            of_new[begin:end] = np.arange(end - begin) + self._rows.add(keyed)
            begin = end + 1
        cache.fields[new[:, 0], SLOT] = of_new
        row = arrays.row[:samples]
        fresh = row >= kernels.NEW_ROW
        numbers = np.empty(samples, np.int64)
        numbers[~fresh] = arrays.slot[row[~fresh]]
        numbers[fresh] = of_new[row[fresh] - kernels.NEW_ROW]
        keep &= numbers >= 0
        return numbers, problems

    def _keys_of(self, entries: NDArray[np.int64]) -> KeyedRows:
        fields = self._cache.fields
        begins = fields[entries, OFFSET].astype(np.int64)
        types = fields[entries, FLAGS] >> TYPE_SHIFT & TYPE_MASK
        return self._keys.read(self._cache.texts, begins, fields[entries + 1, OFFSET] - begins, types.astype(np.uint8),
                               self._format.value)

    def _odd_numbers(self, data: bytes, arrays: ScrapeArrays, keep: NDArray[np.bool_]) -> list[Problem]:
        """Reads numbers with many digits. Samples with one that is out of range are taken out of `keep`."""
        for kind, row, at, length in arrays.odd[: arrays.state[kernels.ODD]].tolist():
            if kind in (lines.ODD_VALUE, lines.ODD_TIME) and row >= 0 and isinf(float(data[at : at + length])):
                keep[row] = False
        return number_problems(data, self._format, arrays)

    def _timeless_line(self, data: bytes) -> int:
        """Where in a slice the first sample without a time is."""
        at, skip, self._skip = 0, self._skip, True
        for line in data.splitlines(keepends=True):
            arrays, _, _ = self._run(line, last=False)
            if arrays.state[kernels.REPEATED] or not arrays.explicit[: arrays.state[kernels.SAMPLES]].all():
                break
            at += len(line)
        self._skip = skip
        return at

    def _refuse(self, data: bytes, at: int, reason: str) -> NoReturn:
        line = self._before + count_lines(data, at) + 1
        raise WrongInput(f"{self._name}: line {line}: {reason}{excerpt(data, self._format, at)}")
