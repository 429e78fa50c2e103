"""Flags: all of the real Prometheus' are known, read and shown as there; those that are acted on do what they say."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.client import Client
from tests.processes import TSDB, Process, free_port, wait_until
from tsdb import config as config_file
from tsdb.cli import cli
from tsdb.config import Config
from tsdb.flags import FEATURES, FLAGS, Flags, external_url, parse
from tsdb.flags.table import GONE
from tsdb.model.errors import ConfigError
from tsdb.server.effective import addresses, effective, shown

Peer = Callable[[str], Path]

OURS = {
    "config.file": "without a file everything has its default",
    "web.listen-address": "loopback, not all addresses",
    "storage.tsdb.path": "Debian's Prometheus has its own",
    "storage.agent.path": "Debian's Prometheus has its own",
    "web.local-assets": "Debian's alone",
    "web.console.templates": "Debian's Prometheus has its own",
    "web.console.libraries": "Debian's Prometheus has its own",
}
"""Defaults that differ, and why."""

NEWER = {"web.enable-otlp-receiver", "storage.tsdb.delay-compact-file.path", "storage.tsdb.block-reload-interval"}
"""Flags that not every build of Prometheus 3 has."""


def serve(*arguments: str) -> dict[str, Any]:
    """What the command line makes of these arguments."""
    context = cli.commands["serve"].make_context("serve", list(arguments))
    return dict(context.params)


@pytest.mark.peer
def test_every_flag_of_the_real_help(peer: Peer) -> None:
    text = subprocess.run([peer("prometheus"), "--help-long"], capture_output=True, text=True, timeout=60).stdout
    found = re.findall(r"^  (?:-\w, |    )--(\[no-\])?([\w.-]+)(?:=(.*))?", text, re.MULTILINE)
    assert len(found) > 50
    known = {flag.name: flag for flag in FLAGS}
    for no, name, rest in found:
        if name in ("help", "version"):
            continue
        flag = known[name]
        assert flag.is_bool == bool(no), name
        assert flag.repeated == bool(re.search(r" \.\.\.( |$)", rest)), name
        if no:
            assert serve(f"--{name}") and serve(f"--no-{name}")
            continue
        examples = {"duration": "1h", "size": "1GB", "integer": "5"}
        value = flag.default.split(",")[0] or examples.get(flag.kind.name, "x")
        parameter = name.replace(".", "_").replace("-", "_")
        assert serve(f"--{name}={value}")[parameter] == (value,)
        assert serve(f"--{name}", value)[parameter] == (value,)
        parse({name: [value], "agent": ["true"]})


@pytest.mark.peer
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("storage.tsdb.retention.size=1.5GB", "web.external-url=http://foo.example/prom/", "query.timeout=65s",
         "web.read-timeout=90m", "query.max-samples=5e7", "enable-feature=a,b", "enable-feature=c",
         "web.cors.origin=https?://(a|b)\\.com", "log.level=WARN", "query.lookback-delta=7d",
         "scrape.timestamp-tolerance=1500ms", "auto-gomemlimit.ratio=.5", "no-auto-gomemlimit",
         "web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request"),
        ("storage.tsdb.retention.time=90d", "web.route-prefix=/a/b/", "web.page-title=", "web.max-connections=1.5",
         "query.max-concurrency=3", "storage.tsdb.wal-segment-size=20MB512KB", "scrape.timestamp-tolerance=90m"),
        ("storage.tsdb.retention.time=400y", "web.route-prefix=prom", "web.external-url=http://h/x/y", "agent"),
    ],
    ids=["none", "several", "others", "agent"],
)
def test_values_are_shown_as_there(peer: Peer, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    if "agent" in arguments:  # server and agent exclude each other's flags
        arguments = tuple(text for text in arguments if not text.startswith("storage.tsdb"))
    (tmp_path / "p.yml").write_text("")
    port = free_port()
    fixed = [f"web.listen-address=127.0.0.1:{port}", f"config.file={tmp_path}/p.yml"]
    data = [] if "agent" in arguments else [f"storage.tsdb.path={tmp_path}/data"]
    written = [*fixed, *data, *arguments]
    argv = [str(peer("prometheus")), *(f"--{text}" for text in written)]
    if "agent" in arguments:
        argv.append(f"--storage.agent.path={tmp_path}/agent")
    process = Process(argv, tmp_path / "log", port)
    given: dict[str, list[str]] = {}
    for text in written:
        name, equals, value = text.partition("=")
        given.setdefault(name.removeprefix("no-") if not equals else name, []).append(
            value if equals else str(not name.startswith("no-")).lower()
        )
    flags = parse(given)
    try:
        process.wait_ready(f"{flags.route_prefix}/-/ready")
        real = process.client.get(f"{flags.route_prefix}/api/v1/status/flags").json()["data"]
    finally:
        process.kill()
    ours = shown(effective(Config(), flags), flags, flags.query_max_concurrency or 20)
    differing = {name for name in real if ours.get(name) != real[name]}
    # an agent has no retention, and so no longest block
    agent = {"storage.tsdb.retention.time", "storage.tsdb.max-block-duration"} if "agent" in arguments else set()
    assert not {name: (ours.get(name), real[name]) for name in differing - (OURS.keys() - given.keys()) - agent}
    assert ours.keys() - real.keys() <= NEWER


def test_defaults_and_docs() -> None:
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)
    assert not [flag.name for flag in FLAGS if not flag.doc]
    assert not GONE - {flag.name for flag in FLAGS}
    assert set(OURS) <= {flag.name for flag in FLAGS}
    nothing = parse({})
    assert nothing == Flags(texts=nothing.texts, page_title=nothing.page_title)
    assert effective(Config(), nothing) == Config()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"query.timeout": ["5x"]}, '--query.timeout: not a valid duration string: "5x"'),
        ({"web.max-connections": ["5x"]}, '--web.max-connections: "5x": give a number'),
        ({"query.timeout": [""]}, "not a valid duration"),
        ({"query.timeout": ["1m", "2m"]}, "--query.timeout is given twice: remove one"),
        ({"web.max-connections": ["x"]}, "give a number"),
        ({"web.max-connections": ["inf"]}, "give a number"),
        ({"query.max-concurrency": ["-1"]}, "that is not negative"),
        ({"storage.tsdb.retention.size": ["5"]}, "give a number with a unit"),
        ({"storage.tsdb.retention.size": ["5XB"]}, "give a number with a unit"),
        ({"log.level": ["loud"]}, "give one of debug, info, warn, error"),
        ({"log.format": ["xml"]}, "give one of logfmt, json"),
        ({"web.cors.origin": ["("]}, '--web.cors.origin: "(": missing ): ('),
        ({"web.external-url": [":foo"]}, 'parse external URL ":foo": missing protocol scheme'),
        ({"web.external-url": ["'http://a'"]}, "URL must not begin or end with quotes"),
        ({"web.external-url": ["http://[a"]}, "parse external URL"),
        ({"storage.agent.path": ["x"]}, "can only be used in agent mode: --storage.agent.path"),
        ({"auto-gomemlimit.ratio": ["2"]}, "must be greater than 0 and less than or equal to 1"),
        ({"web.remote-write-receiver.accepted-protobuf-messages": ["x"]}, "give one of prometheus.WriteRequest, io"),
        ({"web.remote-write-receiver.accepted-protobuf-messages": ["prometheus.WriteRequest"] * 2}, "twice"),
    ],
)
def test_wrong_values(given: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(given)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "--query.tmeout=5m"), "No such option '--query.tmeout'. (Did you mean one of: "),
        (("--web.enable-lifecicle",), "'--web.enable-lifecycle'"),
        (("--log.level=loud",), '--log.level: "loud": give one of'),
        (("serve", "prometheus.yml"), "unexpected extra argument (prometheus.yml)"),
        (("--no-web.max-connections",), "No such option '--no-web.max-connections'"),
        (("--agent=true",), "does not take a value"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    refused = subprocess.run([TSDB, *arguments], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert words in refused.stderr and "Traceback" not in refused.stderr


def test_without_executable_memory_it_says_so(tmp_path: Path) -> None:
    """As under MemoryDenyWriteExecute=true, which Debian's unit of Prometheus has: importing numba fails so."""
    (tmp_path / "numba.py").write_text('raise PermissionError(13, "cannot allocate executable memory")')
    done = subprocess.run([TSDB, "serve"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "MemoryDenyWriteExecute=no" in done.stderr


def test_flags_without_a_command_are_those_of_serve() -> None:
    with click.Context(cli) as context:
        assert cli.parse_args(context, ["--config.file=a.yml", "--agent"]) == ["--config.file=a.yml", "--agent"]


def test_short_spellings() -> None:
    assert serve("--config", "a", "--listen", "b", "--data", "c", "--log-level", "d", "--listen=e") == {
        **serve(), "config_file": ("a",), "web_listen_address": ("b", "e"), "storage_tsdb_path": ("c",),
        "log_level": ("d",),
    }


def test_features() -> None:
    flags = parse({"enable-feature": ["auto-reload-config,,promql-experimental-functions", "nonsense,old-ui"]})
    assert flags.features == {"auto-reload-config", "promql-experimental-functions", "old-ui"} <= FEATURES.keys()
    assert flags.warnings == (
        "Unknown option for --enable-feature: nonsense", "--enable-feature=old-ui is not built yet",
    )
    assert flags.auto_reload_interval_ms == 30_000
    assert parse({"config.auto-reload-interval": ["5s"]}).auto_reload_interval_ms == 0
    often = parse({"config.auto-reload-interval": ["5ms"], "enable-feature": ["auto-reload-config"]})
    assert often.auto_reload_interval_ms == 1000


def test_what_is_not_acted_on_is_named() -> None:
    assert parse({"rules.max-concurrent-evals": ["5"], "query.timeout": ["5s"]}).warnings == (
        "--rules.max-concurrent-evals is not acted on",
    )


@pytest.mark.parametrize(
    ("given", "time_ms", "size"),
    [
        ({}, 15 * 86_400_000, 0),
        ({"storage.tsdb.retention.time": ["3d"]}, 3 * 86_400_000, 0),
        ({"storage.tsdb.retention": ["3d"]}, 3 * 86_400_000, 0),
        ({"storage.tsdb.retention.size": ["1GB"]}, 0, 1 << 30),
        ({"storage.tsdb.retention.time": ["0s"]}, 15 * 86_400_000, 0),
        ({"storage.tsdb.retention.time": ["200y"], "storage.tsdb.retention.size": ["1KB"]}, 3_153_600_000_000, 1024),
    ],
)
def test_retention(given: dict[str, list[str]], time_ms: int, size: int) -> None:
    retention = effective(Config(), parse(given)).storage.tsdb.retention
    assert (retention.time_ms, retention.size) == (time_ms, size)


@pytest.mark.parametrize(
    ("given", "url", "prefix"),
    [
        ({}, f"http://{socket.gethostname()}:9090", ""),
        ({"web.external-url": ["http://h/prom/"]}, "http://h/prom", "/prom"),
        ({"web.external-url": ["http://h/prom/"], "web.route-prefix": ["/"]}, "http://h/prom", ""),
        ({"web.external-url": ["https://h:1"], "web.route-prefix": ["a/b/"]}, "https://h:1", "/a/b"),
    ],
)
def test_external_url_and_prefix(given: dict[str, list[str]], url: str, prefix: str) -> None:
    flags = parse(given)
    assert (external_url(flags.external_url, "0.0.0.0:9090"), flags.route_prefix) == (url, prefix)


def test_several_addresses_in_the_file() -> None:
    config = config_file.parse("server: {listen: '127.0.0.1:1, [::1]:2'}")
    assert addresses(config) == ["127.0.0.1:1", "[::1]:2"]
    assert addresses(effective(config, parse({"web.listen-address": [":3"]}))) == [":3"]


LIMIT = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One process with many flags, started without the word `serve`."""
    folder = tmp_path_factory.mktemp("flags")
    (folder / "prometheus.yml").write_text("server: {listen: '127.0.0.1:1'}\nquery: {timeout: 7s, max_samples: 8}\n")
    first, second = free_port(), free_port()
    process = Process(
        [TSDB, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{first}", f"--web.listen-address=127.0.0.1:{second}",
         "--web.external-url=http://foo.example/prom/", f"--web.max-connections={LIMIT}", "--web.enable-lifecycle",
         "--log.format=json", "--query.timeout=9s", "--web.cors.origin=https?://(a|b)\\.com",
         "--rules.max-concurrent-evals=5", "--enable-feature=nonsense",
         "--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request"],
        folder / "log", first,
    )
    try:
        process.wait_ready("/prom/-/ready")
        yield process
    finally:
        process.kill()


def flags_of(server: Process) -> dict[str, str]:
    found: dict[str, str] = server.client.get("/prom/api/v1/status/flags").json()["data"]
    return found


def test_both_listeners_answer(server: Process) -> None:
    first, second = flags_of(server)["web.listen-address"].split(",")
    assert first == f"127.0.0.1:{server.port}"
    answer = Client(int(second.rpartition(":")[2])).get("/prom/api/v1/query", {"query": "1"})
    assert answer.json()["data"]["result"][1] == "1"


def test_flags_win_over_the_file(server: Process) -> None:
    found = flags_of(server)
    assert found["query.timeout"] == "9s"
    assert found["query.max-samples"] == "8"


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/", 302, "/prom"),
        ("GET", "/prom", 301, "/prom/"),
        ("GET", "/prom/", 200, None),
        ("GET", "/prom//", 301, "/prom/"),
        ("GET", "/prom/-/healthy", 200, None),
        ("GET", "/prom/-/healthy/", 301, "/prom/-/healthy"),
        ("GET", "/prom/./metrics?a=1", 301, "/prom/metrics?a=1"),
        ("POST", "/prom/-/ready/", 404, None),
        ("POST", "/", 404, None),
        ("GET", "/-/healthy", 404, None),
        ("GET", "/api/v1/query?query=1", 404, None),
        ("GET", "/nothing", 404, None),
        ("OPTIONS", "/prom/api/v1/query", 204, None),
    ],
)
def test_routes_below_the_prefix(server: Process, method: str, path: str, status: int, location: str | None) -> None:
    answer = server.client.request(method, path)
    assert (answer.status, answer.headers.get("location")) == (status, location)


@pytest.mark.parametrize(("origin", "allowed"), [("https://a.com", "https://a.com"), ("https://x.com", None)])
def test_origins(server: Process, origin: str, allowed: str | None) -> None:
    answer = server.client.request("GET", "/prom/api/v1/query?query=1", headers={"Origin": origin})
    assert answer.headers.get("access-control-allow-origin") == allowed


def test_messages_that_are_not_accepted(server: Process) -> None:
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
    answer = server.client.request("POST", "/prom/api/v1/write", b"\x00", headers)
    assert answer.status == 415 and b"prometheus.WriteRequest protobuf message is not accepted" in answer.body


def test_a_long_url(server: Process) -> None:
    expr = "+".join(["1"] * 50_000)
    answer = server.client.get("/prom/api/v1/query", {"query": f'"{expr}"'})
    assert answer.status == 200 and answer.json()["data"]["result"][1] == expr


def test_connections_over_the_limit_wait(server: Process) -> None:
    def connect() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/prom/-/healthy")
        return connection

    inside = [connect() for _ in range(LIMIT)]
    assert [connection.getresponse().read() for connection in inside]
    waiting = connect()
    assert waiting.sock is not None
    waiting.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        waiting.sock.recv(1)
    waiting.sock.settimeout(30)
    inside.pop().close()
    assert waiting.getresponse().status == 200
    for connection in [*inside, waiting]:
        connection.close()
    # one after the other, any number comes through
    assert {server.client.get("/prom/-/healthy").status for _ in range(3 * LIMIT)} == {200}


def test_broken_requests_are_one_line_of_log(server: Process) -> None:
    before = len(server.log.read_bytes())
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            head = b"POST /prom/api/v1/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            sock.sendall(head + b"nonsense\r\n")
            while sock.recv(4096):
                pass
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            while sock.recv(4096):
                pass
    new = server.log.read_bytes()[before:].decode()
    assert "Traceback" not in new and "stack" not in new
    assert len(new.splitlines()) <= 2, new


def test_log_lines_are_json_and_quit_is_graceful(server: Process) -> None:
    """The last test with this server."""
    assert server.client.request("POST", "/prom/-/quit").body == b"Requesting termination... Goodbye!"
    wait_until(lambda: not server.running, "the server has ended")
    assert server.stop() == 0
    records = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert all(list(record)[:4] == ["time", "level", "source", "msg"] for record in records)
    assert {record["level"] for record in records} <= {"INFO", "WARN", "ERROR"}
    texts = [record["msg"] for record in records]
    assert "--rules.max-concurrent-evals is not acted on" in texts
    assert "Unknown option for --enable-feature: nonsense" in texts
    assert "Received termination request via web service, exiting gracefully..." in texts
    assert texts[-1] == "stopped"
