"""`tsdb snapshot` and `tsdb restore`, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.processes import TSDB, Process, free_port
from tests.storage.batches import bits, make_batch, read
from tsdb.cli import cli
from tsdb.model.errors import Corruption, DirectoryLocked, StorageError, TsdbError
from tsdb.storage import Storage
from tsdb.storage.block import Block
from tsdb.storage.upkeep.snapshots import FOLDER
from tsdb.wal.files import LocalFileSystem

HOUR = 3_600_000
START = 490_000 * HOUR
SERIES = [{"__name__": "m", "n": str(n)} for n in range(4)]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def fails(kind: type[TsdbError], match: str, *arguments: str | Path) -> None:
    with pytest.raises(kind, match=match):
        CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=False)


def filled(data: Path) -> dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]:
    storage = Storage.open(data)
    for at in range(0, 6 * HOUR, HOUR // 2):
        storage.submit(make_batch(storage.secret, SERIES, [(n, START + at, bits(n)) for n in range(4)])).result(10)
    storage.compact()
    storage.submit(make_batch(storage.secret, SERIES, [(n, START + 7 * HOUR, bits(n)) for n in range(4)])).result(10)
    found = read(storage)
    storage.close()
    return found


def taken(data: Path) -> Path:
    result = run("snapshot", "--data", data)
    assert result.exit_code == 0, result.output
    return Path(result.output.strip())


def test_a_snapshot_is_restored(tmp_path: Path) -> None:
    wanted = filled(tmp_path / "data")
    snapshot = taken(tmp_path / "data")
    assert snapshot.parent == tmp_path / "data" / FOLDER
    result = run("restore", snapshot, tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "restored 52 samples in " in result.output and "from 2025-" in result.output
    restored = Storage.open(tmp_path / "new")
    assert read(restored) == wanted
    restored.close()
    fails(StorageError, "new is not empty: give a new folder", "restore", snapshot, tmp_path / "new")


def test_mistakes(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    assert "give --url of a server that runs" in run("snapshot").output
    assert "give --url of a server that runs" in run("snapshot", "--url", "http://x", "--data", "y").output
    assert "is no URL of a server" in run("snapshot", "--url", "here").output
    fails(StorageError, "is not a data directory of tsdb", "snapshot", "--data", tmp_path)
    fails(TsdbError, "is it the address of a server?", "snapshot", "--url", f"http://127.0.0.1:{free_port()}")
    fails(StorageError, "there is no such folder", "restore", tmp_path / "nowhere", tmp_path / "new")
    fails(StorageError, "is no snapshot of tsdb", "restore", tmp_path, tmp_path / "new")
    fails(StorageError, "is a data directory, or a snapshot that was written to", "restore", tmp_path / "data",
          tmp_path / "new")
    storage = Storage.open(tmp_path / "data")
    fails(DirectoryLocked, "is in use by process .* tsdb snapshot --url URL", "snapshot", "--data", tmp_path / "data")
    storage.close()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("file", ["chunks", "index", "meta.json"])
def test_damage_is_found_before_anything_is_written(tmp_path: Path, file: str) -> None:
    filled(tmp_path / "data")
    snapshot = taken(tmp_path / "data")
    path = next((snapshot / "blocks").iterdir()) / file
    content = bytearray(path.read_bytes())
    content[70 if file == "index" else len(content) // 2] ^= 4
    path.write_bytes(content)
    fails(Corruption, str(path.parent), "restore", snapshot, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_index_that_can_be_mended_is_mended_in_the_copy(tmp_path: Path) -> None:
    wanted = filled(tmp_path / "data")
    snapshot = taken(tmp_path / "data")
    path = next((snapshot / "blocks").iterdir()) / "index"
    block = Block.open(LocalFileSystem(), path.parent)
    fingerprints = block.index["fingerprint"].raw.tobytes()
    block.release()
    content = bytearray(path.read_bytes())
    content[content.index(fingerprints)] ^= 4
    path.unlink()  # the original shares it
    path.write_bytes(content)
    assert run("restore", snapshot, tmp_path / "new").exit_code == 0
    assert path.read_bytes() == content, "the snapshot stays as it is"
    for name in ("index", "chunks", "meta.json"):
        at = Path("blocks") / path.parent.name / name
        assert not (tmp_path / "data" / at).exists() or (
            (tmp_path / "new" / at).read_bytes() == (tmp_path / "data" / at).read_bytes())
    restored = Block.open(LocalFileSystem(), tmp_path / "new" / "blocks" / path.parent.name)
    assert not list(restored.problems())
    restored.release()
    opened = Storage.open(tmp_path / "new")
    assert read(opened) == wanted
    opened.close()


def test_what_was_begun_can_be_begun_again(tmp_path: Path) -> None:
    wanted = filled(tmp_path / "data")
    snapshot = taken(tmp_path / "data")
    left = tmp_path / "new" / "blocks.tmp" / "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    left.mkdir(parents=True)
    (left / "chunks").write_bytes(b"half")
    assert run("restore", snapshot, tmp_path / "new").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["FORMAT", "blocks"]
    restored = Storage.open(tmp_path / "new")
    assert read(restored) == wanted
    restored.close()


def test_of_a_server(tmp_path: Path) -> None:
    wanted = filled(tmp_path / "data")
    port = free_port()
    argv = [TSDB, "serve", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.retention.time=100y", "--log.level=warn", "--web.enable-admin-api"]
    process = Process(argv, tmp_path / "log", port)
    try:
        process.wait_ready()
        result = run("snapshot", "--url", f"http://127.0.0.1:{port}/")
        assert result.exit_code == 0, result.output
    finally:
        process.kill()
    name = result.output.strip()
    assert run("restore", tmp_path / "data" / FOLDER / name, tmp_path / "new").exit_code == 0
    restored = Storage.open(tmp_path / "new", read_only=True)
    assert read(restored) == wanted
    restored.close()
