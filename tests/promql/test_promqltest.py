"""Prometheus' own PromQL test scripts, over storage in memory and some over the real one.

They are not part of the project: `TSDB_PROMQLTEST` names their folder.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

from tests.storage.batches import make_batch
from tsdb.storage import Storage
from tsdb.testing.compare import Mismatch
from tsdb.testing.memory_storage import MemoryStorage
from tsdb.testing.run import Runner
from tsdb.testing.script import Case, read_script

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("TSDB_PROMQLTEST") or HERE.parents[2] / "shared" / "promqltest")
SCRIPTS = sorted(FOLDER.glob("*.test"))
RUNNER = Runner()
CASES = [case for path in SCRIPTS for case in read_script(path)]

pytestmark = pytest.mark.skipif(not SCRIPTS, reason=f"no PromQL test scripts in {FOLDER}: set TSDB_PROMQLTEST")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    try:
        RUNNER.run(case)
    except Mismatch as problem:
        pytest.fail(f"{case}: {case.expr}\n{problem}", pytrace=False)


class InStorage:
    """Puts samples into a storage of their own; the same ones only once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: list[Storage] = []
        self._columns: object = None

    def __call__(self, memory: MemoryStorage) -> Storage:
        if memory.columns != self._columns:
            self.close()
            storage = Storage.open(self._folder / str(len(self._opened)))
            self._opened.append(storage)
            columns = enumerate(memory.columns.values())
            samples = sorted((row, at, bits) for row, column in columns for at, bits in column.items())
            if samples:
                batch = make_batch(storage.secret, [dict(labels) for labels in memory.columns], samples)
                if memory.payload:
                    batch.payload = np.frombuffer(bytes(memory.payload), np.uint8)
                assert storage.submit(batch).result(60).rejected == 0
            self._columns = memory.columns
        return self._opened[-1]

    def close(self) -> None:
        for storage in self._opened[-1:]:
            storage.close()


@pytest.mark.parametrize("file", [path for path in SCRIPTS if path.stem in ("operators", "selectors")],
                         ids=lambda path: path.name)
def test_over_the_real_storage(file: Path, tmp_path: Path) -> None:
    passed = 0
    with contextlib.closing(InStorage(tmp_path)) as store:
        runner = Runner(store)
        for case in read_script(file):
            try:
                runner.run(case)
                passed += 1
            except Mismatch as problem:
                pytest.fail(f"{case}: {case.expr}\n{problem}", pytrace=False)
    assert passed > 0
