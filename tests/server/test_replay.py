"""What a server says while it replays its log."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.server.conftest import Begin
from tests.storage.batches import make_batch
from tsdb.server.server import open_storage
from tsdb.storage import Storage
from tsdb.storage.restart import recovery
from tsdb.wal.replay import ReplayProgress

SERIES = [{"__name__": "m", "n": str(n)} for n in range(3)]


def killed_again_and_again(folder: Path, times: int) -> Path:
    """A directory with a segment for each time that a process with it was killed."""
    data = folder / "0"
    for number in range(times):
        storage = Storage.open(data)
        ts = int(time.time() * 1000) - 60_000 + number * 1000
        samples = [(row, ts, number) for row in range(3)]
        assert storage.submit(make_batch(storage.secret, SERIES, samples)).result(10).accepted == 3
        after = folder / str(number + 1)
        shutil.copytree(data, after)
        storage.close()
        data = after
    return data


def test_while_the_log_is_replayed(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = killed_again_and_again(tmp_path, 3)
    last = max(int(path.name) for path in (data / "wal").iterdir() if path.name.isdigit())
    assert last >= 3, "a slow machine may have begun one more"
    running = begin()
    client = running.client
    told = []
    progress = recovery._Samples.progress

    def looked_at(handler: recovery._Samples, at: ReplayProgress) -> None:
        progress(handler, at)
        ready = client.get("/-/ready")
        told.append((client.data("status/walreplay"), ready.status, ready.body.decode()))

    monkeypatch.setattr(recovery._Samples, "progress", looked_at)
    running.open(open_storage(data, None))
    segments = [at["current"] for at, _, _ in told]
    assert segments == [*range(1, last + 1), last] and all((at["min"], at["max"]) == (1, last) for at, _, _ in told)
    assert {status for _, status, _ in told} == {503}
    assert f"tsdb is starting: replaying the log, segment 2 of 1 to {last}, " in told[1][2]
    assert client.data("status/walreplay") == {"min": 1, "max": last, "current": last}
    assert client.get("/-/ready").status == 200
    metrics = client.get("/metrics").body.decode()
    assert "\ntsdb_data_replay_samples 9.0" in metrics
    assert "\nprometheus_tsdb_data_replay_duration_seconds 0." in metrics


def test_after_a_clean_stop_nothing_was_replayed(begin: Begin, tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    samples = [(0, int(time.time() * 1000), 1)]
    storage.submit(make_batch(storage.secret, SERIES, samples)).result(10)
    storage.close()
    running = begin()
    running.open(open_storage(tmp_path, None))
    assert running.client.data("status/walreplay") == {"min": 0, "max": 0, "current": 0}
    assert "\ntsdb_data_replay_samples 0.0" in running.client.get("/metrics").body.decode()
