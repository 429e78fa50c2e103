"""The file of running queries: what it names when the process dies, and what no crash and no disk can make of it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import StartTsdb
from tests.processes import wait_until
from tsdb.server.queries.active_file import NAME, ActiveFile, read
from tsdb.wal.files import LocalFileSystem


def reopened(folder: Path, slots: int = 2) -> tuple[ActiveFile, list[str]]:
    file, unfinished = ActiveFile.open(LocalFileSystem(), folder, slots)
    return file, [text for text, _ in unfinished]


def test_what_runs_is_named_by_the_next_start(tmp_path: Path) -> None:
    file, unfinished = reopened(tmp_path)
    assert unfinished == []
    first, second = file.insert("first"), file.insert("é" * 1000)
    assert first is not None and second is not None
    assert file.insert("no room") is None
    file.remove(first)
    third = file.insert("third")
    assert third is not None
    assert len((tmp_path / NAME).read_bytes()) == 16 + 2 * 1024
    _, unfinished = reopened(tmp_path)
    assert sorted(unfinished) == ["third", "é" * 506]
    assert reopened(tmp_path)[1] == []


def test_a_clean_end_names_nothing(tmp_path: Path) -> None:
    file, _ = reopened(tmp_path)
    slot = file.insert("x")
    assert slot is not None
    file.remove(slot)
    file.close()
    file.remove(slot)  # by a thread that is late
    assert reopened(tmp_path)[1] == []


@given(st.binary(max_size=3000), st.booleans())
def test_any_bytes_are_read(content: bytes, ours: bool) -> None:
    read((b"tsdb-qry\x01\0\0\0\x02\0\0\0" if ours else b"") + content)


@pytest.mark.parametrize("content", [b"", b"tsdb-qry", b"tsdb-qry\x02\0\0\0\x01\0\0\0" + b"\1" * 1024])
def test_other_files_are_passed_over(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert reopened(tmp_path)[1] == []


def test_queries_that_ran_when_the_server_was_killed(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    server = start_tsdb()
    file = tmp_path / "data" / NAME
    endless = "quantile_over_time(0.5, vector(time())[100000s:1s])"
    asked = {"query": endless, "start": 0, "end": 11_000, "step": 1}

    def ask() -> None:
        with contextlib.suppress(OSError):
            server.client.get("/api/v1/query_range", asked)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: read(file.read_bytes()) != [], "the query runs")
    server.kill()
    thread.join(30)
    again = start_tsdb()
    [line] = [line for line in again.log.read_text().splitlines() if "didn't finish" in line]
    assert "msg=\"These queries didn't finish in prometheus' last run:\"" in line
    assert "quantile_over_time(0.5, vector(time())[100000s:1s])" in line
    assert read(file.read_bytes()) == []
