"""A sender that gives up while its batch waits: nothing of it is written, and the others go on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.storage.batches import bits, make_batch, read
from tsdb.model.batch import Batch
from tsdb.storage import Storage


@pytest.mark.parametrize("patient", [False, True])
def test_cancelled_batches(tmp_path: Path, patient: bool) -> None:
    storage = Storage.open(tmp_path)
    now = 1_700_000_000_000

    def batch(name: str, ts: int) -> Batch:
        return make_batch(storage.secret, [{"__name__": name}], [(0, ts, bits(1.0))])

    busy, go_on = threading.Event(), threading.Event()

    def hold_the_appender() -> None:
        busy.set()
        go_on.wait(10)

    assert storage._appender is not None
    held = storage._appender.run_between_commits(hold_the_appender)
    assert busy.wait(10)
    first = storage.submit(batch("first", now), patient=patient)
    given_up = storage.submit(batch("given_up", now), patient=patient)
    never_done = storage._appender.run_between_commits(lambda: None)
    assert given_up.cancel() and never_done.cancel()
    last = storage.submit(batch("last", now), patient=patient)
    go_on.set()
    held.result(10)
    assert first.result(10).accepted == last.result(10).accepted == 1
    assert storage.submit(batch("later", now)).result(10).accepted == 1
    assert [dict(labels)["__name__"] for labels in sorted(read(storage))] == ["first", "last", "later"]
    storage.close()
