"""--web.config.file: TLS, client certificates, passwords, headers, rate limit; read again when changed."""

from __future__ import annotations

import base64
import http.client
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import bcrypt
import pytest
import trustme
from click.testing import CliRunner

from tests.client import Answer
from tests.processes import Process, free_port, wait_until
from tests.server.conftest import Begin, Running
from tsdb.cli import cli
from tsdb.flags import Flags
from tsdb.model.errors import ConfigError
from tsdb.server.http import web_config
from tsdb.server.server import Server

FAKE = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
"""The bcrypt hash of "fakepassword" that unknown users' passwords are compared with."""
LONG = "x" * 80


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


def write_certificate(authority: trustme.CA, folder: Path, name: str = "localhost") -> None:
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")


def get(port: int, context: ssl.SSLContext, path: str = "/-/healthy") -> tuple[int, dict[str, object]]:
    """(status, the server's certificate)."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
    try:
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        certificate = connection.sock.getpeercert()
        connection.request("GET", path)
        return connection.getresponse().status, dict(certificate or {})
    finally:
        connection.close()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def change(file: Path, text: str) -> None:
    """Writes a file so that its time differs, however fast the test is."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))


USERS = f"basic_auth_users:\n  alice: {hashed('secret')}\n  bob: {hashed(LONG)}\n  empty: {hashed('')}\n"

REQUESTS: list[tuple[str, Mapping[str, str], int]] = [
    ("/-/healthy", {}, 401),
    ("/-/healthy", basic("alice", "secret"), 200),
    ("/-/healthy", basic("alice", "Secret"), 401),
    ("/-/healthy", basic("alice", ""), 401),
    ("/-/healthy", basic("mallory", "fakepassword"), 401),
    ("/-/healthy", basic("bob", LONG), 200),
    ("/-/healthy", basic("bob", LONG[:72]), 200),
    ("/-/healthy", basic("empty", ""), 200),
    ("/-/healthy", basic("alice", "se\0cret"), 401),
    ("/-/healthy", {"Authorization": basic("alice", "secret")["Authorization"].replace("Basic", "bAsIc")}, 200),
    ("/-/healthy", {"Authorization": "Basic nonsense"}, 401),
    ("/-/healthy", {"Authorization": "Basic " + base64.b64encode(b"alice").decode()}, 401),
    ("/-/healthy", {"Authorization": "Bearer abc"}, 401),
    ("/metrics", {}, 401),
    ("/nothing", {}, 401),
    ("/nothing", basic("alice", "secret"), 404),
    ("/api/v1/query?query=1", {"Origin": "http://a"}, 401),
]


def same(answer: Answer) -> tuple[int, bytes | None, dict[str, str | None]]:
    names = ("www-authenticate", "content-type", "x-content-type-options", "x-frame-options", "vary")
    body = answer.body if answer.status in (401, 429) else None
    shown = {name: answer.headers.get(name) for name in names} if answer.status != 200 else {}
    return answer.status, body, shown


@pytest.mark.peer
def test_passwords_as_in_prometheus(begin: Begin, tmp_path: Path, peer: Callable[[str], Path]) -> None:
    file = tmp_path / "web.yml"
    file.write_text(USERS + "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: ''}}\n")
    (tmp_path / "p.yml").write_text("")
    port = free_port()
    real = Process(
        [peer("prometheus"), f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}", f"--web.config.file={file}"], tmp_path / "log", port,
    )
    ours = begin(flags=Flags(web_config_file=file)).client
    try:
        from tests.processes import wait_until

        def up() -> bool:
            try:
                return real.client.request("GET", "/-/ready", headers=basic("alice", "secret")).status == 200
            except OSError:
                return False

        wait_until(up, "the real Prometheus is ready")
        for path, headers, status in REQUESTS:
            theirs = real.client.request("GET", path, headers=headers)
            assert theirs.status == status, (path, headers)
            assert same(ours.request("GET", path, headers=headers)) == same(theirs), (path, headers)
    finally:
        real.kill()


@pytest.fixture
def guarded(begin: Begin, tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "web.yml").write_text(USERS)
    yield begin(flags=Flags(web_config_file=tmp_path / "web.yml"))


def test_passwords_change_while_the_server_runs(
    guarded: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "web.yml"

    def status(user: str, password: str) -> int:
        return guarded.client.request("GET", "/-/healthy", headers=basic(user, password)).status

    assert status("alice", "secret") == 200
    change(file, f"basic_auth_users: {{alice: '{hashed('new')}'}}")
    assert (status("alice", "secret"), status("alice", "new"), status("bob", LONG)) == (401, 200, 401)
    with caplog.at_level(logging.ERROR):
        change(file, "basic_auth_users: {alice: plain}")
        assert [status("alice", "new") for _ in range(3)] == [200] * 3
        file.unlink()
        assert status("alice", "new") == 200
    assert len(caplog.records) == 2, "each wrong file is named once"
    assert "web configuration is wrong: the old one goes on" in caplog.text
    assert "plain" not in caplog.text and not any("$2" in str(record.__dict__) for record in caplog.records)
    file.write_text("{}")
    assert guarded.client.request("GET", "/-/healthy").status == 200


def test_a_password_is_compared_once(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, hash_: bytes) -> bool:
        compared.append(hash_)
        return real(password, hash_)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    for _ in range(3):
        for user, password in (("alice", "secret"), ("alice", "wrong"), ("nobody", "secret")):
            guarded.client.request("GET", "/-/healthy", headers=basic(user, password))
    assert len(compared) == 3
    assert compared[2] == FAKE.encode(), "unknown users take as long as known ones"


def test_rate_limit(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("rate_limit: {interval: 1h, burst: 3}")
    client = begin(flags=Flags(web_config_file=tmp_path / "web.yml")).client
    answers = [client.request("GET", "/-/healthy") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[3].body == b"Too Many Requests\n"


@pytest.mark.parametrize(
    ("said", "answer", "reason"),
    [
        (b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n",
         b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
         "client sent an HTTP request to an HTTPS server"),
        (b"SSH-2.0-x\r\n" * 9, b"", "WRONG_VERSION_NUMBER"),
        (b"\x16\x03\x01\xff\xff", b"", ""),
        (b"", b"", ""),
    ],
)
def test_who_speaks_no_tls(begin: Begin, tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture,
                           said: bytes, answer: bytes, reason: str) -> None:
    write_certificate(authority, tmp_path)
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem}")
    running = begin(flags=Flags(web_config_file=tmp_path / "web.yml", max_connections=2))
    with caplog.at_level(logging.WARNING):
        for number in range(3):  # they must not take places
            with socket.create_connection(("127.0.0.1", running.port), timeout=30) as sock:
                remote = "{}:{}".format(*sock.getsockname())
                sock.sendall(said)
                if not answer:
                    sock.shutdown(socket.SHUT_WR)
                found = sock.makefile("rb").read()
                assert found == answer or (not answer and found.startswith(b"\x15")), "an alert at most"
                if not number:
                    wait_until(lambda: "TLS connection refused" in caplog.text, "a line of log")
                    [record] = [record for record in caplog.records if record.message == "TLS connection refused"]
                    fields = record.__dict__["fields"]
                    assert fields["remote"] == remote and reason in fields["err"]
    assert get(running.port, trusting(authority))[0] == 200


def test_tls(begin: Begin, tmp_path: Path, authority: trustme.CA, stranger: trustme.CA) -> None:
    write_certificate(authority, tmp_path)
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n" + USERS)
    running = begin(flags=Flags(web_config_file=file, max_connections=2))  # failed handshakes must not take places
    assert running.server.url.startswith("https://127.0.0.1:")
    status, first = get(running.port, trusting(authority))
    assert status == 401
    with pytest.raises(ssl.SSLCertVerificationError):
        get(running.port, trusting(stranger))

    write_certificate(authority, tmp_path)  # renewed
    assert get(running.port, trusting(authority))[1]["serialNumber"] != first["serialNumber"]
    change(file, "tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS13}")
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        get(running.port, old)
    assert get(running.port, trusting(authority))[0] == 200
    change(file, "basic_auth_users: {}")  # without TLS now: refused
    assert get(running.port, trusting(authority))[0] == 200
    (tmp_path / "key.pem").write_text("nonsense")
    assert get(running.port, trusting(authority))[0] == 200


def test_inline_certificates(begin: Begin, tmp_path: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")

    def block(pem: trustme.Blob) -> str:
        return "".join(f"\n    {line}" for line in pem.bytes().decode().splitlines())

    (tmp_path / "web.yml").write_text(
        f"tls_server_config:\n  cert: |{block(issued.cert_chain_pems[0])}\n  key: |{block(issued.private_key_pem)}\n"
    )
    running = begin(flags=Flags(web_config_file=tmp_path / "web.yml"))
    assert get(running.port, trusting(authority))[0] == 200


@pytest.mark.parametrize(
    ("kind", "none", "known", "unknown"),
    [
        ("NoClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
def test_client_certificates(
    begin: Begin, tmp_path: Path, authority: trustme.CA, stranger: trustme.CA, kind: str, none: bool, known: bool,
    unknown: bool,
) -> None:
    write_certificate(authority, tmp_path)
    ca = "" if kind == "NoClientCert" else ", client_ca_file: ca.pem"
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: cert.pem, key_file: key.pem, client_auth_type: {kind}{ca}}}"
    )
    running = begin(flags=Flags(web_config_file=tmp_path / "web.yml"))
    for issuer, welcome in ((None, none), (authority, known), (stranger, unknown)):
        context = trusting(authority)
        if issuer is not None:
            issuer.issue_cert("client@example.org").configure_cert(context)
        assert lets_in(running.port, context) == welcome


def test_names_of_clients(begin: Begin, tmp_path: Path, authority: trustme.CA) -> None:
    write_certificate(authority, tmp_path)
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, "
        "client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [a.example.org, 10.0.0.1]}"
    )
    running = begin(flags=Flags(web_config_file=tmp_path / "web.yml"))
    for name, welcome in (("a.example.org", True), ("b.example.org", False), ("10.0.0.1", True)):
        context = trusting(authority)
        authority.issue_cert(name).configure_cert(context)
        assert lets_in(running.port, context) == welcome


def lets_in(port: int, context: ssl.SSLContext) -> bool:
    try:
        return get(port, context)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


TLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem, "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("foo: 1", 'unknown key "foo"'),
        ("basic_auth_users: {a: secret}", 'what stands for "a" is not a bcrypt hash'),
        ("basic_auth_users: {a: $2y$99$" + "a" * 53 + "}", "is not a bcrypt hash"),
        ("http_server_config: {headers: {X-Foo: a}}", 'HTTP header "X-Foo" can not be configured'),
        ("http_server_config: {headers: {X-Frame-Options: a}}", "expected one of deny, sameorigin"),
        ("http_server_config: {headers: {X-XSS-Protection: \"a\\nb\"}}", "a header is one line"),
        ("tls_server_config: {min_version: TLS9}", "tls_server_config.min_version"),
        ("tls_server_config: {cert_file: cert.pem}", "missing one of key or key_file"),
        ("tls_server_config: {key_file: key.pem}", "missing one of cert or cert_file"),
        ("tls_server_config: {cert_file: no.pem, key_file: key.pem}", "No such file or directory"),
        ("tls_server_config: {cert_file: ca.pem, key_file: key.pem}", "cannot use the certificate ca.pem"),
        (TLS + "client_auth_type: Nonsense}", "tls_server_config.client_auth_type"),
        (TLS + "client_auth_type: RequireAnyClientCert}", "which Python's TLS cannot do: use"),
        (TLS + "client_ca_file: ca.pem}", "have been configured without a Client Auth Policy"),
        (TLS + "client_ca_file: no.pem, client_auth_type: RequireAndVerifyClientCert}", "cannot use client_ca_file"),
        (TLS + "client_allowed_sans: [a]}", "client_allowed_sans requires client_auth_type"),
        (TLS + "cipher_suites: [TLS_NOTHING]}", "unknown cipher: TLS_NOTHING"),
        (TLS + "curve_preferences: [P1]}", "unknown curve: P1"),
        (TLS + "curve_preferences: [CurveP256, CurveP384]}", "can be held to one curve"),
        ("rate_limit: {interval: 1s}", "set burst to 1 or more"),
    ],
)
def test_what_is_refused(tmp_path: Path, authority: trustme.CA, text: str, words: str) -> None:
    write_certificate(authority, tmp_path)
    file = tmp_path / "web.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        web_config.load(file)
    assert words in str(raised.value) and str(file) in str(raised.value)
    assert "secret" not in str(raised.value)
    from tsdb.config import Config

    with pytest.raises(ConfigError):
        Server(Config(), flags=Flags(web_config_file=file))


@pytest.mark.parametrize(
    "more",
    ["cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]", "curve_preferences: [CurveP256]",
     "curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]", "prefer_server_cipher_suites: false",
     "max_version: TLS12"],
)
def test_what_is_taken(tmp_path: Path, authority: trustme.CA, more: str) -> None:
    write_certificate(authority, tmp_path)
    (tmp_path / "web.yml").write_text(TLS + more + "}\nhttp_server_config: {http2: false}")
    assert web_config.load(tmp_path / "web.yml").tls is not None


def test_check_web_config(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text(USERS)
    bad.write_text("a: 1")
    made = CliRunner().invoke(cli, ["check", "web-config", str(good)])
    assert (made.exit_code, made.output) == (0, f"{good} SUCCESS\n")
    made = CliRunner().invoke(cli, ["check", "web-config", str(good), str(bad)])
    assert made.exit_code == 1 and f'{bad} FAILED: {bad}:1:1: unknown key "a"' in made.output
