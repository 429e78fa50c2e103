"""Native histograms as results of the embedded API."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import tsdb
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import Batch
from tsdb.model.labels import canonical_key
from tsdb.model.native_histograms import boxed

ONE = tsdb.NativeHistogram(0, 18.4, 3, 0.001, 2, ((0, 1),), (), (1,))
TWO = tsdb.NativeHistogram(2, 1.5, 2.5, positive_spans=((3, 2),), positive=(1.0, 1.5), floats=True)


def test_histograms_beside_floats(tmp_path: Path) -> None:
    now = int(time.time()) * 1000 - 60_000
    with tsdb.open(tmp_path / "data") as db:
        key = np.frombuffer(canonical_key({"__name__": "h"}), np.uint8)
        hashes = np.empty(1, np.uint64)
        begin, length = np.zeros(1, np.uint32), np.array([key.size], np.uint32)
        hash_rows(db.storage.secret, key, begin, length, hashes)
        payload = np.frombuffer(ONE.encode() + TWO.encode(), np.uint8)
        values = np.array([boxed(0), np.float64(7.5).view(np.uint64), boxed(len(ONE.encode()))], np.uint64)
        times = now + 1000 * np.arange(3)
        batch = Batch(key, hashes, begin, length, np.zeros(3, np.uint32), times, values, payload=payload)
        assert db.storage.submit(batch).result().accepted == 3

        instant = db.query("h", now / 1000 + 2)
        assert not instant.present.any() and np.isnan(instant.values).all()
        ((at, histograms),) = instant.histograms
        assert (at.tolist(), histograms) == ([now + 2000], [TWO])

        matrix = db.query_range("h", now / 1000, now / 1000 + 2, 1)
        assert matrix.present.tolist() == [[False, True, False]] and matrix.values[0, 1] == 7.5
        ((at, histograms),) = matrix.histograms
        assert (at.tolist(), histograms) == ([now, now + 2000], [ONE, TWO])

        raw = db.query("h[1m]", now / 1000 + 2)
        ((at, floats),) = raw.samples
        assert (at.tolist(), floats.tolist()) == ([now + 1000], [7.5])
        ((at, histograms),) = raw.histograms
        assert (at.tolist(), histograms) == ([now, now + 2000], [ONE, TWO])
        assert [column.tolist() for column in raw.columns()[1:]] == [[0], [now + 1000], [7.5]]
        assert db.query("count(h)", now / 1000).histograms == []
