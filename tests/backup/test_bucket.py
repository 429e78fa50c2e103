"""Backups in a bucket, of moto's server, which speaks S3's protocol."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backup.data import contents, done, fill, flip, run
from tests.processes import free_port, wait_until
from tsdb.backup import BucketStore, back_up, bucket_store, newest, read_manifest, restore, verify
from tsdb.backup.bucket_store import PART_BYTES
from tsdb.model.errors import StorageError
from tsdb.storage.directory import FORMAT_NAME, format_file
from tsdb.wal.files import LocalFileSystem

pytest.importorskip("obstore")
pytest.importorskip("moto.server")

SECRET = "not-to-be-seen"
DESTINATION = "s3://metrics/some/where"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a store with the bucket `metrics`."""
    url = f"http://127.0.0.1:{free_port()}"
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]],
                               stdout=log, stderr=log)

    def answers() -> bool:
        try:
            return ask(url, "GET") == 200
        except OSError:
            return False

    try:
        wait_until(answers, "moto's server answers")
        yield url
    finally:
        process.kill()
        process.wait(30)
        log.close()


@pytest.fixture(autouse=True)
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty, with credentials and endpoint in the environment."""
    ask(f"{endpoint}/moto-api/reset", "POST")
    ask(f"{endpoint}/metrics", "PUT")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    yield


def ask(url: str, method: str, body: bytes | None = None) -> int:
    with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=30) as answer:
        return int(answer.status)


def test_there_and_back(tmp_path: Path) -> None:
    first = fill(tmp_path / "data", range(4))
    assert f"{DESTINATION}: backup 20" in done("backup", DESTINATION, "--data", tmp_path / "data")
    second = fill(tmp_path / "data", range(4, 6))
    done("backup", DESTINATION, "--data", tmp_path / "data")
    assert "no damage found, in 2 backups" in done("backup", DESTINATION, "--verify")
    names = [line.split()[0] for line in done("backup", DESTINATION, "--list").splitlines()[1:]]
    for name, wanted in zip(names, (first, second), strict=True):
        done("restore", DESTINATION, tmp_path / name, "--backup", name)
        assert contents(tmp_path / name) == wanted
    assert "1 older backups were removed" in done("backup", DESTINATION, "--data", tmp_path / "data", "--keep", "2")
    assert "no damage found, in 2 backups" in done("backup", DESTINATION, "--verify")
    store = BucketStore(DESTINATION)
    left = {each.split("/")[-1] for each in store.list("backups")}
    assert len(left) == 2


def test_flipped_bytes_are_found(tmp_path: Path, endpoint: str) -> None:
    fill(tmp_path / "data", range(4))
    done("backup", DESTINATION, "--data", tmp_path / "data")
    store = BucketStore(DESTINATION)
    key = next(key for key in store.list("files") if "/chunks." in key)
    (tmp_path / "chunks").write_bytes(b"".join(store.get(key)))
    flip(tmp_path / "chunks")
    store.put(key, [(tmp_path / "chunks").read_bytes()], (tmp_path / "chunks").stat().st_size)
    result = run("backup", DESTINATION, "--verify")
    assert result.exit_code == 1 and f"{DESTINATION}/{key} is damaged: its SHA-256 is" in result.output
    assert f"{DESTINATION}/{key} is damaged" in str(run("restore", DESTINATION, tmp_path / "new").exception)


def large(folder: Path) -> Path:
    """What looks like a snapshot with files of several parts."""
    blocks = folder / "tiers" / "5m"
    blocks.mkdir(parents=True)
    (folder / FORMAT_NAME).write_bytes(format_file())
    for i in range(5):
        (blocks / f"file{i}").write_bytes(bytes([i]) * (PART_BYTES + 1000))
    return folder


def test_a_process_that_is_killed_while_it_uploads(tmp_path: Path, endpoint: str) -> None:
    """No backup is there, and no file that is not whole; the next one goes on."""
    folder = large(tmp_path / "snapshot")
    program = ("import sys; from pathlib import Path; from tsdb.backup import *; "
               "from tsdb.wal.files import LocalFileSystem; "
               f"back_up(LocalFileSystem(), Path({str(folder)!r}), BucketStore({DESTINATION!r}), 'data')")
    store = BucketStore(DESTINATION)
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: process.poll() is not None or len(store.list("files")) >= 3, "some files are there")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(30)
    there = store.list("files")
    assert 3 <= len(there) <= 6 and not store.list("backups")
    assert all(found.size == PART_BYTES + 1000 for key, found in there.items() if "file" in key.split("/")[-1])
    made, copied = back_up(LocalFileSystem(), folder, store, "data")
    assert copied <= made.size - sum(found.size for found in there.values())
    assert verify(store, [newest(store)]) == []
    restore(LocalFileSystem(), store, read_manifest(store, newest(store)), tmp_path / "new")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert (tmp_path / "new" / path.relative_to(folder)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("change", "message"), [
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "run it again to go on"),
    ({"AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
])
def test_what_is_wrong_is_said(change: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_store, "RETRIES", 1)
    for name, value in change.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    result = run("backup", DESTINATION, "--list")
    assert isinstance(result.exception, StorageError) and message in str(result.exception)
    assert SECRET not in str(result.exception)


def test_there_is_no_bucket(tmp_path: Path) -> None:
    fill(tmp_path / "data", range(2))
    for arguments in (["backup", "s3://nowhere/x", "--data", tmp_path / "data"],
                      ["backup", "s3://nowhere/x", "--verify"], ["restore", "s3://nowhere/x", tmp_path / "new"]):
        assert "there is no bucket nowhere: make it, or look at" in str(run(*arguments).exception)
