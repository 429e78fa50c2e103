"""Kernels of the restart beside what they do, said in plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import make_batch
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.labels import canonical_key
from tsdb.storage.head import layout
from tsdb.storage.head.layout import CHUNK_WORDS
from tsdb.storage.head.refs import Refs
from tsdb.storage.head.series_kernels import KEY_BYTES, SYMBOL_BYTES
from tsdb.storage.head.series_kernels import LABELS as LABEL_LISTS
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.restart import saved_head_kernels

TEXTS = st.text(max_size=40) | st.sampled_from(["a", "b", "x" * 127, "y" * 128, "é" * 200, "z" * 20000])
LABELS = st.dictionaries(TEXTS.filter(bool), TEXTS.filter(bool), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 62) | st.integers(0, 100), st.integers(0, 1 << 30)), max_size=200),
       st.lists(st.integers(0, 1 << 63) | st.integers(0, 200), max_size=50))
def test_refs(known: list[tuple[int, int]], asked: list[int]) -> None:
    table = Refs(np.array([ref for ref, _ in known], np.uint64), np.array([slot for _, slot in known], np.int32))
    expected = dict(known)
    every = [*expected, *asked]
    assert table.find(np.array(every, np.uint64)).tolist() == [expected.get(ref, -1) for ref in every]


def new_table() -> SeriesTable:
    return SeriesTable(new_secret(), np.zeros(1000, layout.HEAD))


@settings(max_examples=12, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=20, unique_by=lambda labels: tuple(sorted(labels.items()))))
def test_names_and_series(series: list[dict[str, str]]) -> None:
    symbols = sorted({text for labels in series for pair in labels.items() for text in pair})
    pairs = sorted({pair for labels in series for pair in labels.items()})
    texts = [text.encode() for text in symbols]
    names = np.array([symbols.index(name) for name, _ in pairs], np.uint32)
    values = np.array([symbols.index(value) for _, value in pairs], np.uint32)
    counts = np.array([len(labels) for labels in series], np.uint16)
    lists = np.array([pairs.index(pair) for labels in series for pair in sorted(labels.items())], np.uint32)

    table = new_table()
    table.make_room(len(series), len(symbols), len(pairs))
    table.pair_name[: names.size], table.pair_value[: names.size] = names, values
    saved_head_kernels.restore_names(
        table.secret, np.frombuffer(b"".join(texts), np.uint8), np.array([len(text) for text in texts], np.uint32),
        table.counters, table.symbol_bytes, table.symbol_offset, table.symbol_length, table.symbol_uses,
        table.symbol_table, table.pair_name[: names.size], table.pair_value, table.pair_table)
    saved_head_kernels.restore_series(
        0, table.secret, lists, counts, table.counters, table.symbol_bytes, table.symbol_offset, table.symbol_length,
        table.pair_name, table.pair_value, table.pair_uses, table.labels, table.label_offset, table.label_count,
        table.key_bytes, table.key_offset, table.key_length, table.table)
    table.records["ref"][: len(series)] = np.arange(1, len(series) + 1)
    table.restored(len(series), len(symbols), len(pairs))
    table.reserve_refs(len(series))

    assert [table.text(number) for number in range(len(symbols))] == symbols
    assert [table.find_symbol(text) for text in symbols] == list(range(len(symbols)))
    assert [table.find_pair(int(a), int(b)) for a, b in zip(names, values, strict=True)] == list(range(len(pairs)))
    assert [table.key(slot) for slot in range(len(series))] == [canonical_key(labels) for labels in series]
    assert table.symbol_uses[: len(symbols)].tolist() == [
        sum((text == name) + (text == value) for name, value in pairs) for text in symbols]
    assert table.pair_uses[: len(pairs)].tolist() == [sum(pair in labels.items() for labels in series)
                                                       for pair in pairs]
    other, batch = new_table(), make_batch(table.secret, series, [])
    other.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, np.full(len(series), -1, np.int32))
    for used in (KEY_BYTES, SYMBOL_BYTES, LABEL_LISTS):  # room by size class, so that it can be used again
        assert table.counters[used] == other.counters[used]
    more = {"__name__": "another", "é": "x" * 300}
    batch = make_batch(table.secret, [*series, more], [])
    slots, missing = table.resolve(batch)
    assert slots.tolist() == [*range(len(series)), -1] or more in series
    table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, slots)
    assert [table.key(int(slot)) for slot in slots] == [canonical_key(labels) for labels in [*series, more]]
    assert missing == 0 or table.records["ref"][slots[-1]] == len(series) + 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 64 * CHUNK_WORDS), st.lists(st.integers(0, 9), max_size=5)),
                max_size=30))
def test_series_are_packed_and_chunks_restored(series: list[tuple[int, int, list[int]]]) -> None:
    """Each is (samples in the open chunk, its bits, its pairs)."""
    rng = np.random.default_rng(1)
    n = len(series)
    records, chunks = np.zeros(n, layout.HEAD), np.zeros(n * CHUNK_WORDS + 1, np.uint64)
    numbers = rng.integers(0, 1 << 32, 10, np.uint32)
    offsets, counts = np.zeros(n, np.uint64), np.zeros(n, np.uint16)
    labels: list[int] = []
    used, packed = [], []
    for slot, (count, bits, pairs) in enumerate(series):
        records[slot]["ref"], records[slot]["count"], records[slot]["bits"] = slot + 1, count, bits
        records[slot]["mark"] = 99
        offsets[slot], counts[slot] = len(labels), len(pairs)
        labels += [*pairs, 77]
        if count:
            used.append(slice(slot * CHUNK_WORDS, slot * CHUNK_WORDS + -(-bits // 64)))
            chunks[used[-1]] = rng.integers(1, 1 << 63, used[-1].stop - used[-1].start, np.uint64)
            packed += chunks[used[-1]].tolist()
    slots = np.flatnonzero(np.arange(n) % 4 != 3).astype(np.int32) if n > 3 else np.arange(n, dtype=np.int32)
    kept = set(slots.tolist())
    out_records, words = np.zeros(slots.size, layout.HEAD), np.zeros(slots.size * CHUNK_WORDS, np.uint64)
    out_counts, out_labels = np.zeros(slots.size, np.uint16), np.zeros(int(counts[slots].sum()), np.uint32)
    found = saved_head_kernels.pack(slots, records, chunks, np.array([*labels, 0], np.uint32), offsets, counts, numbers,
                                    out_records, words, out_counts, out_labels)
    expected_words = [chunks[slot * CHUNK_WORDS + k] for slot in slots.tolist() if series[slot][0]
                      for k in range(-(-series[slot][1] // 64))]
    expected_labels = [numbers[pair] for slot in slots.tolist() for pair in series[slot][2]]
    assert found == (len(expected_words), len(expected_labels))
    assert words[: found[0]].tolist() == expected_words and out_labels.tolist() == expected_labels
    assert out_counts.tolist() == counts[slots].tolist() and not out_records["mark"].any()
    assert out_records["ref"].tolist() == [slot + 1 for slot in sorted(kept)]

    again = np.zeros(slots.size * CHUNK_WORDS, np.uint64)
    opened = saved_head_kernels.restore_chunks(0, slots.size, words[: found[0]], out_records, again)
    assert opened == np.count_nonzero(out_records["count"])
    assert again.reshape(-1, CHUNK_WORDS).tolist() == [chunks[slot * CHUNK_WORDS : (slot + 1) * CHUNK_WORDS].tolist()
                                                       for slot in slots.tolist()]
    if found[0]:
        assert saved_head_kernels.restore_chunks(0, slots.size, words[: found[0] - 1], out_records, again) == -1
