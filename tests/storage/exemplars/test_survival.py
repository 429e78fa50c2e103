"""Exemplars survive what samples survive: a kill, a clean stop, checkpoints, and their series leaving the head."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.storage.batches import bits, make_batch
from tsdb.model.batch import Exemplar
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage, StorageOptions

SERIES = [{"__name__": "hits_bucket", "le": str(le)} for le in range(3)]
ALL = [[Matcher(MatchType.EQUAL, "__name__", "hits_bucket")]]
HOUR = 3_600_000


def write(storage: Storage, ts: int, exemplars: list[tuple[int, str, int]], samples: int = 3) -> list[int]:
    """Exemplars are (series, trace id, ms)."""
    batch = make_batch(storage.secret, SERIES, [(row, ts, bits(1.0)) for row in range(samples)])
    batch.exemplars = [Exemplar(row, (("trace_id", trace),), 0.5, at) for row, trace, at in exemplars]
    return list(storage.submit(batch).result(10).exemplar_codes.tolist())


def stored(storage: Storage, matchers: list[list[Matcher]] = ALL) -> list[tuple[str, list[tuple[str, int]]]]:
    found = storage.exemplars(matchers, 0, 1 << 60, RequestContext())
    return [(series.labels["le"], [(each.labels["trace_id"], each.ts) for each in series.exemplars])
            for series in found]


def killed(storage: Storage, path: Path) -> Path:
    """A copy of what a kill would leave."""
    copy = path.with_name(path.name + "-killed")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("LOCK"))
    return copy


def reopened(path: Path, options: StorageOptions | None = None) -> list[tuple[str, list[tuple[str, int]]]]:
    storage = Storage.open(path, options)
    try:
        return stored(storage)
    finally:
        storage.close()


def test_through_kill_stop_and_checkpoint(tmp_path: Path) -> None:
    path, now = tmp_path / "data", int(time.time() * 1000)
    storage = Storage.open(path)
    assert write(storage, now - 9, [(2, "a", now - 9), (0, "b", now - 8)]) == [0, 0]
    assert write(storage, now - 6, [(2, "c", now - 6), (2, "d", now - 7)]) == [0, 1]
    expected = [("0", [("b", now - 8)]), ("2", [("a", now - 9), ("c", now - 6)])]
    assert stored(storage) == expected == reopened(killed(storage, path))
    assert stored(storage, [[Matcher(MatchType.EQUAL, "le", "0")], [Matcher(MatchType.REGEX, "le", "0|1")]]) == [
        expected[0]]
    assert stored(storage, [[Matcher(MatchType.NOT_EQUAL, "le", "0")]]) == [expected[1]]
    storage.compact()  # all leaves the head; the segments are gone
    assert stored(storage) == expected == reopened(killed(storage, path))
    write(storage, now, [(2, "e", now)])
    expected[1][1].append(("e", now))
    assert stored(storage) == expected == reopened(killed(storage, path)), "some from a checkpoint, one from a segment"
    storage.close()
    for _ in range(2):
        storage = Storage.open(path)
        assert storage.opened.clean and stored(storage) == expected
        assert storage.statistics().exemplars.appended == 0
        storage.close()
    assert reopened(path, StorageOptions(max_exemplars=2)) == [("2", [("c", now - 6), ("e", now)])]


def test_those_that_no_sample_comes_with(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    storage = Storage.open(tmp_path)
    assert write(storage, now, [(0, "a", now), (1, "b", now)], samples=1) == [0, 3], "the second series is not made"
    assert write(storage, now, [(0, "c", now + 1), (1, "d", now)], samples=0) == [0, 3]
    assert stored(storage) == [("0", [("a", now), ("c", now + 1)])]
    storage.set_max_exemplars(0)
    assert write(storage, now, [(0, "e", now + 2)]) == [0] and stored(storage) == []
    storage.close()


@pytest.mark.parametrize("most", [0, 5])
def test_none_and_few(tmp_path: Path, most: int) -> None:
    now = int(time.time() * 1000)
    storage = Storage.open(tmp_path, StorageOptions(max_exemplars=most))
    for number in range(20):
        write(storage, now + number, [(number % 3, str(number), now + number)])
    expected = sorted((str(row), [(str(number), now + number) for number in range(20 - most, 20) if number % 3 == row])
                      for row in range(3)) if most else []
    assert stored(storage) == expected
    assert storage.statistics().exemplars.stored == most
    storage.close()
    assert reopened(tmp_path, StorageOptions(max_exemplars=most)) == expected
