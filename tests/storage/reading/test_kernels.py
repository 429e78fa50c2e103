"""Kernels of reading beside slow, obvious twins."""

from __future__ import annotations

import hashlib
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.storage.block.plain import Labels
from tests.storage.reading.plain import Parts
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.labels import canonical_key
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import block_kernels, merge_kernels
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.join import HeadFingerprints, Join

LAST = (1 << 63) - 1
texts = st.text(max_size=12) | st.text("ab", max_size=40)
columns = st.dictionaries(st.integers(-20, 20) | st.sampled_from([-LAST, LAST]), st.integers(0, (1 << 64) - 1))


def laid_out(rows: list[dict[int, int]]) -> tuple[list[int], list[int], NDArray[np.int64], NDArray[np.uint64]]:
    flat = [sample for row in rows for sample in sorted(row.items())]
    ends = np.cumsum([0, *(len(row) for row in rows)]).tolist()
    return (ends[:-1], ends[1:], np.array([ts for ts, _ in flat], np.int64),
            np.array([value for _, value in flat], np.uint64))


def read_out(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
             ) -> list[list[tuple[int, int]]]:
    return [list(zip(ts[i:j].tolist(), values[i:j].tolist(), strict=True))
            for i, j in zip(begin.tolist(), end.tolist(), strict=True)]


@settings(max_examples=50)
@given(st.integers(1, 4).flatmap(lambda rows: st.lists(st.lists(columns, min_size=rows, max_size=rows), min_size=1,
                                                       max_size=5)))
def test_merge(sources: list[list[dict[int, int]]]) -> None:
    parts = [laid_out(rows) for rows in sources]
    k, rows = len(sources), len(sources[0])
    room = sum(part[2].size for part in parts)
    begin, end = np.empty(rows, np.int64), np.empty(rows, np.int64)
    ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
    merge_kernels.merge(
        np.array([part[0] for part in parts]), np.array([part[1] for part in parts]),
        np.array([part[2].ctypes.data for part in parts], np.uint64),
        np.array([part[3].ctypes.data for part in parts], np.uint64),
        np.empty(k, np.int64), np.empty(k, np.int64), begin, end, ts, values,
    )
    expected = []
    for row in range(rows):
        merged: dict[int, int] = {}
        for source in reversed(sources):
            merged.update(source[row])
        expected.append(sorted(merged.items()))
    assert read_out(begin, end, ts, values) == expected


spans = st.lists(st.integers(-21, 21), unique=True, max_size=6).map(
    lambda borders: [(low, high) for low, high in list(pairwise(sorted(borders)))[::2]])


@given(st.lists(st.tuples(columns, spans), min_size=1, max_size=4))
def test_drop_deleted(rows: list[tuple[dict[int, int], list[tuple[int, int]]]]) -> None:
    begin, end, ts, values = laid_out([samples for samples, _ in rows])
    past = np.cumsum([0, *(len(gone) for _, gone in rows)])
    flat = [each for _, gone in rows for each in gone]
    starts, stops = np.array(begin), np.array(end)
    merge_kernels.drop_deleted(
        starts, stops, ts, values, past[:-1].copy(), past[1:].copy(), np.array([low for low, _ in flat], np.int64),
        np.array([high for _, high in flat], np.int64),
    )
    assert read_out(starts, stops, ts, values) == [
        sorted((at, value) for at, value in samples.items() if not any(low <= at <= high for low, high in gone))
        for samples, gone in rows
    ]


@given(st.lists(st.lists(st.integers(0, 30) | st.integers(0, (1 << 64) - 1), max_size=20, unique=True), max_size=6))
def test_join(parts: list[list[int]]) -> None:
    """Fingerprints whose halves are equal often."""
    join = Join(new_secret())
    known: dict[tuple[int, int], int] = {}
    for part in parts:
        pairs = [(number // 5, number % 5) for number in part]
        expected = [known.setdefault(pair, len(known)) for pair in pairs]
        assert join.add(np.array(pairs, np.uint64).reshape(-1, 2)).tolist() == expected
        assert join.rows == len(known)


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 7), max_size=8, unique=True), min_size=1, max_size=4))
def test_by_row(blocks: list[list[int]]) -> None:
    every = [(row, b) for b, rows in enumerate(blocks) for row in rows]
    numbers = np.arange(len(every), dtype=np.int64)
    offsets, block = np.zeros(10, np.int64), np.empty(len(every), np.int32)
    begin, end = np.empty(len(every), np.int64), np.empty(len(every), np.int64)
    block_kernels.by_row(np.array([row for row, _ in every], np.int64), np.cumsum([len(rows) for rows in blocks]),
                         numbers, numbers + 1, offsets, block, begin, end)
    for row in range(8):
        part = slice(int(offsets[row]), int(offsets[row + 1]))
        wanted = [(b, number) for number, (at, b) in enumerate(every) if at == row]
        assert list(zip(block[part].tolist(), begin[part].tolist(), strict=True)) == wanted
        assert (end[part] == begin[part] + 1).all()


label_sets = st.dictionaries(texts.filter(bool), texts.filter(bool), max_size=4)


@settings(max_examples=40)
@given(st.lists(label_sets, min_size=1, max_size=6, unique_by=lambda labels: canonical_key(labels)), st.data())
def test_fingerprints_of_slots(series: list[dict[str, str]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder))
        slots = list(parts.slots([tuple(labels.items()) for labels in series]).values())
        fingerprints = HeadFingerprints(parts.head)
        for _ in range(2):
            chosen = data.draw(st.lists(st.sampled_from(range(len(series)))))
            found = fingerprints.of(np.array([slots[each] for each in chosen], np.int32))
            assert [row.tobytes() for row in found] == [
                hashlib.blake2b(canonical_key(series[each]), digest_size=16).digest() for each in chosen]
            parts.head.records["ref"][: len(series)] += np.uint64(100)  # as when slots are used again
        parts.close()


@settings(max_examples=40)
@given(st.lists(texts.filter(bool), max_size=5, unique=True), st.lists(st.lists(texts.filter(bool), min_size=1,
                                                                                max_size=80), max_size=3))
def test_symbols_of_blocks(in_head: list[str], in_blocks: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder))
        if in_head:
            parts.slots([tuple((text, text) for text in sorted(in_head, key=str.encode))])
        table = parts.head.table
        more = BlockTexts(table)
        symbols = QuerySymbols(table, more)
        parts.slots([(("came", "later"),)])
        limit = symbols.first_own
        for each in in_blocks:
            content: dict[Labels, list[list[tuple[int, int]]]] = {(("came", text),): [[(0, 0)]] for text in each}
            block = parts.write(content, 0, 10)
            ids = more.add(block, np.arange(len(block.symbols), dtype=np.int64), limit)
            spelled = [block.symbols.text(symbol) for symbol in range(len(block.symbols))]
            assert [symbols.text(symbol) for symbol in ids.tolist()] == spelled
            assert [symbols.find(text) for text in spelled] == ids.tolist()
            assert [symbol < limit for symbol in ids.tolist()] == [text in in_head for text in spelled]
            block.release()
        own = symbols.intern("only in the query")
        assert own == limit + more.symbols == symbols.find("only in the query")
        assert symbols.find("in nothing at all") == -1
        parts.close()


