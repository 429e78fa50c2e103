"""Blocks that are uploaded by HTTP, by hand and by the client of imports."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import Answer, Client
from tests.processes import wait_until
from tests.server.conftest import Begin, Running
from tests.storage.batches import bits
from tests.storage.block.plain import Content, PlainSource
from tsdb.config import Config
from tsdb.imports import upload as uploading
from tsdb.imports.upload import Uploaded, upload
from tsdb.model.errors import ConfigError, TsdbError
from tsdb.model.settings import Bytes
from tsdb.server.config import ServerConfig
from tsdb.server.server import open_storage
from tsdb.storage.block import BlockMeta, write_block
from tsdb.storage.block.meta import OUT_OF_ORDER
from tsdb.storage.block.ulid import new_ulid
from tsdb.storage.upkeep.retention import Retention
from tsdb.wal.files import LocalFileSystem

HOUR = 3_600_000
FIRST = time.time_ns() // 1_000_000 // HOUR * HOUR - 30 * HOUR


def made(folder: Path, number: int = 0, series: int = 5) -> BlockMeta:
    """A block of two hours as an import writes it."""
    begin = FIRST + number * 2 * HOUR
    content: Content = {(("__name__", "m"), ("n", str(n))): [[(begin + i * 60_000, bits(float(n))) for i in range(100)]]
               for n in range(series)}
    return write_block(LocalFileSystem(), folder, PlainSource(content, begin, begin + 2 * HOUR, 100),
                       hints=(OUT_OF_ORDER,))


def post(client: Client, ulid: str, what: str, body: bytes = b"", query: str = "", digest: str = "") -> Answer:
    headers = {"Content-Digest": f"sha-256=:{digest}:"} if digest else {}
    return client.request("POST", f"/api/v1/upload/block/{ulid}/{what}{query}", body, headers)


def samples(client: Client) -> int:
    """Of one series."""
    found = client.query('count_over_time(m{n="1"}[2d])', time.time())
    return int(found[0]["value"][1]) if found else 0


def test_by_hand(running: Running, tmp_path: Path) -> None:
    client, meta = running.client, made(tmp_path)
    folder, check = tmp_path / meta.ulid, f"/api/v1/upload/block/{meta.ulid}/check"
    assert client.get(check).status == 404
    assert post(client, meta.ulid, "files", b"x", "?path=index").status == 404
    assert post(client, meta.ulid, "start", (folder / "meta.json").read_bytes()).status == 200
    assert client.get(check).json() == {"result": "uploading"}
    index, chunks = (folder / "index").read_bytes(), (folder / "chunks").read_bytes()
    digest = base64.b64encode(hashlib.sha256(index).digest()).decode()
    assert post(client, meta.ulid, "files", index[1:], "?path=index", digest).status == 400
    assert post(client, meta.ulid, "files", index, "?path=index", "?").status == 400
    assert post(client, meta.ulid, "files", index, "?path=index", digest).status == 200
    assert client.get(check).json() == {"result": "uploading", "files": {"index": len(index)}}
    early = post(client, meta.ulid, "finish")
    assert early.status == 400 and b"no chunks yet" in early.body
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # curl's, where nothing else is said
    sent = client.request("POST", f"/api/v1/upload/block/{meta.ulid}/files?path=chunks", chunks, form)
    assert sent.status == 200
    assert post(client, meta.ulid, "finish").status == 200
    wait_until(lambda: bool(client.get(check).json() == {"result": "complete"}), "the block is shown", 20)
    assert samples(client) == 100
    again = post(client, meta.ulid, "start", (folder / "meta.json").read_bytes())
    assert again.status == 409 and b"there already" in again.body
    metrics = client.get("/metrics").body.decode()
    assert "tsdb_uploaded_blocks_total 1.0" in metrics
    assert f"tsdb_uploaded_bytes_total {float(len(index) + len(chunks))}" in metrics


def test_requests_that_are_refused(running: Running) -> None:
    for ulid, query, body, problem in (
        ("x", "", b"x", b"invalid block ID"), (new_ulid().lower(), "", b"x", b"invalid block ID"),
        (new_ulid(), "?path=chunks/000001", b"x", b"tsdb import prometheus"), (new_ulid(), "", b"x", b"no file"),
        (new_ulid(), "?path=index&offset=-1", b"x", b"offset"), (new_ulid(), "?path=index&offset=1e3", b"x", b"offset"),
        (new_ulid(), "?path=../../FORMAT", b"x", b"no file"), (new_ulid(), "?path=index", b"", b"empty"),
        (new_ulid(), "?path=index", b"\xba\xaa\xd7\x00\x02", b"in Prometheus' format"),
    ):
        answer = post(running.client, ulid, "files", body, query)
        assert answer.status == 400 and problem in answer.body


def test_the_client(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "PART_BYTES", 3000)
    url, told = f"http://127.0.0.1:{running.port}/", []
    metas = [made(tmp_path, number) for number in range(3)]
    total = sum((tmp_path / meta.ulid / name).stat().st_size for meta in metas for name in ("index", "chunks"))
    assert upload(url, tmp_path, metas[:1]) == Uploaded(1, 0)
    assert upload(url, tmp_path, metas, lambda done, of: told.append((done, of))) == Uploaded(2, 1)
    assert told[-1] == (total, total) and told == sorted(told) and len(told) > 6
    assert samples(running.client) == 300
    assert upload(url, tmp_path, metas) == Uploaded(0, 3)


def test_what_came_before_is_not_sent_again(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, meta = running.client, made(tmp_path)
    index = (tmp_path / meta.ulid / "index").read_bytes()
    post(client, meta.ulid, "start", (tmp_path / meta.ulid / "meta.json").read_bytes())
    post(client, meta.ulid, "files", index[:1500], "?path=index")
    assert upload(f"http://127.0.0.1:{running.port}", tmp_path, [meta]) == Uploaded(1, 0)
    metrics = client.get("/metrics").body.decode()
    whole = len(index) + (tmp_path / meta.ulid / "chunks").stat().st_size
    assert f"tsdb_uploaded_bytes_total {float(whole)}" in metrics, "nothing twice"


def test_a_server_that_was_restarted_in_between(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 ) -> None:
    monkeypatch.setattr(uploading, "PART_BYTES", 400)
    told: list[int] = []

    def progress(done: int, of: int) -> None:
        told.append(done)
        if len(told) in (3, 7):
            running.server.services.storage.uploads._uploads.clear()

    assert upload(f"http://127.0.0.1:{running.port}", tmp_path, [made(tmp_path)], progress) == Uploaded(1, 0)
    assert samples(running.client) == 100 and told != sorted(told), "it began anew"

    def ever(done: int, of: int) -> None:
        running.server.services.storage.uploads._uploads.clear()

    with pytest.raises(TsdbError, match="does it start again and again"):
        upload(f"http://127.0.0.1:{running.port}", tmp_path, [made(tmp_path, 1)], ever)


def test_damage_is_told(running: Running, tmp_path: Path) -> None:
    meta = made(tmp_path)
    chunks = tmp_path / meta.ulid / "chunks"
    data = bytearray(chunks.read_bytes())
    data[len(data) // 2] ^= 1
    chunks.write_bytes(data)
    with pytest.raises(TsdbError, match=f"does not take block {meta.ulid}: the block is damaged.*wrong checksum"):
        upload(f"http://127.0.0.1:{running.port}", tmp_path, [meta])
    assert samples(running.client) == 0


def test_limits_of_the_server(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = begin(Config(server=ServerConfig(max_body_size=Bytes(2000), max_upload_size=Bytes(20_000))))
    small.open(open_storage(tmp_path / "data", None))
    monkeypatch.setattr(uploading, "PART_BYTES", 4096)
    monkeypatch.setattr(uploading, "SMALLEST_PART_BYTES", 500)
    url = f"http://127.0.0.1:{small.port}"
    assert upload(url, tmp_path / "blocks", [made(tmp_path / "blocks")]) == Uploaded(1, 0)
    with pytest.raises(TsdbError, match=r"\(413\): the block has more than 20000 bytes \(server\.max_upload_size\)"):
        upload(url, tmp_path / "blocks", [made(tmp_path / "blocks", 1, series=500)])


def test_what_is_older_than_what_is_kept(running: Running, tmp_path: Path) -> None:
    """All else is sent."""
    storage: Any = running.server.services.storage
    storage.set_retention(Retention(time_ms=23 * HOUR))
    metas = [made(tmp_path, number) for number in (12, 0, 1)]
    url = f"http://127.0.0.1:{running.port}"
    assert upload(url, tmp_path, metas[:1]) == Uploaded(1, 0)
    storage._expiry._newest = FIRST + 26 * HOUR
    with pytest.raises(TsdbError, match=r"does not take 1 of 3 blocks, all others it has: .*storage\.tsdb\.retention"):
        upload(url, tmp_path, metas)
    assert samples(running.client) == 200


def test_a_server_that_takes_none(begin: Begin, tmp_path: Path) -> None:
    none = begin(Config(server=ServerConfig(max_uploads=0)))
    none.open(open_storage(tmp_path / "data", None))
    with pytest.raises(TsdbError, match=r"not taken here \(server\.max_uploads is 0\)"):
        upload(f"http://127.0.0.1:{none.port}", tmp_path / "blocks", [made(tmp_path / "blocks")])


class Flaky(http.server.BaseHTTPRequestHandler):
    """Says it is busy for the first request, and breaks off the second; then it has the block."""

    asked = 0

    def do_POST(self) -> None:
        Flaky.asked += 1
        if Flaky.asked == 2:
            self.connection.close()
            return
        self.send_response(503 if Flaky.asked == 1 else 409)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def flaky() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Flaky)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_it_is_tried_again(flaky: str, tmp_path: Path) -> None:
    assert upload(flaky, tmp_path, [made(tmp_path)]) == Uploaded(0, 1)
    assert Flaky.asked == 3


def test_addresses_that_lead_nowhere(tmp_path: Path, running: Running) -> None:
    metas = [made(tmp_path)]
    with pytest.raises(ConfigError, match="is no URL of a server"):
        upload("127.0.0.1:9090", tmp_path, metas)
    with pytest.raises(TsdbError, match="is it the address of a server"):
        upload("http://127.0.0.1:1", tmp_path, metas)
    with pytest.raises(TsdbError, match="takes no uploads of blocks"):
        upload(f"http://127.0.0.1:{running.port}/elsewhere", tmp_path, metas)
