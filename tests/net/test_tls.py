"""TLS of outgoing connections, with real certificates."""

from __future__ import annotations

import datetime
import gc
import re
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import uvloop

from tests.net.servers import client, pem, server_tls, serving
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Secret
from tsdb.net.client import HttpClient
from tsdb.net.config import HttpClientConfig, TlsConfig

EXPIRED = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Certificates:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours, self.other = trustme.CA(), trustme.CA()
        self.write("ca.pem", self.text(self.ours))
        self.write("other.pem", self.text(self.other))
        self.client = pem(self.ours.issue_cert("client.example"))
        self.write("client.pem", self.client[0])
        self.write("client.key", self.client[1])

    def text(self, authority: trustme.CA) -> str:
        return authority.cert_pem.bytes().decode()

    def write(self, name: str, text: str) -> None:
        """In one step, as tools that renew certificates do."""
        (self.folder / f"{name}.new").write_text(text)
        (self.folder / f"{name}.new").rename(self.folder / name)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def outcome(certificates: Certificates, server: ssl.SSLContext, tls: TlsConfig) -> str:
    """What a request gives: the body, or the error."""

    async def go() -> str:
        async with serving(server) as site, client(certificates.folder, tls_config=tls) as subject:
            try:
                async with subject.request("GET", site.url()) as answer:
                    return await answer.text()
            except (aiohttp.ClientError, OSError) as problem:
                return str(problem)

    return uvloop.run(go())


def case(name: str, tls: TlsConfig, expected: str, *, host: str = "127.0.0.1", **server: Any) -> Any:
    return pytest.param(tls, expected, host, server, id=name)


CASES = [
    case("authority", TlsConfig(ca_file="ca.pem"), "hello"),
    case("no authority", TlsConfig(), "unable to get local issuer certificate"),
    case("wrong authority", TlsConfig(ca_file="other.pem"), "unable to get local issuer certificate"),
    case("any certificate", TlsConfig(insecure_skip_verify=True), "hello", host="elsewhere.example"),
    case("wrong name", TlsConfig(ca_file="ca.pem"), "certificate is not valid for '127.0.0.1'",
         host="elsewhere.example"),
    case("name told", TlsConfig(ca_file="ca.pem", server_name="elsewhere.example"), "hello", host="elsewhere.example"),
    case("wrong name told", TlsConfig(ca_file="ca.pem", server_name="x.example"),
         "certificate is not valid for 'x.example'", host="elsewhere.example"),
    case("expired", TlsConfig(ca_file="ca.pem"), "certificate has expired", not_after=EXPIRED),
    case("without the demanded certificate", TlsConfig(ca_file="ca.pem"), "EOF", clients=True),
    case("client certificate", TlsConfig(ca_file="ca.pem", cert_file="client.pem", key_file="client.key"), "hello",
         clients=True),
    case("newest version", TlsConfig(ca_file="ca.pem", min_version="TLS13"), "hello"),
    case("version too old", TlsConfig(ca_file="ca.pem", min_version="TLS13"), "tls: ", maximum=ssl.TLSVersion.TLSv1_2),
    case("version too new", TlsConfig(ca_file="ca.pem", max_version="TLS12"), "tls: ", minimum=ssl.TLSVersion.TLSv1_3),
    case("old version", TlsConfig(ca_file="ca.pem", min_version="TLS10", max_version="TLS12"), "hello"),
]


@pytest.mark.parametrize(("tls", "expected", "host", "server"), CASES)
def test_tls(tls: TlsConfig, expected: str, host: str, server: dict[str, Any], certificates: Certificates) -> None:
    minimum, maximum = server.pop("minimum", None), server.pop("maximum", None)
    if server.pop("clients", False):
        server["clients"] = certificates.ours
    context = server_tls(certificates.ours, host, **server)
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    assert expected in outcome(certificates, context, tls)


def test_a_server_without_tls(certificates: Certificates) -> None:
    async def go() -> None:
        async with serving() as site, client(certificates.folder) as subject:
            url = site.url().replace("http:", "https:")
            expected = f'Get "{url}": http: server gave HTTP response to HTTPS client'
            with pytest.raises(aiohttp.ClientError, match=re.escape(expected)):
                async with subject.request("GET", url):
                    pass

    uvloop.run(go())


def test_inline(certificates: Certificates) -> None:
    cert, key = certificates.client
    tls = TlsConfig(ca=certificates.text(certificates.ours), cert=cert, key_=Secret(key))
    server = server_tls(certificates.ours, "127.0.0.1", clients=certificates.ours)
    assert outcome(certificates, server, tls) == "hello"


def test_the_name_that_was_told_is_asked_for(certificates: Certificates) -> None:
    server, asked = server_tls(certificates.ours, "told.example"), []
    server.sni_callback = lambda connection, name, context: asked.append(name)
    assert outcome(certificates, server, TlsConfig(ca_file="ca.pem", server_name="told.example")) == "hello"
    assert asked == ["told.example"]


def test_an_intermediate_authority_may_be_trusted_alone(certificates: Certificates) -> None:
    intermediate = certificates.ours.create_child_ca()
    tls = TlsConfig(ca=certificates.text(intermediate))
    assert outcome(certificates, server_tls(intermediate, "127.0.0.1"), tls) == "hello"


def test_changed_files_are_read_again(certificates: Certificates) -> None:
    certificates.write("changing.pem", certificates.text(certificates.ours))

    async def go() -> None:
        tls = TlsConfig(ca_file="changing.pem")
        async with (serving(server_tls(certificates.ours, "127.0.0.1")) as site,
                    client(certificates.folder, tls_config=tls) as subject):

            async def ask() -> int:
                async with subject.request("GET", site.url()) as answer:
                    return answer.status

            assert await ask() == 200
            certificates.write("changing.pem", certificates.text(certificates.other))
            with pytest.raises(aiohttp.ClientError, match="unable to get local issuer certificate"):
                await ask()
            certificates.write("changing.pem", "nonsense")
            with pytest.raises(ConfigError, match=r"unable to use specified CA cert \(file .*/changing.pem\)"):
                await ask()
            (certificates.folder / "changing.pem").unlink()
            with pytest.raises(ConfigError, match=r"unable to read CA cert: unable to read file .*/changing.pem: "):
                await ask()
            certificates.write("changing.pem", certificates.text(certificates.ours))
            assert await ask() == 200

    uvloop.run(go())


WRONG = [
    (TlsConfig(ca_file="gone.pem"), "unable to read CA cert: unable to read file .*/gone.pem: open .*/gone.pem: no s"),
    (TlsConfig(ca="nonsense"), r"unable to use specified CA cert \(inline\)"),
    (TlsConfig(ca=""), None),
    (TlsConfig(cert_file="client.pem", key_file="gone.key"), "unable to read specified client key: unable to read "),
    (TlsConfig(cert_file="client.pem", key_file="ca.pem"),
     r"unable to use specified client cert \(file .*/client.pem\) & key \(file .*/ca.pem\): "),
    (TlsConfig(min_version="TLS13", max_version="TLS12"), "max_version must be greater than or equal to tls_config.m"),
]


@pytest.mark.parametrize(("tls", "message"), WRONG, ids=str)
def test_wrong_config(tls: TlsConfig, message: str | None, certificates: Certificates) -> None:
    config = HttpClientConfig(tls_config=tls)
    if message is None:
        HttpClient(config, base=certificates.folder, user_agent="x")
        return
    with pytest.raises(ConfigError, match=message):
        HttpClient(config, base=certificates.folder, user_agent="x")


def test_another_ones_key_and_an_encrypted_one(certificates: Certificates) -> None:
    from cryptography.hazmat.primitives import serialization

    other = pem(certificates.ours.issue_cert("other.example"))[1]
    tls = TlsConfig(cert=certificates.client[0], key_=Secret(other))
    with pytest.raises(ConfigError, match=r"client cert \(inline\) & key \(inline\): key values mismatch"):
        HttpClient(HttpClientConfig(tls_config=tls), base=certificates.folder, user_agent="x")
    key = serialization.load_pem_private_key(other.encode(), None)
    encrypted = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.BestAvailableEncryption(b"pass")).decode()
    tls = TlsConfig(cert=certificates.client[0], key_=Secret(encrypted))
    with pytest.raises(ConfigError, match=r"client key \(inline\) is encrypted: give one without a passphrase"):
        HttpClient(HttpClientConfig(tls_config=tls), base=certificates.folder, user_agent="x")


def test_nothing_is_left_open(certificates: Certificates) -> None:
    tls = TlsConfig(ca_file="ca.pem", cert_file="client.pem", key_file="client.key")
    gc.collect()  # what other tests have left is not closed meanwhile
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        HttpClient(HttpClientConfig(tls_config=tls), base=certificates.folder, user_agent="x")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
