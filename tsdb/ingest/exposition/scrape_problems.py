"""What is wrong with a scraped body: the first wrong line refuses all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsdb.ingest.exposition import exposition_kernels as kernels
from tsdb.ingest.exposition import line_kernels as lines
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.label_kernels import EXEMPLAR
from tsdb.ingest.exposition.scrape import ScrapeArrays
from tsdb.ingest.exposition.series_keys import SeriesKeys, WrongSeries
from tsdb.model.errors import ScrapeRefused

REASONS = {
    lines.NO_NAME: "expected a valid start token: a metric name is missing",
    lines.BAD_LABELS: "expected label name or brace close",
    lines.NO_VALUE: "expected value after metric",
    lines.BAD_VALUE: "the value is not a number",
    lines.BAD_TIMESTAMP: "the timestamp is not a number, or not one in range",
    lines.BEHIND: "expected next entry after value or timestamp",
    lines.NO_EOF: "data does not end with # EOF",
    lines.BEHIND_EOF: "unexpected data after # EOF",
    lines.BAD_EXEMPLAR: "expected value, and perhaps timestamp, after exemplar labels",
    lines.BAD_RECORD: "a record is cut off",
}
"""By error of `read_lines`."""

EXCERPT = 120


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong line."""

    at: int
    """Where in the body it begins."""
    reason: str
    scraped: int
    """Samples before it, its own too where it is one that can be read."""
    kept: int
    """Of those in front, what relabeling leaves."""
    entry: int = 0
    """The line's, where it was remembered."""


def kernel_problem(body: bytes, format_: Format, arrays: ScrapeArrays, code: int, keys: SeriesKeys) -> Problem:
    """What `read_lines` stopped at."""
    state = arrays.state
    at, reason = int(state[kernels.AT]), REASONS[code]
    if code == lines.BAD_LABELS:
        begin = int(state[kernels.WRONG])
        end = body.find(b"\n", begin)
        grammar = EXEMPLAR if format_ is Format.OPENMETRICS and begin > at else format_.value
        reason = _wrong_labels(body, begin, end if end >= 0 else len(body), grammar, keys) or reason
    return Problem(at, reason, int(state[kernels.SCRAPED]), int(state[kernels.KEPT]))


def number_problems(body: bytes, format_: Format, arrays: ScrapeArrays) -> list[Problem]:
    """Reads the numbers that `read_lines` left to us; those out of range are problems."""
    problems = []
    for kind, row, at, length in arrays.odd[: arrays.state[kernels.ODD]].tolist():
        value = float(body[at : at + length])
        if value in (float("inf"), float("-inf")):
            line = body.rfind(b"\n", 0, at) + 1
            before = max(row, 0)
            problems.append(Problem(line, "the value is out of range", before, before))
        elif row < 0:
            continue
        elif kind == lines.ODD_VALUE:
            arrays.values[row] = np.float64(value).view(np.uint64)
        elif kind == lines.ODD_TIME:
            arrays.ts[row] = milliseconds(value)
        elif kind == lines.ODD_EXEMPLAR:
            arrays.exemplars[row, lines.VALUE] = np.float64(value).view(np.int64)
        else:
            arrays.exemplars[row, lines.TIMESTAMP] = milliseconds(value)
    return problems


def exemplar_problems(body: bytes, format_: Format, arrays: ScrapeArrays, keys: SeriesKeys) -> list[Problem]:
    """The first exemplar whose labels are wrong."""
    rows = arrays.exemplars[: arrays.state[kernels.EXEMPLARS]]
    if format_ is not Format.OPENMETRICS or not rows.size:
        return []
    begins, lengths = rows[:, lines.LABELS_AT].copy(), rows[:, lines.LABELS_LENGTH].copy()
    try:
        keys.read(np.frombuffer(body, np.uint8), begins, lengths, np.zeros(begins.size, np.uint8), EXEMPLAR)
    except WrongSeries as problem:
        before = max(int(rows[problem.row, lines.ROW]), 0)
        return [Problem(body.rfind(b"\n", 0, int(begins[problem.row])) + 1, str(problem), before, before)]
    return []


def _wrong_labels(body: bytes, begin: int, end: int, grammar: int, keys: SeriesKeys) -> str:
    try:
        keys.read(np.frombuffer(body, np.uint8), np.array([begin]), np.array([end - begin]), np.zeros(1, np.uint8),
                  grammar)
    except WrongSeries as problem:
        return str(problem)
    return ""


def milliseconds(seconds: float) -> int:
    """Cut off, as in Go."""
    ms = seconds * 1000
    return int(ms) if -9.2e18 < ms < 9.2e18 else -(1 << 63)


def raise_first(body: bytes, format_: Format, problems: Sequence[Problem], added: int) -> None:
    """Raises ScrapeRefused for the first of the problems, naming line and excerpt; nothing where there are none."""
    if not problems:
        return
    first = min(problems, key=lambda problem: problem.at)
    line = body.count(b"\n", 0, first.at) + 1
    where = "" if format_ is Format.PROTOBUF else f"line {line}: "
    raise ScrapeRefused(f"{where}{first.reason}{excerpt(body, format_, first.at)}", scraped=first.scraped,
                        kept=first.kept, added=added)


def excerpt(body: bytes, format_: Format, at: int) -> str:
    """The line at `at`, for the end of a message; empty at the end of the body."""
    if at >= len(body):
        return ""
    if format_ is Format.PROTOBUF:
        length = int.from_bytes(body[at + 1 : at + 5], "little")
        text = body[at + 5 : at + 5 + min(length, 4 * EXCERPT)].replace(b"\xff", b" ").decode(errors="replace")
    else:
        end = body.find(b"\n", at, at + 4 * EXCERPT)
        text = body[at : end if end >= 0 else at + 4 * EXCERPT].decode(errors="replace")
    return f" while parsing: {text if len(text) <= EXCERPT else text[:EXCERPT] + '…'!r}"
