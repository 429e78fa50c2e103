"""Scripts of ranges and start timestamps over the real storage: what they look at beside a range is captured, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.storage.batches import make_batch
from tsdb.storage import Storage
from tsdb.testing.memory_storage import MemoryStorage
from tsdb.testing.run import Runner
from tsdb.testing.script import read_script

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize("name", ["extended_ranges.test", "start_timestamps.test"])
def test_script(name: str, tmp_path: Path) -> None:
    opened: dict[int, Storage] = {}

    def store(memory: MemoryStorage) -> Storage:
        storage = opened[len(opened)] = Storage.open(tmp_path / str(len(opened)))
        rows = list(memory.columns)
        samples = sorted((row, at, bits) for row, labels in enumerate(rows)
                         for at, bits in memory.columns[labels].items())
        batch = make_batch(storage.secret, [dict(labels) for labels in rows], samples)
        batch.start_ts = np.array([memory.starts.get(rows[row], {}).get(at, 0) for row, at, _ in samples], np.int64)
        assert storage.submit(batch).result(60).rejected == 0
        return storage

    runner = Runner(store)
    try:
        for case in read_script(SCRIPTS / name):
            runner.run(case)
    finally:
        for storage in opened.values():
            storage.close()
