"""A data directory with everything in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.storage.batches import bits, make_batch
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.upkeep.compaction import Compaction

HOUR = 3_600_000
START = 1_700_006_400_000
SERIES = [{"__name__": "m", "n": f"{n:02d}"} for n in range(12)]
OPTIONS = StorageOptions(late_window_ms=HOUR)


def add(storage: Storage, minutes: range, late: int = 0) -> None:
    for minute in minutes:
        samples = [(n, START + (minute - late) * 60_000 + n + late, bits(minute * n)) for n in range(len(SERIES))]
        storage.submit(make_batch(storage.secret, SERIES, samples)).result(30)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One block with tombstones, a checkpoint and segments, windows, late samples, a saved head."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    storage = Storage.open(folder, OPTIONS)
    add(storage, range(100))
    with pytest.MonkeyPatch.context() as patch:  # the block stays as it was cut
        patch.setattr(Compaction, "compact_once", lambda *_, **__: False)
        storage.compact()
    storage.delete_series([[Matcher(MatchType.EQUAL, "n", "03")]], START, START + 100_000)
    add(storage, range(100, 170))  # the first two hours are not over yet
    add(storage, range(155, 170, 5), late=30)
    storage.close()
    (folder / "reserve").unlink(missing_ok=True)
    return folder


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "data"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
