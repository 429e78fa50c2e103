"""What storage says of its chunks is what is there, also after it was closed and opened."""

from __future__ import annotations

import random
from pathlib import Path

from tests.storage.batches import bits, make_batch
from tsdb.storage import Storage
from tsdb.storage.head.layout import WINDOW_MS

SERIES = [{"__name__": "m", "host": f"h{i}"} for i in range(7)]


def test_chunks_open_and_sealed(tmp_path: Path) -> None:
    draw = random.Random(1)
    with_storage = Storage.open(tmp_path)
    assert with_storage.statistics().chunks == 0
    begin = 100 * WINDOW_MS + 1000
    for step in range(300):
        ts = begin + step * 15_000
        samples = [(row, ts, bits(draw.random())) for row in range(7)]
        with_storage.submit(make_batch(with_storage.secret, SERIES, samples)).result(10)
    found = with_storage.statistics()
    assert found.chunks == found.chunks_opened > 7 * 5  # random values: some 25 samples in a chunk
    assert found.chunks_bytes > 0 and found.upkeep.truncations_failed == found.dropped_windows == 0
    with_storage.submit(make_batch(with_storage.secret, SERIES[:1], [(0, begin + WINDOW_MS, bits(1.0))])).result(10)
    after = with_storage.statistics()
    assert (after.chunks, after.chunks_opened) == (found.chunks + 1, found.chunks_opened + 1)
    with_storage.close()
    again = Storage.open(tmp_path)
    assert again.statistics().chunks == after.chunks
    again.close()
