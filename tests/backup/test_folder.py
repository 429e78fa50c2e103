"""Backups in a folder: `tsdb backup` and `tsdb restore`, as a user runs them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.backup.data import HOUR, START, contents, done, fill, flip, run
from tests.processes import TSDB, Process, free_port
from tsdb.backup import FolderStore, back_up, newest, read_manifest, restore
from tsdb.backup.store import Store
from tsdb.model.errors import Corruption, DirectoryLocked, FormatTooNew, StorageError
from tsdb.storage import Storage
from tsdb.storage.upkeep.snapshots import FOLDER
from tsdb.wal.files import LocalFileSystem


def files(folder: Path) -> dict[str, int]:
    """Sizes of the files of all backups, by their key."""
    return {path.relative_to(folder).as_posix(): path.stat().st_size
            for path in (folder / "files").rglob("*") if path.is_file()}


def test_there_and_back(tmp_path: Path) -> None:
    wanted = fill(tmp_path / "data", range(6))
    said = done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    assert re.search(r"backup \d{8}T\d{6}\.\d{3}Z: 96 samples in \d blocks, from 2025-", said)
    assert list((tmp_path / "data" / FOLDER).iterdir()) == [], "the snapshot was for the backup only"
    assert "restored the backup" in done("restore", tmp_path / "kept", tmp_path / "new")
    assert contents(tmp_path / "new") == wanted
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["FORMAT", "blocks"]
    assert contents(tmp_path / "data") == wanted
    result = run("restore", tmp_path / "kept", tmp_path / "new")
    assert isinstance(result.exception, StorageError) and "new is not empty" in str(result.exception)


def test_what_is_there_is_not_copied_again(tmp_path: Path) -> None:
    first = fill(tmp_path / "data", range(6))
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept" / "files").rglob("*") if path.is_file()}
    second = fill(tmp_path / "data", range(6, 9))
    said = done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    copied, whole = re.search(r"; (.*?)(?:iB|B)? of (.*) were new", said).groups()  # type: ignore[union-attr]
    assert copied != whole
    assert {path: path.stat().st_mtime_ns for path in before} == before
    names = [line.split()[0] for line in done("backup", tmp_path / "kept", "--list").splitlines()[1:]]
    assert len(names) == 2
    for name, wanted in zip(names, (first, second), strict=True):
        done("restore", tmp_path / "kept", tmp_path / name, "--backup", name)
        assert contents(tmp_path / name) == wanted
    assert "no damage found, in 2 backups" in done("backup", tmp_path / "kept", "--verify")


def test_a_file_is_stored_under_its_content(tmp_path: Path) -> None:
    """Any tool that knows SHA-256 can verify a backup."""
    fill(tmp_path / "data", range(6))
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    there = [path for path in (tmp_path / "kept").rglob("*") if path.is_file() and path.name != "LOCK"]
    assert there
    for path in there:
        assert path.name.endswith(f".{hashlib.sha256(path.read_bytes()).hexdigest()}")


def test_deletes_come_along(tmp_path: Path) -> None:
    """The file of deletes of a block changes while the block stays."""
    fill(tmp_path / "data", range(6))
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    from tests.storage.batches import everything

    storage = Storage.open(tmp_path / "data")
    storage.delete_series([everything()], START, START + HOUR)
    storage.close()
    wanted = contents(tmp_path / "data")
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    done("restore", tmp_path / "kept", tmp_path / "new")
    assert contents(tmp_path / "new") == wanted


def test_old_ones_go(tmp_path: Path) -> None:
    fill(tmp_path / "data", range(3))
    for hour in range(3, 6):
        wanted = fill(tmp_path / "data", range(hour, hour + 1))
        done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    assert len(done("backup", tmp_path / "kept", "--list").splitlines()) == 4
    before = files(tmp_path / "kept")
    said = done("backup", tmp_path / "kept", "--data", tmp_path / "data", "--keep", "1")
    assert "3 older backups were removed" in said
    store = FolderStore(LocalFileSystem(), tmp_path / "kept")
    left = read_manifest(store, newest(store))
    assert set(files(tmp_path / "kept")) == {each.key for each in left.files}
    assert len(files(tmp_path / "kept")) < len(before)
    done("restore", tmp_path / "kept", tmp_path / "new")
    assert contents(tmp_path / "new") == wanted


class Interrupted(Exception):
    """As if the process died."""


class Dying(FolderStore):
    """Dies at the n-th write, half-way; or while the n-th object is read."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__(LocalFileSystem(), folder)
        self.left = after

    def put(self, key: str, pieces: Iterable[bytes], size: int) -> None:
        self.left -= 1
        if self.left < 0:
            (self._folder / key).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{key}.tmp").write_bytes(b"half")
            raise Interrupted
        super().put(key, pieces, size)


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    """At every write: no backup is there, those that were are whole, and the next one copies only what is left."""
    wanted = fill(tmp_path / "data", range(9))
    storage = Storage.open(tmp_path / "data")
    snapshot = tmp_path / "data" / FOLDER / storage.snapshot()
    storage.close()
    fs, kept = LocalFileSystem(), tmp_path / "kept"
    whole, after = 0, 0
    while True:
        store = Dying(kept, after)
        try:
            made, copied = back_up(fs, snapshot, store, "data")
        except Interrupted:
            assert not list(kept.glob("backups/*[!p]"))
            assert len([key for key in files(kept) if not key.endswith(".tmp")]) == (whole := whole + after)
            after = 1
            continue
        break
    assert whole > 8 and copied < made.size / 4
    restore(fs, store, read_manifest(store, newest(store)), tmp_path / "new")
    assert contents(tmp_path / "new") == wanted


def test_a_restore_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    wanted = fill(tmp_path / "data", range(9))
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    fs = LocalFileSystem()
    manifest = read_manifest(*(lambda store: (store, newest(store)))(FolderStore(fs, tmp_path / "kept")))

    def interrupt_at(step: int) -> None:
        steps = iter(range(1000))

        def told(at: int, total: int) -> None:
            if next(steps) == step:
                raise Interrupted

        with pytest.raises(Interrupted):
            restore(fs, FolderStore(fs, tmp_path / "kept"), manifest, tmp_path / "new", told)

    interrupt_at(0)
    assert run("query", "--data", tmp_path / "new", "m").exit_code != 0, "no data directory yet"
    interrupt_at(9)
    copying = tmp_path / "new" / "restoring.tmp"
    first = {path: path.stat().st_mtime_ns for path in copying.rglob("*") if path.suffix != ".part" and path.is_file()}
    assert len(first) > 2
    spoilt = next(path for path in first if path.name == "chunks")
    flip(spoilt)  # by a power cut, say
    del first[spoilt]
    restore(fs, FolderStore(fs, tmp_path / "kept"), manifest, tmp_path / "new")
    moved = {tmp_path / "new" / path.relative_to(copying): then for path, then in first.items()}
    assert {path: path.stat().st_mtime_ns for path in moved} == moved
    assert contents(tmp_path / "new") == wanted


def test_flipped_bytes_are_found(tmp_path: Path) -> None:
    fill(tmp_path / "data", range(6))
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    block = next((tmp_path / "data" / "blocks").iterdir()).name
    spoilt = next((tmp_path / "kept" / "files" / "blocks" / block).glob("chunks.*"))
    flip(spoilt)
    result = run("backup", tmp_path / "kept", "--verify")
    assert result.exit_code == 1 and f"{spoilt} is damaged: its SHA-256 is" in result.output
    result = run("restore", tmp_path / "kept", tmp_path / "new")
    assert isinstance(result.exception, Corruption) and f"{spoilt} is damaged" in str(result.exception)
    assert not (tmp_path / "new" / "blocks").exists()
    spoilt.unlink()
    result = run("backup", tmp_path / "kept", "--verify")
    assert result.exit_code == 1 and f"{spoilt} is missing" in result.output
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    assert "no damage found, in 2 backups" in done("backup", tmp_path / "kept", "--verify")


def test_a_damaged_manifest_is_found(tmp_path: Path) -> None:
    fill(tmp_path / "data", range(6))
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    spoilt = next((tmp_path / "kept" / "backups").iterdir())
    flip(spoilt)
    assert f"{spoilt} is damaged" in run("backup", tmp_path / "kept", "--verify").output
    assert f"{spoilt} is damaged" in run("backup", tmp_path / "kept", "--list").output
    assert isinstance(run("restore", tmp_path / "kept", tmp_path / "new").exception, Corruption)
    assert not (tmp_path / "new").exists()
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")  # reads everything, copies what is missing


def test_a_file_of_a_block_that_is_not_what_it_was(tmp_path: Path) -> None:
    """It is no longer the one that an earlier backup has read: that is told rather than copied."""
    fill(tmp_path / "data", range(9))
    fs, store = LocalFileSystem(), FolderStore(LocalFileSystem(), tmp_path / "kept")
    storage = Storage.open(tmp_path / "data")
    snapshot = tmp_path / "data" / FOLDER / storage.snapshot()
    storage.close()
    back_up(fs, snapshot, store, "data")
    chunks = next(snapshot.rglob("chunks"))
    flip(chunks)
    for path in (tmp_path / "kept" / "files").rglob("chunks.*"):
        path.unlink()
    with pytest.raises(Corruption, match="is not what it was when an earlier backup read it"):
        back_up(fs, snapshot, store, "data")
    back_up(fs, snapshot, store, "data", reread=True)


def manifest_of(store: Store, content: bytes) -> None:
    key = f"backups/20990101T000000.000Z.{hashlib.sha256(content).hexdigest()}"
    store.put(key, [content], len(content))


@pytest.mark.parametrize(("content", "kind", "message"), [
    (b'{"magic": "tsdb backup", "version": 2}', FormatTooNew, "has version 2, this tsdb reads up to 1"),
    (b'{"magic": "else", "version": 1}', Corruption, "is no manifest of a backup"),
    (b'{"magic": "tsdb backup", "version": 1, "name": "x", "source": "y", "files": '
     b'[{"path": "../x", "size": 1, "sha256": "%s"}]}' % (b"0" * 64), Corruption, "names a file that cannot be"),
    (b'{"magic": "tsdb backup", "version": 1, "name": "x", "source": "y", "files": []}', StorageError,
     "has no file FORMAT"),
])
def test_manifests_that_cannot_be(tmp_path: Path, content: bytes, kind: type[StorageError], message: str) -> None:
    manifest_of(FolderStore(LocalFileSystem(), tmp_path / "kept"), content)
    result = run("restore", tmp_path / "kept", tmp_path / "new")
    assert isinstance(result.exception, kind) and message in str(result.exception)


def test_of_a_server(tmp_path: Path) -> None:
    wanted = fill(tmp_path / "data", range(3))
    port = free_port()
    argv = [TSDB, "serve", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.retention.time=100y", "--log.level=warn", "--web.enable-admin-api"]
    process = Process(argv, tmp_path / "log", port)
    left = tmp_path / "data" / FOLDER / "20260101T000000Z-0000000000000000.backup"
    (left / "blocks").mkdir(parents=True)
    try:
        process.wait_ready()
        done("backup", tmp_path / "kept", "--url", f"http://127.0.0.1:{port}")
        result = run("backup", tmp_path / "kept", "--data", tmp_path / "data")
        assert isinstance(result.exception, DirectoryLocked) and "tsdb backup --url URL" in str(result.exception)
        assert list((tmp_path / "data" / FOLDER).iterdir()) == [], "what a backup that was killed has left goes, too"
    finally:
        process.kill()
    done("restore", tmp_path / "kept", tmp_path / "new")
    assert contents(tmp_path / "new") == wanted


def test_mistakes(tmp_path: Path) -> None:
    fill(tmp_path / "data", range(2))
    assert "give --url of a server that runs" in run("backup", tmp_path / "kept").output
    assert "--list and --verify stand alone" in run("backup", tmp_path / "kept", "--list", "--keep", "2").output
    for arguments, message in (
        (("backup", tmp_path / "data", "--data", tmp_path / "data"), "is a data directory or a snapshot"),
        (("backup", "s3:bucket://x", "--list"), "names no bucket"),
        (("backup", tmp_path / "kept", "--verify"), "has no backups: is it the right place?"),
        (("restore", tmp_path / "data", tmp_path / "new", "--backup", "x"), "has no backups, of which"),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, StorageError) and message in str(result.exception), result
    done("backup", tmp_path / "kept", "--data", tmp_path / "data")
    result = run("restore", tmp_path / "kept", tmp_path / "new", "--backup", "20200101T000000.000Z")
    assert "has no backup 20200101T000000.000Z: the newest are 2" in str(result.exception)
    with FolderStore(LocalFileSystem(), tmp_path / "kept").in_use():
        result = run("backup", tmp_path / "kept", "--data", tmp_path / "data")
        assert "another backup to it is under way" in str(result.exception)
