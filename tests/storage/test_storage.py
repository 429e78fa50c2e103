"""A storage as its users see it: what is accepted, what is refused, what is there after opening again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import FOREVER, bits, make_batch, read
from tsdb.model.batch import ACCEPTED, DUPLICATE, OUT_OF_ORDER, STALE_NAN, TOO_NEW, TOO_OLD, Metadata
from tsdb.model.context import RequestContext
from tsdb.model.errors import DirectoryLocked, FormatTooNew, ReadOnly, StorageError, Unavailable
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import BOX
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.head.layout import WINDOW_MS

SERIES = [{"__name__": f"m{i % 3}", "host": f"h{i}", "job": "test"} for i in range(20)]
HOUR = 3_600_000


def add(storage: Storage, samples: list[tuple[int, int, int]]) -> list[int]:
    return list(storage.submit(make_batch(storage.secret, SERIES, samples)).result(10).codes.tolist())


def labels_of(row: int) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(SERIES[row].items()))


def test_what_is_accepted_and_what_is_refused(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    with_one = bits(1.0)
    table = [  # (sample, verdict), in one batch: its samples see each other
        ((0, now, with_one), ACCEPTED),
        ((0, now, with_one), ACCEPTED),  # said twice
        ((0, now, bits(2.0)), DUPLICATE),
        ((0, now - 1, with_one), OUT_OF_ORDER),
        ((0, now + 15_000, STALE_NAN), ACCEPTED),
        ((0, now + 15_000, STALE_NAN), ACCEPTED),
        ((1, now + 11 * 60_000, with_one), TOO_NEW),
        ((2, now + 9 * 60_000, with_one), ACCEPTED),
        ((3, now // 1000, with_one), ACCEPTED),  # seconds by mistake: nothing to compare with yet
        ((4, 4102444800000, with_one), TOO_NEW),  # the year 2100
        ((4, now * 1000, with_one), TOO_NEW),  # microseconds by mistake
    ]
    with_storage = Storage.open(tmp_path)
    assert add(with_storage, [sample for sample, _ in table]) == [verdict for _, verdict in table]
    newest = now + 9 * 60_000
    assert add(with_storage, [(5, newest - HOUR - 1, 1), (6, newest - HOUR, 1), (7, now // 1000, 1)]) == [
        TOO_OLD, ACCEPTED, TOO_OLD,
    ]
    assert with_storage.statistics().series == 4, "no series are made for samples that cannot be taken"
    assert read(with_storage)[labels_of(0)] == [(now, with_one), (now + 15_000, STALE_NAN)]
    counted = with_storage.statistics().rejected
    assert counted["out of bounds"] == 2 and counted["too far in the future"] == 3
    with_storage.close()


@settings(max_examples=12)
@given(st.data())
def test_all_is_there_after_opening_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Commits over several windows, in any interleaving, with the directory closed and opened in between."""
    folder = tmp_path_factory.mktemp("data")
    start = int(time.time() * 1000) - 12 * HOUR
    clocks = dict.fromkeys(range(len(SERIES)), start)
    newest = start
    expected: dict[tuple[tuple[str, str], ...], list[tuple[int, int]]] = {}
    storage = Storage.open(folder)
    try:
        for _ in range(data.draw(st.integers(1, 8))):
            samples = []
            for _ in range(data.draw(st.integers(1, 60))):
                row = data.draw(st.integers(0, len(SERIES) - 1))
                ts = max(clocks[row] + data.draw(st.integers(1, HOUR)), newest - HOUR)
                value = data.draw(st.integers(0, BOX - 1) | st.integers(0, 50).map(lambda n: bits(float(n))))
                samples.append((row, ts, value))
                clocks[row] = ts
                expected.setdefault(labels_of(row), []).append((ts, value))
            newest = max(newest, *(ts for _, ts, _ in samples))
            if newest > start + 11 * HOUR:
                for row, _, _ in samples:
                    expected[labels_of(row)].pop()
                break
            assert add(storage, samples) == [ACCEPTED] * len(samples)
            if data.draw(st.booleans()):
                storage.close()
                storage = Storage.open(folder)
            assert read(storage) == {labels: found for labels, found in expected.items() if found}
        with_reader = Storage.open(folder, read_only=True)
        assert read(with_reader) == {labels: found for labels, found in expected.items() if found}
        with_reader.close()
    finally:
        storage.close()


def test_windows_that_are_over_become_durable_and_the_log_is_cut(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    start = (int(time.time() * 1000) // WINDOW_MS - 4) * WINDOW_MS
    samples: dict[int, list[tuple[int, int]]] = {}
    for minute in range(6 * 60):
        ts = start + minute * 60_000
        assert add(storage, [(row, ts + row, bits(float(minute))) for row in range(20)]) == [ACCEPTED] * 20
        for row in range(20):
            samples.setdefault(row, []).append((ts + row, bits(float(minute))))
    deadline = time.monotonic() + 20
    while not list((tmp_path / "wal").glob("checkpoint.*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list((tmp_path / "wal").glob("checkpoint.*"))
    assert len(list((tmp_path / "chunks").iterdir())) >= 2
    expected = {labels_of(row): found for row, found in samples.items()}
    assert read(storage) == expected
    storage.close()
    again = Storage.open(tmp_path)
    assert read(again) == expected
    assert add(again, [(0, start + 2 * HOUR, 1)]) == [TOO_OLD]
    assert read(again, mint=start + 2 * HOUR, maxt=start + 3 * HOUR) == {
        labels: [(ts, v) for ts, v in found if start + 2 * HOUR <= ts <= start + 3 * HOUR]
        for labels, found in expected.items()
    }
    again.close()


def test_duplicates_are_judged_after_opening_again(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    storage = Storage.open(tmp_path)
    rng = np.random.default_rng(1)
    values = rng.integers(0, 1 << 62, 200).tolist()  # so that chunks are sealed
    add(storage, [(0, now - 200 + i, value) for i, value in enumerate(values)])
    for _ in range(2):
        storage.close()
        storage = Storage.open(tmp_path)
        assert add(storage, [(0, now - 1, values[-1])]) == [ACCEPTED]
        assert add(storage, [(0, now - 1, 7)]) == [DUPLICATE]
    assert len(read(storage)[labels_of(0)]) == 200
    storage.close()


def test_labels_series_and_metadata(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    context = RequestContext()
    storage = Storage.open(tmp_path)
    batch = make_batch(storage.secret, SERIES, [(row, now, 1) for row in range(20)],
                       [Metadata("m0", "counter", "Help.", "seconds")])
    storage.submit(batch).result(10)
    for opened_again in (False, True):
        if opened_again:
            storage.close()
            storage = Storage.open(tmp_path)
        m1 = [[Matcher(MatchType.EQUAL, "__name__", "m1")]]
        assert storage.label_names([], 0, FOREVER, context) == ["__name__", "host", "job"]
        assert storage.label_values("__name__", [], 0, FOREVER, context) == ["m0", "m1", "m2"]
        assert storage.label_values("host", m1, 0, FOREVER, context) == sorted(f"h{i}" for i in range(1, 20, 3))
        assert storage.label_values("host", m1, 0, now - 1, context) == []
        found = storage.series(m1, now, now, context)
        expected = sorted((s for s in SERIES if s["__name__"] == "m1"), key=lambda s: s["host"])
        assert [found.labels(row) for row in range(len(found))] == expected
        assert storage.metadata() == {"m0": [Metadata("m0", "counter", "Help.", "seconds")]}
        assert storage.metadata("nothing") == {}
    storage.close()


def test_a_directory_belongs_to_one_writer_and_any_reader(tmp_path: Path) -> None:
    first = Storage.open(tmp_path / "data")
    with pytest.raises(DirectoryLocked, match="in use by process"):
        Storage.open(tmp_path / "data")
    reader = Storage.open(tmp_path / "data", read_only=True)
    with pytest.raises(ReadOnly):
        add(reader, [(0, 1, 1)])
    reader.close()
    first.close()
    first.close()
    with pytest.raises(Unavailable, match="shutting down"):
        add(first, [(0, 1, 1)])
    Storage.open(tmp_path / "data").close()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [(b"tsdb 99\n", FormatTooNew, "format 99"), (b"something\n", StorageError, "not what tsdb writes")],
)
def test_directories_that_are_not_for_us(tmp_path: Path, content: bytes, error: type[Exception], message: str) -> None:
    (tmp_path / "FORMAT").write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(error, match=message):
            Storage.open(tmp_path, read_only=read_only)
    assert (tmp_path / "FORMAT").read_bytes() == content


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(StorageError, match=rf"{file} cannot be opened: Not a directory.*: look at the disk"):
        Storage.open(file)


def test_a_prometheus_data_directory_is_left_alone(tmp_path: Path) -> None:
    for name in ("chunks_head", "wal"):
        (tmp_path / name).mkdir()
    (tmp_path / "wal" / "00000000").write_bytes(b"records")
    with pytest.raises(StorageError, match=r"the data of a Prometheus.*another folder"):
        Storage.open(tmp_path)
    assert not (tmp_path / "LOCK").exists(), "nothing is written to a folder that is not ours"
    assert not (tmp_path / "FORMAT").exists() and (tmp_path / "wal" / "00000000").read_bytes() == b"records"


def test_read_only_wants_a_data_directory(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not a data directory"):
        Storage.open(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_too_much_in_the_queue_is_refused(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path, StorageOptions(queue_samples=-1))
    with pytest.raises(Unavailable, match="wait to be written"):
        add(storage, [(0, 1, 1)])
    storage.close()


def test_no_address_space_is_said_clearly(tmp_path: Path) -> None:
    program = (
        "import sys, resource, tsdb.storage.storage as s, pathlib\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "s.Storage.open(pathlib.Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert "of address space for" in done.stderr and "ulimit -v" in done.stderr
