"""`tsdb import` of files, as a user runs it."""

from __future__ import annotations

import errno
import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.conftest import StartTsdb
from tests.storage.batches import bits, read
from tsdb.cli import cli
from tsdb.imports import jsonl
from tsdb.model.batch import Batch
from tsdb.model.errors import ConfigError, DirectoryLocked, StorageError, WrongInput
from tsdb.storage import Storage

T = 1_600_000_000


def run(*arguments: str | Path, given: str | bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["import", *map(str, arguments)], input=given)


def values(data: Path) -> dict[str, dict[int, int]]:
    storage = Storage.open(data, read_only=True)
    try:
        return {dict(labels)["__name__"]: dict(samples) for labels, samples in read(storage).items()}
    finally:
        storage.close()


def test_all_commands_are_listed_and_say_what_they_do() -> None:
    listed = run("--help").output
    for name in ("csv", "jsonl", "openmetrics", "parquet", "prometheus", "remote-write", "rules"):
        assert f"\n  {name} " in listed
    for name in ("csv", "jsonl", "openmetrics"):
        said = run(name, "--help").output
        assert f"tsdb import {name} " in said and "--data DIR" in said and "--url URL" in said


def test_standard_input_and_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "b.om").write_text(f"b 2 {T}\n# EOF\n")
    packed = gzip.compress(f"a 1 {T}\n# EOF\n".encode())
    done = run("openmetrics", "-", tmp_path / "b.om", "--data", data, given=packed)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "2 samples of 2 series in 1 block, from 2020-09-13T12:26:40Z to 2020-09-13T12:26:40Z" in done.output
    assert values(data) == {"a": {T * 1000: bits(1.0)}, "b": {T * 1000: bits(2.0)}}
    again = run("openmetrics", "-", tmp_path / "b.om", "--data", data, given=packed)
    assert again.exit_code == 0 and again.output.endswith(": nothing to do: this was imported before\n")
    text = run("openmetrics", "-", "--format", "prometheus", "--data", data, given=f"c 3 {T}001")
    assert text.exit_code == 0 and values(data)["c"] == {T * 1000 + 1: bits(3.0)}


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.om"
    wrong.write_text(f"a 1 {T}\na 2\n# EOF\n")
    data = tmp_path / "data"
    done = run("openmetrics", wrong, "--data", data)
    assert done.exit_code == 1 and isinstance(done.exception, WrongInput)
    assert str(done.exception) == f"{wrong}: line 2: the sample has no timestamp while parsing: 'a 2'"
    done = run("openmetrics", "-", "--data", data, given="a 1\n# EOF\n")
    assert str(done.exception).startswith("standard input: line 1: ")
    assert not values(data)
    done = run("openmetrics", wrong, "--data", data, "--skip-invalid")
    assert done.exit_code == 0 and "left out: 1 invalid lines\n" in done.output
    for arguments in ((), ("--data", data, "--url", "http://127.0.0.1:9")):
        assert isinstance(run("openmetrics", wrong, *arguments).exception, ConfigError)
    assert isinstance(run("jsonl", tmp_path / "none", "--data", data).exception, WrongInput)
    storage = Storage.open(data)
    done = run("openmetrics", wrong, "--data", data, "--skip-invalid")
    storage.close()
    assert isinstance(done.exception, DirectoryLocked) and "--url" in str(done.exception)


def test_it_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has read is kept, and the same command goes on."""
    data, files = tmp_path / "data", [tmp_path / f"{i}.jsonl" for i in range(3)]
    for i, file in enumerate(files):
        file.write_text(f'{{"metric":{{"__name__":"m{i}"}},"values":[{i}],"timestamps":[{T}000]}}\n')
    plain, reads = jsonl.read, []

    def interrupted(path: Path, *given: object, **options: object) -> Iterator[Batch]:
        reads.append(path.name)
        yield from plain(path, *given, **options)  # type: ignore[arg-type]
        if len(reads) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("tsdb.storage.bulk.writer.PATIENCE_S", 0.0)
    monkeypatch.setattr(jsonl, "read", interrupted)
    done = run("jsonl", *files, "--data", data)
    assert done.exit_code == 130
    assert f"the same command goes on behind the files that were read as a whole; what they have is kept in {data}" \
        in done.output
    assert not values(data)
    (tmp_path / "other.om").write_text("# EOF\n")
    other = run("openmetrics", tmp_path / "other.om", "--data", data)
    assert other.exit_code == 0 and "is of another import, which was interrupted: run that again" in other.output
    done = run("jsonl", *files, "--data", data)
    assert done.exit_code == 0 and reads == ["0.jsonl", "1.jsonl", "1.jsonl", "2.jsonl"]
    assert {name: list(own.values()) for name, own in values(data).items()} == {
        f"m{i}": [bits(float(i))] for i in range(3)}


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file")

    data, file = tmp_path / "data", tmp_path / "a.om"
    file.write_text(f"a 1 {T}\n# EOF\n")
    with monkeypatch.context() as patch:
        patch.setattr("tsdb.storage.bulk.writer.write_block", full)
        done = run("openmetrics", file, "--data", data)
    assert done.exit_code == 1 and isinstance(done.exception, StorageError)
    assert f"{data}: No space left on device (/some/file): once that is remedied" in str(done.exception)
    assert run("openmetrics", file, "--data", data).exit_code == 0 and values(data)


def test_into_a_server_that_runs(tmp_path: Path, start_tsdb: StartTsdb, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers at once, again is nothing to do, and nothing is left behind here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TSDB_CACHE_DIR", os.environ.get("TSDB_CACHE_DIR", os.path.expanduser("~/.cache/tsdb/kernels")))
    server = start_tsdb()
    now = int(time.time())
    (tmp_path / "a.csv").write_text("".join(f"{now - 3600 * i},{i}\n" for i in range(1, 20)))
    arguments = ("csv", tmp_path / "a.csv", "--no-header", "--time", "1:unix_s", "--metric", "m=2", "--url",
                 f"http://127.0.0.1:{server.port}")
    done = run(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "19 samples of 1 series in" in done.output
    (found,) = server.client.query("count_over_time(m[40h])", now)
    assert found["value"][1] == "19"
    again = run(*arguments)
    assert again.exit_code == 0 and "nothing to do: this was imported before" in again.output
    assert "older ones go" not in done.output
    assert not list((tmp_path / "cache" / "tsdb" / "import").iterdir())
    (tmp_path / "a.csv").write_text(f"{T},1\n")
    done = run(*arguments)
    assert done.exit_code == 1 and "would go at once: storage.tsdb.retention" in str(done.exception)
