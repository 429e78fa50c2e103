"""Names and values of labels that are known from the last time."""

from __future__ import annotations

import time
from pathlib import Path

from tests.storage.batches import FOREVER, make_batch
from tsdb.model.context import RequestContext
from tsdb.storage import Storage

NOW = int(time.time() * 1000)


def write(storage: Storage, ts: int, *series: dict[str, str]) -> None:
    storage.submit(make_batch(storage.secret, series, [(row, ts, 1) for row in range(len(series))])).result(10)


def values(storage: Storage, mint: int = 0, maxt: int = FOREVER) -> list[str]:
    return storage.label_values("host", [], mint, maxt, RequestContext())


def test_known_until_there_are_new_series(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    assert values(storage) == []
    write(storage, NOW, {"host": "b"}, {"host": "a"})
    assert values(storage) == values(storage) == ["a", "b"]
    assert storage.label_names([], 0, FOREVER, RequestContext()) == ["host"]
    write(storage, NOW, {"host": "c"})
    assert values(storage) == ["a", "b", "c"]
    write(storage, NOW + 1, {"host": "c"})
    assert values(storage) == ["a", "b", "c"]
    storage.close()


def test_what_is_known_holds_where_every_series_has_a_sample(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    write(storage, NOW - 60_000, {"host": "old"})
    write(storage, NOW, {"host": "new"})
    assert values(storage) == ["new", "old"]
    assert values(storage, NOW - 60_000, NOW) == ["new", "old"]
    assert values(storage, NOW - 59_999, NOW) == ["new"]
    assert values(storage, 0, NOW - 1) == ["old"]
    write(storage, NOW, {"host": "old"})
    assert values(storage, NOW, NOW) == ["new", "old"]
    storage.close()


def test_the_list_is_the_callers_own(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    write(storage, NOW, {"host": "a"})
    values(storage).append("mine")
    values(storage).append("mine")
    assert values(storage) == ["a"]
    storage.close()
