"""Samples to windows: the kernel beside its twin, and blocks of windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import make_batch
from tsdb.kernels.window_kernels import windows
from tsdb.model.batch import STALE_NAN
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiers import Field
from tsdb.storage import Storage
from tsdb.storage.block import Block, block_paths
from tsdb.storage.tiers.building import build_tier_block
from tsdb.storage.tiers.fields import DENSE, FIELD_LABEL, FIELDS, SPARSE
from tsdb.wal.files import LocalFileSystem

HOUR, MINUTE = 3_600_000, 60_000
Samples = Sequence[tuple[int, int]]
"""(ms, bits), in order of time."""
Windows = dict[int, dict[Field, float]]
"""By their ends."""


def bits(value: float) -> int:
    return int(np.float64(value).view(np.uint64))


def twin(samples: Samples, after: int, through: int, resolution: int) -> Windows:
    by_end: dict[int, list[tuple[int, int]]] = {}
    for ts, value in samples:
        if after < ts <= through:
            by_end.setdefault(-(-ts // resolution) * resolution, []).append((ts, value))
    found: Windows = {}
    for end, members in by_end.items():
        stale = members[-1][1] == STALE_NAN
        live = [(ts, float(np.uint64(value).view(np.float64))) for ts, value in members if value != STALE_NAN]
        fields = dict.fromkeys(FIELDS, 0.0) | {Field.STALE: float(stale)}
        if live:
            values = [value for _, value in live]
            numbers = [value for value in values if not math.isnan(value)] or [math.nan]
            pairs = [(a, b) for a, b in pairwise(values) if b < a]
            fields |= {
                Field.COUNT: len(live), Field.SUM: exact_sum(values), Field.MIN: min(numbers),
                Field.MAX: max(numbers), Field.FIRST: values[0], Field.FIRST_TS: live[0][0] - end + resolution,
                Field.LAST: values[-1], Field.LAST_TS: live[-1][0] - end + resolution,
                Field.RESETS: len(pairs), Field.LOST: sum(a for a, _ in pairs),
            }
        found[end] = fields
    return found


def exact_sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except ValueError:  # infinities of both signs
        return math.nan


def same(one: Windows, other: Windows) -> None:
    assert one.keys() == other.keys()
    for end, fields in one.items():
        for field, value in fields.items():
            got = other[end][field]
            if math.isnan(value) or (math.isinf(value) and field is Field.SUM):
                assert not math.isfinite(got), (end, field)
            else:
                assert got == pytest.approx(value, rel=1e-12, abs=1e-9), (end, field)


VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.integers(0, 100).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0])).map(bits) | st.just(STALE_NAN)


@settings(max_examples=80)
@given(st.lists(st.lists(st.tuples(st.integers(-3 * HOUR, 3 * HOUR), VALUES), max_size=40, unique_by=lambda s: s[0]),
                min_size=1, max_size=4),
       st.sampled_from([MINUTE, 5 * MINUTE, HOUR]), st.integers(-3, 0), st.integers(0, 3))
def test_windows(rows: list[list[tuple[int, int]]], resolution: int, first: int, last: int) -> None:
    rows = [sorted(row) for row in rows]
    ends = np.cumsum([len(row) for row in rows])
    ts = np.array([at for row in rows for at, _ in row], np.int64)
    values = np.array([value for row in rows for _, value in row], np.uint64).view(np.float64)
    begin, past = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    out_ts, out = np.empty(ts.size, np.int64), np.empty((len(FIELDS), ts.size))
    made = windows(ends - np.array([len(row) for row in rows]), ends, ts, values, first * HOUR, last * HOUR, resolution,
                   begin, past, out_ts, out)
    assert made == past[-1]
    for number, row in enumerate(rows):
        at = slice(int(begin[number]), int(past[number]))
        found = {int(end): dict(zip(FIELDS, map(float, column), strict=True))
                 for end, column in zip(out_ts[at], out[:, at].T, strict=True)}
        same(twin(row, first * HOUR, last * HOUR, resolution), found)


def test_first_and_last_keep_their_bits() -> None:
    odd = 0x7FF80000000000AB
    ts, values = np.array([1, 2], np.int64), np.array([odd, odd + 1], np.uint64).view(np.float64)
    out = np.empty((len(FIELDS), 2))
    windows(np.array([0]), np.array([2]), ts, values, 0, HOUR, HOUR, np.empty(1, np.int64), np.empty(1, np.int64),
            np.empty(2, np.int64), out)
    of = {field: out[number, :1].view(np.uint64)[0] for number, field in enumerate(FIELDS)}
    assert (of[Field.FIRST], of[Field.LAST]) == (odd, odd + 1)


def test_a_block_of_windows(tmp_path: Path) -> None:
    series = [{"__name__": "up", "job": job, "zone": zone} for job in "abc" for zone in ("", "x")]
    series = [{name: value for name, value in labels.items() if value} for labels in series]
    rng = np.random.default_rng(7)
    samples = [[(at + row, bits(float(rng.integers(0, 50)))) for at in range(0, 6 * HOUR, 45_000)]
               for row in range(len(series))]
    samples[1][20:40] = []
    samples[2][100] = samples[2][100][0], STALE_NAN
    samples[3][-1] = samples[3][-1][0], STALE_NAN
    with_storage(tmp_path, series, samples)
    fs = LocalFileSystem()
    blocks = [Block.open(fs, path) for path in block_paths(fs, tmp_path / "blocks", read_only=True)]
    meta = build_tier_block(fs, tmp_path / "tier", blocks, 5 * MINUTE, HOUR, 5 * HOUR)
    assert meta is not None and meta.tier is not None
    assert (meta.mint, meta.maxt, meta.tier.resolution_ms) == (HOUR + 1, 5 * HOUR + 1, 5 * MINUTE)
    assert set(meta.tier.raw) == {ulid for block in blocks for ulid in block.meta.compaction.sources}
    block = Block.open(fs, tmp_path / "tier" / meta.ulid)
    assert block.meta == meta
    for labels, own in zip(series, samples, strict=True):
        same(twin(own, HOUR, 5 * HOUR, 5 * MINUTE), stored(block, labels))
    assert build_tier_block(fs, tmp_path / "tier", blocks, HOUR, 9 * HOUR, 10 * HOUR) is None
    assert [path.name for path in block_paths(fs, tmp_path / "tier", read_only=True)] == [meta.ulid]
    for each in (*blocks, block):
        each.release()


def with_storage(path: Path, series: list[dict[str, str]], samples: list[list[tuple[int, int]]]) -> None:
    storage = Storage.open(path)
    batch = make_batch(storage.secret, series,
                       sorted((row, at, value) for row, own in enumerate(samples) for at, value in own))
    batch.history = True
    assert storage.submit(batch).result(60).rejected == 0
    storage.compact()
    storage.close()


def stored(block: Block, labels: dict[str, str]) -> Windows:
    matchers = [Matcher(MatchType.EQUAL, name, value) for name, value in labels.items()]
    if "zone" not in labels:
        matchers.append(Matcher(MatchType.EQUAL, "zone", ""))
    columns: dict[Field, dict[int, float]] = {}
    for field in FIELDS:
        rows = block.find([*matchers, Matcher(MatchType.EQUAL, FIELD_LABEL, field.value)])
        assert rows.size == (1 if field in DENSE else min(rows.size, 1))
        begin, end, ts, values = block.decode(block.chunk_ranges(rows, 0, 1 << 60), 0, rows.size)
        columns[field] = dict(zip(ts[: end[-1]].tolist(), values[: end[-1]].view(np.float64).tolist(), strict=True)
                              ) if rows.size else {}
        assert begin.size == rows.size
    ends = columns[Field.COUNT]
    assert all(columns[field].keys() == ends.keys() for field in DENSE)
    assert all(columns[field].keys() <= ends.keys() for field in SPARSE)
    return {end: {field: columns[field].get(end, 0.0) for field in FIELDS} for end in ends}
