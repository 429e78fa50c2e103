"""A server's HTTP API, asked by a command."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

import click

from tsdb.model.errors import TsdbError


def ask(url: str, path: str, parameters: Mapping[str, Sequence[str]], wait_s: float, *, method: str = "GET") -> Any:
    """The `data` of the answer; as `document`."""
    return document(url, path, parameters, wait_s, method=method)["data"]


def document(url: str, path: str, parameters: Mapping[str, Sequence[str]], wait_s: float, *, method: str = "GET",
             ) -> Any:
    """The answer of the server at `url`, in which name and password may stand; it has `data`. Raises TsdbError where it
    cannot be had, UsageError where the URL is none."""
    with opened(url, path, parameters, wait_s, method=method) as (answer, _):
        found = json.load(answer)
        found["data"]
        return found


@contextmanager
def opened(url: str, path: str, parameters: Mapping[str, Sequence[str]], wait_s: float, *, method: str = "GET",
           form: bool = False) -> Iterator[tuple[HTTPResponse, str]]:
    """(the answer, to be read; the server's address). `form`: parameters are sent in the body. Raises as `document`."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError(f'--url: "{url}" is no URL of a server, as in http://127.0.0.1:9090')
    place = parts.netloc.rpartition("@")[2]
    encoded = urllib.parse.urlencode(parameters, doseq=True)
    asked = parts._replace(netloc=place, path=parts.path.rstrip("/") + path, fragment="", query="" if form else encoded)
    request = urllib.request.Request(asked.geturl(), encoded.encode() if form else None, method=method)
    if parts.username:
        user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {b64encode(user.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=wait_s) as answer:
            yield answer, place
    except urllib.error.HTTPError as problem:
        raise TsdbError(f"{place} answered {problem.code}: {reason(problem.read())}") from None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise TsdbError(f"{place}: {getattr(problem, 'reason', problem)}: is it the address of a server?") from None


def reason(body: bytes) -> str:
    """Of an answer that tells of an error."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace").strip()
