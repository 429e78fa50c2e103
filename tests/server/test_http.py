"""What holds for all routes: methods, CORS, compression, limits, readiness, errors."""

from __future__ import annotations

import errno
import gzip
import io
import socket
import threading
import time
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.client import Client
from tests.server.conftest import Begin, Running
from tsdb.config import Config
from tsdb.flags import Flags
from tsdb.model.errors import Unavailable
from tsdb.model.settings import Bytes, Duration
from tsdb.server.api.routes import PAGES, ROUTES
from tsdb.server.config import ServerConfig
from tsdb.server.http.dispatch import Compressor


def test_before_it_is_ready(begin: Begin) -> None:
    client = begin().client
    assert client.get("/-/healthy").status == 200
    ready = client.get("/-/ready")
    assert ready.status == 503
    assert ready.body.startswith(b"Service Unavailable: tsdb is starting: ")
    assert ready.headers["x-prometheus-stopping"] == "false"
    for path in ("/api/v1/query", "/api/v1/labels"):
        answer = client.get(path)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert client.request("POST", "/api/v1/write", b"").status == 503
    assert client.get("/metrics").status == 200
    assert client.data("status/buildinfo")["version"].startswith("3.")


def test_ready(running: Running) -> None:
    answer = running.client.get("/-/ready")
    assert (answer.status, answer.body) == (200, b"tsdb is Ready.\n")
    assert running.client.request("HEAD", "/-/ready").body == b""


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothere", 404, None),
        ("GET", "/api/v1/nothere", 404, None),
        ("GET", "/api/v1/label//values", 404, None),
        ("POST", "/-/ready", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/v1/query", 405, "GET, OPTIONS, POST"),
        ("HEAD", "/api/v1/query", 405, "GET, OPTIONS, POST"),
        ("GET", "/api/v1/write", 405, "OPTIONS, POST"),
        ("OPTIONS", "/api/v1/query", 204, None),
        ("OPTIONS", "/-/ready", 200, "GET, HEAD, OPTIONS"),
    ],
)
def test_methods(running: Running, method: str, path: str, status: int, allow: str | None) -> None:
    answer = running.client.request(method, path)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)


def test_the_index_lists_all_routes(running: Running) -> None:
    text = running.client.get("/").body.decode()
    assert all(route.path in text and route.doc in text for route in ROUTES)


@pytest.mark.parametrize(
    ("options", "prefix", "target"),
    [
        (Flags(), "", "/"),
        (Flags(external_url="http://h/pre", route_prefix="/pre"), "/pre", "/pre/"),
        (Flags(external_url="http://h/pre"), "", "/pre/"),  # behind a proxy that takes it away
    ],
)
def test_pages_of_prometheus_lead_to_the_index(begin: Begin, options: Flags, prefix: str, target: str) -> None:
    client = begin(flags=options).client
    assert {"/graph", "/query", "/alerts", "/targets", "/status"} < {page.path for page in PAGES}
    for page in PAGES:
        answer = client.get(f"{prefix}{page.path}?g0.expr=up")
        assert (answer.status, answer.headers["location"]) == (302, target)
        assert client.request("POST", f"{prefix}{page.path}").status == 405
    assert client.get(f"{prefix}/").status == 200


@pytest.mark.parametrize(
    "path", ["/-/healthy", "/metrics", "/nothere", "/api/v1/query?query=(", "/api/v1/notifications/live"]
)
def test_nobody_is_told_what_the_server_is_made_of(running: Running, path: str) -> None:
    """As Prometheus; answers to what is no HTTP, and those that are streamed, included."""
    for start_line in (f"GET {path} HTTP/1.1", "GET / nonsense"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=30) as sock:
            sock.sendall(f"{start_line}\r\nHost: a\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                part = sock.recv(1 << 16)
                assert part
                head += part
        assert head.startswith(b"HTTP/1.") and b"\r\nserver:" not in head.lower()


def test_cors(running: Running) -> None:
    path = "/api/v1/labels"
    assert running.client.get(path).headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in running.client.get(path).headers
    for method in ("GET", "OPTIONS"):
        headers = running.client.request(method, path, headers={"Origin": "http://x.y"}).headers
        assert headers["access-control-allow-origin"] == "http://x.y"
        assert headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert headers["access-control-allow-headers"] == "Accept, Authorization, Content-Type, Origin"
        assert headers["access-control-expose-headers"] == "Date"


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, deflate, br, zstd", "zstd"), ("gzip;q=0", None),
     ("zstd;q=0, gzip", "gzip"), ("deflate", None), ("identity", None)],
)
def test_compression(running: Running, accept: str, encoding: str | None) -> None:
    answer = running.client.request("GET", "/metrics", headers={"Accept-Encoding": accept})
    assert answer.headers.get("content-encoding") == encoding
    assert int(answer.headers["content-length"]) == len(answer.body)
    body = answer.body
    if encoding == "gzip":
        body = gzip.decompress(body)
    elif encoding == "zstd":
        body = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read()
    assert b"prometheus_ready 1.0" in body


def test_small_answers_stay_plain(running: Running) -> None:
    answer = running.client.request("GET", "/api/v1/labels", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@given(st.lists(st.binary()), st.sampled_from(["gzip", "zstd"]))
def test_parts_compress_to_one_stream(parts: list[bytes], encoding: str) -> None:
    body = b"".join(Compressor(encoding).all(parts))
    if encoding == "gzip":
        assert gzip.decompress(body) == b"".join(parts)
    else:
        assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read() == b"".join(parts)


def test_bodies_are_limited(begin: Begin) -> None:
    client = begin(Config(server=ServerConfig(max_body_size=Bytes(1000)))).client
    # a server that starts refuses before it reads; /-/ready takes no body
    assert client.request("POST", "/api/v1/write", bytes(2000)).status == 503


def test_a_body_over_the_limit(begin: Begin, tmp_path: Any) -> None:
    from tsdb.server.server import open_storage

    running = begin(Config(server=ServerConfig(max_body_size=Bytes(1000), read_timeout=Duration(500))))
    running.open(open_storage(tmp_path, None))
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        answer = running.client.request("POST", "/api/v1/labels", bytes(2000), headers)
        assert answer.status in (413, 400), answer  # the body is no chunk
    with socket.create_connection(("127.0.0.1", running.port), 30) as slow:
        slow.sendall(b"POST /api/v1/labels HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert b" 408 " in slow.recv(1000)


BROKEN = (
    b"zz\r\nabc\r\n", b"-5\r\n", b"5\r\nabcdefgh\r\n", b"5\r\nabcde\r\nmore\r\n", b"\xff\0\r\n", b"f" * 20 + b"\r\n",
)


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_broken_chunks(running: Running, caplog: pytest.LogCaptureFixture, pause: float) -> None:
    """Refused at once, and one line in the log about all of them."""
    for sent in BROKEN:
        with socket.create_connection(("127.0.0.1", running.port), 30) as client:
            client.sendall(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                           b"Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\r\n")
            time.sleep(pause)
            client.sendall(sent)
            assert b" 400 Bad Request" in client.recv(1000), sent
            while client.recv(1000):
                pass  # the connection is closed
    assert [each.getMessage() for each in caplog.records if each.levelname != "INFO"] in ([], ["broken request"])
    assert "Traceback" not in caplog.text


def test_a_client_that_asks_before_it_sends(running: Running) -> None:
    head = b"POST /api/v1/labels HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), 30) as client:
        client.sendall(head % 3)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    with socket.create_connection(("127.0.0.1", running.port), 30) as client:
        client.sendall(head % (1 << 40))
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_form_and_query_string(running: Running) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def error(path: str, body: bytes, headers: dict[str, str] = form) -> str:
        answer = running.client.request("POST", "/api/v1/" + path, body, headers)
        assert answer.status == 400
        return str(answer.json()["error"])

    assert "cannot parse \"body\"" in error("labels?start=url", b"start=body")
    assert "cannot parse \"url\"" in error("labels?start=url", b"start=body", {"Content-Type": "text/plain"})
    assert error("series", b"match[]=%zz") == 'error parsing form values: invalid URL escape "%zz"'
    assert error("series", b"a;b") == "error parsing form values: invalid semicolon separator in query"
    assert error("series?match%5B%5D=%25", b"").startswith('invalid parameter "match[]": ')


class Broken:
    """A database and an engine that do nothing but fail."""

    secret = None

    def __init__(self, error: Exception) -> None:
        self._error = error

    def label_names(self, *_: Any) -> list[str]:
        raise self._error

    def statistics(self) -> Any:
        raise self._error

    def follow_damage(self, _: Any) -> None:
        pass

    def end_upkeep(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_bug_is_an_internal_error(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    running = begin()
    broken: Any = Broken(ZeroDivisionError("oops"))
    running.open(lambda services: (broken, broken))
    answer = running.client.get("/api/v1/labels")
    assert answer.status == 500
    assert answer.json() == {
        "status": "error", "errorType": "internal", "error": "internal error: the server's log has the details",
    }
    assert "ZeroDivisionError" in caplog.text
    assert running.client.get("/-/healthy").status == 200
    assert running.client.get("/metrics").status == 500


def test_two_servers_in_one_process(begin: Begin, tmp_path: Any) -> None:
    from tsdb.server.server import open_storage

    servers = [begin(), begin()]
    for number, running in enumerate(servers):
        running.open(open_storage(tmp_path / str(number), None))
    servers[0].client.get("/api/v1/labels")
    for running, count in zip(servers, (1, 0), strict=True):
        text = running.client.get("/metrics").body.decode()
        assert text.count('prometheus_http_requests_total{code="200",handler="/api/v1/labels"} 1.0') == count


def test_stop_lets_requests_finish(begin: Begin) -> None:
    running = begin()
    entered, leave = threading.Event(), threading.Event()

    class Slow(Broken):
        def label_names(self, *_: Any) -> list[str]:
            entered.set()
            assert leave.wait(30)
            return ["late"]

    slow: Any = Slow(ValueError())
    running.open(lambda services: (slow, slow))
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(running.client.get("/api/v1/labels")))
    asking.start()
    assert entered.wait(30)
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    with pytest.raises(OSError):  # refused or reset, or never answered if it came in just then
        for _ in range(1000):
            Client(running.port).get("/-/healthy", timeout=1)
    leave.set()
    asking.join(30)
    stopping.join(30)
    assert answers[0].json()["data"] == ["late"]


def test_stop_ends_long_work(begin: Begin) -> None:
    running = begin(flags=Flags(enable_admin_api=True))
    entered, ended = threading.Event(), threading.Event()

    class Long(Broken):
        def compact(self) -> None:
            entered.set()
            assert ended.wait(30)
            raise Unavailable("the storage is shutting down")

        def end_upkeep(self) -> None:
            ended.set()

    long: Any = Long(ValueError())
    running.open(lambda services: (long, long))
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(running.client.request("POST", "/api/v1/admin/tsdb/compact")))
    asking.start()
    assert entered.wait(30)
    running.stop()
    asking.join(30)
    assert (answers[0].status, answers[0].body) == (503, b"the storage is shutting down\n")


@pytest.mark.parametrize(("problem", "message"), [
    (OSError(errno.ENOSPC, "No space left on device"),
     "compact: No space left on device (data): all samples are as they were; free some space on the disk, or delete "
     "series, for which a reserve is kept, then ask again"),
    (OSError(errno.EIO, "Input/output error", "data/blocks/x/index"),
     "compact: Input/output error (data/blocks/x/index): all samples are as they were; look at the disk and at the "
     "server's log, then ask again"),
])
def test_a_disk_that_fails_is_told(begin: Begin, problem: OSError, message: str) -> None:
    class Full(Broken):
        def compact(self) -> None:
            raise self._error

    running = begin(flags=Flags(enable_admin_api=True))
    full: Any = Full(problem)
    running.open(lambda services: (full, full))
    answer = running.client.request("POST", "/api/v1/admin/tsdb/compact")
    assert answer.status == 500
    assert answer.json() == {"status": "error", "errorType": "internal", "error": message}


def test_routes_are_described() -> None:
    for route in ROUTES:
        assert route.doc.endswith(".") and all(parameter.doc for parameter in route.parameters), route.path
