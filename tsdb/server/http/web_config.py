"""The file of ``--web.config.file``: TLS, client certificates, basic auth, headers, as Prometheus' exporter-toolkit has
them (its docs/web-configuration.md). Read again whenever it, or a certificate that it names, has changed."""

from __future__ import annotations

import functools
import logging
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from tsdb.model import document, settings
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Duration, Secret, Section, key

log = logging.getLogger(__name__)

_key = functools.partial(key, reloadable=True)

TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]
ClientAuth = Literal[
    "", "NoClientCert", "RequestClientCert", "RequireClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]

_VERSIONS = {"TLS10": ssl.TLSVersion.TLSv1, "TLS11": ssl.TLSVersion.TLSv1_1, "TLS12": ssl.TLSVersion.TLSv1_2,
             "TLS13": ssl.TLSVersion.TLSv1_3}
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_TLS13_CIPHERS = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
"""Always on; Go takes their names and does nothing."""
_CIPHERS = {
    f"TLS_ECDHE_{key_type}_WITH_{ours}": f"ECDHE-{key_type}-{theirs}"
    for key_type in ("ECDSA", "RSA")
    for ours, theirs in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"), ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"), ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
"""Go's names to OpenSSL's."""
_HEADERS: dict[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (), "X-Content-Type-Options": ("nosniff",), "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (), "Content-Security-Policy": (),
}
"""Headers that may be set, and to what; empty: to anything."""
_BCRYPT = re.compile(r"\$2[abxy]?\$([0-9]{2})\$[./A-Za-z0-9]{53}")


class TlsServerConfig(Section, frozen=True, rename={"key_": "key"}):
    cert: Annotated[str, _key("Certificate chain of the server, PEM.")] = ""
    key_: Annotated[Secret, _key("Its key, PEM.")] = Secret("")
    client_ca: Annotated[str, _key("Certificates that vouch for clients', PEM.")] = ""
    cert_file: Annotated[str, _key("File of the certificate chain.")] = ""
    key_file: Annotated[str, _key("File of the key.")] = ""
    client_auth_type: Annotated[ClientAuth, _key("Whether clients show a certificate.")] = ""
    client_ca_file: Annotated[str, _key("File of the certificates that vouch for clients'.")] = ""
    client_allowed_sans: Annotated[tuple[str, ...], _key("Alternative names, one of which a client's must have.")] = ()
    min_version: Annotated[TlsVersion, _key("Oldest TLS version.")] = "TLS12"
    max_version: Annotated[TlsVersion, _key("Newest TLS version.")] = "TLS13"
    cipher_suites: Annotated[tuple[str, ...], _key("Ciphers up to TLS 1.2, by Go's names.")] = ()
    prefer_server_cipher_suites: Annotated[bool, _key("The server's order of ciphers counts.")] = True
    curve_preferences: Annotated[tuple[str, ...], _key("Elliptic curves: one, or all of Go's.")] = ()

    @property
    def enabled(self) -> bool:
        return bool(self.cert_file or self.cert or self.key_file or self.key_ or self.client_ca_file or self.client_ca
                    or self.client_auth_type)


class HttpServerConfig(Section, frozen=True):
    http2: Annotated[bool, _key("Taken, without effect: clients get HTTP/1.1.")] = True
    headers: Annotated[dict[str, str], _key("Headers of every answer.")] = msgspec.field(default_factory=dict)


class RateLimitConfig(Section, frozen=True):
    interval: Annotated[Duration, _key("Time from one request to the next; 0: no limit.")] = Duration(0)
    burst: Annotated[int, _key("Requests that may come at once.")] = 0


class WebConfig(Section, frozen=True):
    tls_server_config: Annotated[TlsServerConfig, _key("TLS.")] = TlsServerConfig()
    http_server_config: Annotated[HttpServerConfig, _key("HTTP.")] = HttpServerConfig()
    basic_auth_users: Annotated[dict[str, Secret], _key("Names and bcrypt hashes of passwords.")] = msgspec.field(
        default_factory=dict
    )
    rate_limit: Annotated[RateLimitConfig, _key("Most requests of all clients together.")] = RateLimitConfig()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that was read and found right."""

    config: WebConfig
    tls: ssl.SSLContext | None
    """None: plain HTTP."""


class WebConfigFile:
    """The file, as it is now."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError."""
        self._path = path
        self._loaded = load(path)
        self._state = self._look()

    def current(self) -> Loaded:
        """What the file says now. A file that has become wrong is named in the log, and the last right one holds."""
        state = self._look()
        if state != self._state:
            self._state = state
            try:
                loaded = load(self._path)
                if (loaded.tls is None) != (self._loaded.tls is None):
                    raise ConfigError(f"{self._path}: TLS cannot be switched on or off while the server runs")
                self._loaded = loaded
                self._state = self._look()
                log.info("web configuration read again", extra={"fields": {"file": self._path}})
            except ConfigError as problem:
                log.error("web configuration is wrong: the old one goes on", extra={"fields": {"err": problem}})
        return self._loaded

    def _look(self) -> list[tuple[int, int, int] | None]:
        tls = self._loaded.config.tls_server_config
        files = [name for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if name]
        return [_stamp(self._path), *(_stamp(self._path.parent / name) for name in files)]


def load(path: Path) -> Loaded:
    """Reads a file and the certificates that it names. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"{path}: cannot read the web configuration: {problem.strerror}") from None
    config = settings.build(document.parse(text, str(path)), WebConfig)
    try:
        _check(config)
        tls = config.tls_server_config
        return Loaded(config, _context(tls, path.parent) if tls.enabled else None)
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from None


def refused_names(config: TlsServerConfig, certificate: dict[str, object] | None) -> str:
    """Why a client's certificate, as `ssl` gives it, is refused by client_allowed_sans; empty: it is not."""
    if not config.client_allowed_sans:
        return ""
    names = certificate.get("subjectAltName", ()) if certificate else ()
    assert isinstance(names, tuple)
    if {value for _, value in names} & set(config.client_allowed_sans):
        return ""
    return "the client's certificate has no name that is among client_allowed_sans"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _check(config: WebConfig) -> None:
    for name, value in config.http_server_config.headers.items():
        if name not in _HEADERS:
            raise ConfigError(f'HTTP header "{name}" can not be configured: known are {", ".join(sorted(_HEADERS))}')
        if _HEADERS[name] and value not in _HEADERS[name]:
            raise ConfigError(f'invalid value for {name}: expected one of {", ".join(_HEADERS[name])}, got "{value}"')
        if "\n" in value or "\r" in value:
            raise ConfigError(f"{name}: a header is one line")
    for user, hashed in config.basic_auth_users.items():
        found = _BCRYPT.fullmatch(hashed)
        if found is None or not 4 <= int(found[1]) <= 31:
            raise ConfigError(f'basic_auth_users: what stands for "{user}" is not a bcrypt hash: '
                              "make one with htpasswd -nBC 10")
    if config.rate_limit.interval and config.rate_limit.burst < 1:
        raise ConfigError("rate_limit: with an interval and no burst nobody is let in: set burst to 1 or more")


def _context(config: TlsServerConfig, folder: Path) -> ssl.SSLContext:
    if not config.cert_file and not config.cert:
        raise ConfigError("missing one of cert or cert_file")
    if not config.key_file and not config.key_:
        raise ConfigError("missing one of key or key_file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.min_version]
    context.maximum_version = _VERSIONS[config.max_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    if config.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _set_ciphers(context, config)
    _set_curve(context, config)
    with _file(config.cert, config.cert_file, folder) as cert, _file(config.key_, config.key_file, folder) as private:
        try:
            # without a callback a key with a passphrase would be asked for on the terminal
            context.load_cert_chain(cert, private, password=lambda: "")
        except (OSError, ValueError) as problem:
            reason = problem.strerror if isinstance(problem, FileNotFoundError | PermissionError) else problem
            raise ConfigError(f"cannot use the certificate {config.cert_file or 'in cert'} with the key "
                              f"{config.key_file or 'in key'}: {reason}") from None
    _set_clients(context, config, folder)
    return context


def _set_clients(context: ssl.SSLContext, config: TlsServerConfig, folder: Path) -> None:
    kind = config.client_auth_type or "NoClientCert"
    if kind in ("RequestClientCert", "RequireClientCert", "RequireAnyClientCert"):
        raise ConfigError(
            f"client_auth_type: {kind} takes certificates that nobody vouches for, which Python's TLS cannot do: use "
            "RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert"
        )
    if (config.client_ca_file or config.client_ca) and kind == "NoClientCert":
        raise ConfigError("client CA's have been configured without a Client Auth Policy: set client_auth_type")
    if config.client_allowed_sans and kind != "RequireAndVerifyClientCert":
        raise ConfigError("client_allowed_sans requires client_auth_type RequireAndVerifyClientCert")
    if kind == "NoClientCert":
        return
    context.verify_mode = ssl.CERT_REQUIRED if kind == "RequireAndVerifyClientCert" else ssl.CERT_OPTIONAL
    try:
        if config.client_ca_file:
            context.load_verify_locations(cafile=folder / config.client_ca_file)
        elif config.client_ca:
            context.load_verify_locations(cadata=config.client_ca)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, FileNotFoundError | PermissionError) else problem
        raise ConfigError(f"cannot use client_ca_file {config.client_ca_file}: {reason}") from None


def _set_ciphers(context: ssl.SSLContext, config: TlsServerConfig) -> None:
    if unknown := [name for name in config.cipher_suites if name not in _CIPHERS and name not in _TLS13_CIPHERS]:
        raise ConfigError(f"unknown cipher: {', '.join(unknown)}; known are {', '.join(_CIPHERS)}")
    if names := [_CIPHERS[name] for name in config.cipher_suites if name in _CIPHERS]:
        context.set_ciphers(":".join(names))


def _set_curve(context: ssl.SSLContext, config: TlsServerConfig) -> None:
    if unknown := [name for name in config.curve_preferences if name not in _CURVES]:
        raise ConfigError(f"unknown curve: {', '.join(unknown)}; known are {', '.join(_CURVES)}")
    curves = set(config.curve_preferences)
    if len(curves) == 1:
        name = curves.pop()
        try:
            context.set_ecdh_curve(_CURVES[name])
        except ValueError:
            raise ConfigError(f"curve_preferences: this Python's TLS cannot be held to {name}") from None
    elif curves and curves != set(_CURVES):
        raise ConfigError("curve_preferences: Python's TLS can be held to one curve, or to none: name one, or all of "
                          f"{', '.join(_CURVES)}")


@contextmanager
def _file(inline: str, name: str, folder: Path) -> Iterator[Path]:
    """A path to what stands inline or in a file: `ssl` loads files only. What stands inline never reaches a disk."""
    if name:
        yield folder / name
        return
    memory = os.memfd_create("inline.pem")
    try:
        os.write(memory, inline.encode())
        yield Path(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
