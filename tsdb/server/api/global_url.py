"""URLs of targets as others reach them: Prometheus' guess."""

from __future__ import annotations

from urllib.parse import urlsplit

LOCALHOST = ("127.0.0.1", "localhost", "::1")


def global_url(url: str, external: str, listen: str) -> str:
    """A local host name in the URL of a target is replaced by that of the `external` URL of this server, and where the
    target is this server, which listens on `listen` (``host:port``), scheme and port, too."""
    scheme, _, rest = url.partition("://")
    end = next((at for at, char in enumerate(rest) if char in "/?#"), len(rest))
    host, port = split_host_port(rest[:end].rpartition("@")[2])
    if host not in LOCALHOST:
        return url
    own = urlsplit(external)
    own_host = own.netloc.rpartition("@")[2]
    if port == split_host_port(listen)[1]:
        return f"{own.scheme}://{own_host}{rest[end:]}"
    name = split_host_port(own_host)[0]
    bracketed = f"[{name}]" if ":" in name else name
    return f"{scheme}://{bracketed}{':' + port if port else ''}{rest[end:]}"


def split_host_port(address: str) -> tuple[str, str]:
    """(host without brackets, port; empty where there is none)."""
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = address, ""
    return host.removeprefix("[").removesuffix("]"), port
