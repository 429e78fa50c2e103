"""Which proxy a request goes through, as golang.org/x/net/http/httpproxy decides it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from multidict import CIMultiDict
from yarl import URL

from tsdb.model.errors import ConfigError
from tsdb.net.config import ProxyConfig
from tsdb.net.credentials import basic_auth

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Rule = Callable[[str, str, _Address | None], bool]
"""Whether a host, a port and, where the host is one, an address need no proxy."""


@dataclass(frozen=True)
class Proxy:
    url: URL
    """Without user and password."""
    authorization: str
    """The header `Proxy-Authorization`, or nothing."""
    connect_headers: CIMultiDict[str]
    """Of CONNECT, that one included."""


class ProxyChooser:
    """Raises ConfigError for a proxy that cannot be used."""

    def __init__(self, config: ProxyConfig, environment: Mapping[str, str] = os.environ) -> None:
        self._headers: CIMultiDict[str] = CIMultiDict()
        for name, values in config.proxy_connect_header.items():
            for value in values:
                self._headers.add(name, value)
        self._by_scheme: dict[str, Proxy | None] = {}
        self._bypass: NoProxy | None = None
        if config.proxy_from_environment:
            for scheme in ("http", "https"):
                name = f"{scheme}_proxy"
                text = environment.get(name.upper()) or environment.get(name) or ""
                self._by_scheme[scheme] = self._proxy(text, f"environment variable {name.upper()}") if text else None
            if environment.get("REQUEST_METHOD") and self._by_scheme["http"]:
                raise ConfigError("refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy")
            self._bypass = NoProxy(environment.get("NO_PROXY") or environment.get("no_proxy") or "")
        elif config.proxy_url:
            self._by_scheme = dict.fromkeys(("http", "https"), self._proxy(config.proxy_url, "proxy_url"))
            if config.no_proxy:
                self._bypass = NoProxy(config.no_proxy)

    def choose(self, url: URL) -> Proxy | None:
        """None: straight to the host."""
        proxy = self._by_scheme.get(url.scheme)
        if proxy is None or (self._bypass is not None and self._bypass.holds(url.host or "", str(url.port))):
            return None
        return proxy

    def _proxy(self, text: str, where: str) -> Proxy:
        try:
            url = URL(text if "://" in text else f"http://{text}")
            port = url.port
        except ValueError:
            raise ConfigError(f"{where} is not a URL: give http://host:port") from None
        if url.scheme not in ("http", "https") or not url.host or port is None:
            raise ConfigError(f"{where}: a proxy must be http://host:port or https://host:port, not {url.scheme}://…")
        authorization = basic_auth(url.user or "", url.password or "") if url.user or url.password else ""
        headers = CIMultiDict(self._headers)
        if authorization:
            headers["Proxy-Authorization"] = authorization
        return Proxy(url.with_user(None), authorization, headers)


class NoProxy:
    """A list such as ``localhost,.example.com,10.0.0.0/8,host:8080``, or ``*``. This host itself never needs one."""

    def __init__(self, text: str) -> None:
        self._rules: list[_Rule] = []
        for part in text.split(","):
            part = part.strip().lower()
            if part == "*":
                self._rules = [lambda host, port, address: True]
                return
            rule = _rule(part) if part else None
            if rule is not None:
                self._rules.append(rule)

    def holds(self, host: str, port: str) -> bool:
        """Whether the host needs no proxy."""
        host = host.strip().lower()
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(rule(host, port, address) for rule in self._rules)


def _rule(text: str) -> _Rule | None:
    """None for what is malformed, which is ignored."""
    if "/" in text:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            pass
        else:
            return lambda host, port, address: address is not None and address in network
    wanted, port = _split(text)
    if not wanted:
        return None
    ip = _address(wanted)
    if ip is not None:
        return lambda host, own_port, address: address == ip and port in ("", own_port)
    wanted = wanted.removeprefix("*") if wanted.startswith("*.") else wanted
    itself = not wanted.startswith(".")
    wanted = _ascii(wanted.removeprefix("."))

    def domain(host: str, own_port: str, address: _Address | None) -> bool:
        host = _ascii(host)
        return (host.endswith(f".{wanted}") or (itself and host == wanted)) and port in ("", own_port)

    return domain


def _split(text: str) -> tuple[str, str]:
    """Host and port; without a port, all is host."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
        return (host, port) if port else (text, "")
    host, colon, port = text.rpartition(":")
    return (host, port) if colon and ":" not in host else (text, "")


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _ascii(host: str) -> str:
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host
