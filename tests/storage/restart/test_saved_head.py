"""After a clean stop all is as it was, and nothing is replayed; where the saved head is of no use, the log is."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.storage.batches import FOREVER, bits, make_batch, read
from tsdb.model.batch import ACCEPTED, DUPLICATE, Metadata
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.restart import saved_head
from tsdb.storage.restart.saved_head import FOLDER, NAME
from tsdb.wal import segments
from tsdb.wal.files import LocalFile, LocalFileSystem

HOUR = 3_600_000
SERIES = [{"__name__": f"m{i % 3}", "host": f"h{i}", "text": "ü" * (i * 7 % 40), "job": "test"} for i in range(60)]
LATE_WINDOW = StorageOptions(late_window_ms=6 * HOUR)


def add(storage: Storage, samples: list[tuple[int, int, int]], metadata: list[Metadata] | None = None) -> list[int]:
    batch = make_batch(storage.secret, SERIES, samples, metadata or [])
    return list(storage.submit(batch).result(10).codes.tolist())


def filled(path: Path) -> tuple[Storage, int]:
    """A storage with sealed and open chunks in two windows, of which none is over, late samples, a deleted interval,
    and metadata; and the time of its newest sample."""
    storage = Storage.open(path, LATE_WINDOW)
    first = (int(time.time() * 1000) - HOUR) // WINDOW_MS * WINDOW_MS - 50 * 60_000
    chance = np.random.default_rng(1)
    for step in range(40):
        ts = first + step * 150_000
        values = chance.integers(0, 1 << 62, len(SERIES)).tolist()
        rows = [row for row in range(len(SERIES)) if (row + step) % 7]
        assert set(add(storage, [(row, ts + row, values[row]) for row in rows])) == {ACCEPTED}
    last = first + 39 * 150_000
    assert add(storage, [(3, last - 2 * HOUR, 77), (4, last - 3 * HOUR, 78)]) == [ACCEPTED] * 2
    add(storage, [], [Metadata("m0", "counter", "Help.", "seconds")])
    storage.delete_series([[Matcher(MatchType.EQUAL, "host", "h5")]], last - HOUR, last - HOUR // 2)
    return storage, last


def what_is_there(storage: Storage) -> Any:
    context = RequestContext()
    m1 = [Matcher(MatchType.EQUAL, "__name__", "m1"), Matcher(MatchType.NOT_REGEX, "host", "h[1-4]")]
    return (
        read(storage), read(storage, m1), storage.label_names([], 0, FOREVER, context),
        storage.label_values("host", [m1], 0, FOREVER, context), storage.metadata(), storage.oldest(),
        storage.statistics().series, storage.statistics().chunks, storage.statistics().late_stored,
    )


def test_everything_is_as_it_was_and_nothing_is_replayed(tmp_path: Path) -> None:
    storage, last = filled(tmp_path)
    expected = what_is_there(storage)
    key = storage._head.table.key(9)
    storage.close()
    for _ in range(2):
        with_reader = Storage.open(tmp_path, read_only=True)
        assert with_reader.opened.clean and what_is_there(with_reader)[:5] == expected[:5]
        with_reader.close()
        storage = Storage.open(tmp_path, LATE_WINDOW)
        assert storage.opened.clean and storage.opened.samples == 0
        assert not (tmp_path / FOLDER / NAME).exists(), "it is worth nothing once there may be appends"
        assert what_is_there(storage) == expected
        assert storage._head.table.key(9) == key
        storage.close()
    storage = Storage.open(tmp_path, LATE_WINDOW)
    newest = {row: read(storage)[tuple(sorted(SERIES[row].items()))][-1] for row in (1, 2)}
    assert add(storage, [(1, *newest[1]), (2, newest[2][0], 1)]) == [ACCEPTED, DUPLICATE]
    assert add(storage, [(row, last + 1000 + row, bits(1.0)) for row in range(60)]) == [ACCEPTED] * 60
    storage.close()


def killed(storage: Storage, path: Path, to: Path) -> Storage:
    """The directory as kill -9 leaves it, opened again."""
    shutil.copytree(path, to)
    (to / "LOCK").unlink()
    storage.close()
    return Storage.open(to, LATE_WINDOW)


def test_what_came_after_the_saved_head_survives_a_crash(tmp_path: Path) -> None:
    storage, last = filled(tmp_path / "data")
    storage.close()
    storage = Storage.open(tmp_path / "data", LATE_WINDOW)
    assert storage.opened.clean
    SERIES.append({"__name__": "new", "host": "h99"})
    try:
        for step in range(1, 60):
            rows = range(len(SERIES))
            assert add(storage, [(row, last + step * 1000 + row, step * 7919) for row in rows]) == [ACCEPTED] * 61
        expected = what_is_there(storage)
        storage = killed(storage, tmp_path / "data", tmp_path / "after")
        assert not storage.opened.clean and storage.opened.samples > 0
        assert what_is_there(storage) == expected
        storage.close()
    finally:
        SERIES.pop()


def flip(where: float) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        file = data / FOLDER / NAME
        content = bytearray(file.read_bytes())
        content[int(len(content) * where)] ^= 4
        file.write_bytes(content)

    return damage


def cut_short(data: Path) -> None:
    os.truncate(data / FOLDER / NAME, (data / FOLDER / NAME).stat().st_size // 2)


def longer_log(data: Path) -> None:
    with max((data / "wal").glob("0*")).open("ab") as file:
        file.write(bytes(8))


def one_segment_more(data: Path) -> None:
    newest = max((data / "wal").glob("0*"))
    header = segments.file_header(segments.SEGMENT_MAGIC, newest.stat().st_size)
    newest.with_name(f"{int(newest.name) + 1:08d}").write_bytes(header)


def shorter_window(data: Path) -> None:
    newest = max((data / "chunks").iterdir())
    os.truncate(newest, newest.stat().st_size - 4096)


@pytest.mark.parametrize(
    "change", [*(flip(n / 23 + 0.001) for n in range(23)), cut_short, longer_log, one_segment_more, shorter_window],
    ids=lambda change: change.__name__,
)
def test_of_no_use_the_log_is_replayed(prepared: tuple[Path, Any], tmp_path: Path, change: Callable[[Path], None],
                                       ) -> None:
    source, expected = prepared
    data = tmp_path / "data"
    shutil.copytree(source, data)
    change(data)
    storage = Storage.open(data, LATE_WINDOW)
    flipped_padding = change.__name__ == "damage" and storage.opened.clean
    assert flipped_padding or not storage.opened.clean
    assert what_is_there(storage) == expected
    assert not (data / FOLDER / NAME).exists()
    storage.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("prepared") / "data"
    storage, _ = filled(path)
    expected = what_is_there(storage)
    storage.close()
    return path, expected


def test_a_full_disk_does_not_fail_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, _ = filled(tmp_path)
    expected = what_is_there(storage)
    write = LocalFile.pwrite

    def full(file: LocalFile, data: Any, offset: int) -> int:
        if file.path.parent.name == FOLDER and offset > 5000:
            raise OSError(28, "No space left on device", str(file.path))
        return write(file, data, offset)

    monkeypatch.setattr(LocalFile, "pwrite", full)
    storage.close()
    assert list((tmp_path / FOLDER).iterdir()) == []
    monkeypatch.undo()
    storage = Storage.open(tmp_path, LATE_WINDOW)
    assert not storage.opened.clean and what_is_there(storage) == expected
    storage.close()


def test_an_empty_head_is_saved_too(tmp_path: Path) -> None:
    Storage.open(tmp_path).close()
    storage = Storage.open(tmp_path)
    assert storage.opened.clean
    assert add(storage, [(0, int(time.time() * 1000), 1)]) == [ACCEPTED]
    assert add(storage, [(0, 0, 1)]) != [ACCEPTED]
    storage.close()


def test_series_in_several_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_head, "AT_ONCE", 7)
    storage, _ = filled(tmp_path)
    expected = what_is_there(storage)
    storage.close()
    storage = Storage.open(tmp_path, LATE_WINDOW)
    assert storage.opened.clean and what_is_there(storage) == expected
    storage.close()


def test_a_file_of_another_version_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, _ = filled(tmp_path)
    expected = what_is_there(storage)
    monkeypatch.setattr(saved_head, "LAYOUT", "other records")
    storage.close()
    monkeypatch.undo()
    assert saved_head.find(LocalFileSystem(), tmp_path) is None
    storage = Storage.open(tmp_path, LATE_WINDOW)
    assert not storage.opened.clean and what_is_there(storage) == expected
    storage.close()


def test_a_file_that_is_cut_while_a_reader_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer beside gives back the space ahead of the chunks: the reader, which knew the size before, begins anew."""
    storage, _ = filled(tmp_path)
    size, told = LocalFile.size, []

    def before_it_was_cut(file: LocalFile) -> int:
        told.append(file.path.suffix)
        return size(file) + (1 << 20 if file.path.suffix == ".chunks" and told.count(".chunks") == 1 else 0)

    monkeypatch.setattr(LocalFile, "size", before_it_was_cut)
    with_reader = Storage.open(tmp_path, read_only=True)
    assert told.count(".chunks") > 2 and what_is_there(with_reader)[:5] == what_is_there(storage)[:5]
    with_reader.close()
    storage.close()


def test_a_broken_file_of_the_format_costs_no_replay(tmp_path: Path) -> None:
    storage, _ = filled(tmp_path)
    expected = what_is_there(storage)
    storage.close()
    (tmp_path / "FORMAT").write_bytes(b"tsdb 2\ncrc32c 00000000\n")
    for _ in range(2):
        storage = Storage.open(tmp_path, LATE_WINDOW)
        assert storage.opened.clean and what_is_there(storage) == expected
        storage.close()
