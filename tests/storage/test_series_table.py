"""The series table: labels of series in any order, neighbours alike or not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import make_batch
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.labels import canonical_key
from tsdb.storage.head import layout
from tsdb.storage.head.series_table import SeriesTable

NAMES = st.sampled_from(["a", "aa", "b", "job", "z" * 130])
VALUES = st.sampled_from(["1", "2", "11", "x" * 130, "é"])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES, min_size=1), min_size=1, max_size=40), st.integers(1, 40))
def test_labels_of_neighbours_are_their_own(series: list[dict[str, str]], at_once: int) -> None:
    table = SeriesTable(new_secret(), np.zeros(100, layout.HEAD))
    every: dict[bytes, int] = {}
    for start in range(0, len(series), at_once):
        part = series[start : start + at_once]
        batch = make_batch(table.secret, part, [])
        slots, _ = table.resolve(batch)
        table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, slots)
        for labels, slot in zip(part, slots.tolist(), strict=True):
            assert every.setdefault(canonical_key(labels), slot) == slot
            at, count = int(table.label_offset[slot]), int(table.label_count[slot])
            pairs = table.labels[at : at + count].tolist()
            assert [(table.text(int(table.pair_name[pair])), table.text(int(table.pair_value[pair]))) for pair in pairs
                    ] == sorted(labels.items())
            assert table.key(slot) == canonical_key(labels)
    assert table.series == len(every)
    uses: dict[tuple[str, str], int] = {}
    for labels in {canonical_key(labels): labels for labels in series}.values():
        for pair in labels.items():
            uses[pair] = uses.get(pair, 0) + 1
    assert {(table.text(int(table.pair_name[pair])), table.text(int(table.pair_value[pair]))):
            int(table.pair_uses[pair]) for pair in range(table.pairs)} == uses
