"""What went wrong with a request, in Go's words: they stand in Prometheus' lastError, and people search for them."""

from __future__ import annotations

import os
import re
import socket
import ssl

import aiohttp
from yarl import URL

from tsdb.model.settings import redacted

_NUMBER = r"\[Errno (\d+)\]"
_TRIED = re.compile(rf"{_NUMBER} Connect call failed \('([^']+)'")
"""What asyncio and uvloop say of an address that could not be reached; of several, of each."""


class RequestFailed(aiohttp.ClientError):
    """A request has no answer: method, URL without a password, and the reason."""

    def __init__(self, method: str, url: URL, reason: str) -> None:
        super().__init__(f'{method.capitalize()} "{redacted(str(url))}": {reason}')


def reason(problem: Exception) -> str:
    """Of an error that aiohttp raised, for a request or while its body was read. Nothing of a request's headers is in
    it, as it is in the repr of some."""
    match problem:
        case aiohttp.ClientConnectorCertificateError():
            error = problem.certificate_error
            said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
            return f"tls: failed to verify certificate: {said.rstrip('.')}"
        case aiohttp.ClientConnectorDNSError():
            return dial_failure(problem.host, problem.port, problem.os_error)
        case aiohttp.ClientConnectorSSLError():
            if getattr(problem.os_error, "reason", None) == "WRONG_VERSION_NUMBER":
                return "http: server gave HTTP response to HTTPS client"
            return f"tls: {_said(problem.os_error)}"
        case aiohttp.ClientProxyConnectionError():
            return f"proxyconnect tcp: {dial_failure(problem.host, problem.port, problem.os_error)}"
        case aiohttp.ClientConnectorError():
            if problem.os_error.errno is None and problem.ssl is not True and problem.ssl is not None:
                return "tls: the peer ended the handshake"
            return dial_failure(problem.host, problem.port, problem.os_error)
        case aiohttp.ClientHttpProxyError():
            return f"proxy: {problem.status} {problem.message}"
        case aiohttp.ClientResponseError():
            return f"malformed HTTP response: {problem.message[:200]}"
        case aiohttp.ServerDisconnectedError():
            return "EOF"
        case aiohttp.ClientPayloadError():
            return "unexpected EOF"
        case OSError():
            return _said(problem)
    return str(problem) or type(problem).__name__


def dial_failure(host: str, port: int | None, problem: OSError) -> str:
    """Why there is no connection to a host: with the address that was tried first, where the error tells it."""
    if isinstance(problem, socket.gaierror):
        unknown = problem.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        return f"dial tcp: lookup {host}: {'no such host' if unknown else _said(problem)}"
    tried = _TRIED.search(str(problem))
    if tried is not None:
        host, problem = tried[2], OSError(int(tried[1]), "")
    elif problem.errno is None and (found := re.search(_NUMBER, str(problem))):
        problem = OSError(int(found[1]), "")  # several addresses, each with a problem of its own
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"dial tcp {place}: connect: {_said(problem)}"


def _said(problem: OSError) -> str:
    if isinstance(problem, ssl.SSLError):
        return (problem.reason or str(problem)).lower().replace("_", " ")
    if isinstance(problem, socket.gaierror):
        return (problem.strerror or str(problem)).lower()
    if problem.errno is not None:
        return os.strerror(problem.errno).lower()
    return (problem.strerror or str(problem) or "connection reset by peer").lower()
