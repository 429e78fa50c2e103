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
    assert storage.names_at_hand("host", 0, FOREVER) is None
    assert values(storage) == storage.names_at_hand("host", 0, FOREVER) == ["a", "b"]
    assert storage.names_at_hand(None, 0, FOREVER) is None
    assert storage.label_names([], 0, FOREVER, RequestContext()) == storage.names_at_hand(None, 0, FOREVER) == ["host"]
    write(storage, NOW, {"host": "c"})
    assert storage.names_at_hand("host", 0, FOREVER) is None
    assert values(storage) == storage.names_at_hand("host", 0, FOREVER) == ["a", "b", "c"]
    write(storage, NOW + 1, {"host": "c"})
    assert storage.names_at_hand("host", 0, FOREVER) == ["a", "b", "c"]
    storage.close()


def test_what_is_known_holds_where_every_series_has_a_sample(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    write(storage, NOW - 60_000, {"host": "old"})
    write(storage, NOW, {"host": "new"})
    assert values(storage) == ["new", "old"]
    assert storage.names_at_hand("host", NOW - 60_000, NOW) == ["new", "old"]
    assert storage.names_at_hand("host", NOW - 59_999, NOW) is None
    assert values(storage, NOW - 59_999, NOW) == ["new"]
    assert storage.names_at_hand("host", 0, NOW - 1) is None
    assert values(storage, 0, NOW - 1) == ["old"]
    write(storage, NOW, {"host": "old"})
    assert values(storage, NOW, NOW) == storage.names_at_hand("host", NOW, NOW) == ["new", "old"]
    storage.close()


def test_the_list_is_the_callers_own(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    write(storage, NOW, {"host": "a"})
    values(storage).append("mine")
    known = storage.names_at_hand("host", 0, FOREVER)
    assert known is not None
    known.append("mine")
    assert values(storage) == storage.names_at_hand("host", 0, FOREVER) == ["a"]
    storage.close()
