"""Which web pages may read answers: --web.cors.origin."""

from __future__ import annotations

from collections.abc import MutableMapping

import re2

from tsdb.model.errors import ConfigError


class Cors:
    def __init__(self, origins: str = ".*") -> None:
        """`origins`: RE2 expression that an allowed origin matches as a whole. Raises ConfigError."""
        try:
            self._origins = re2.compile(f"^(?:{origins})$")
        except re2.error as problem:
            raise ConfigError(f"--web.cors.origin {origins}: not a valid expression: {problem}") from None

    def add(self, headers: MutableMapping[str, str], origin: str | None) -> None:
        """The headers for a request from a page of `origin`."""
        headers["Vary"] = "Origin"
        if not origin:
            return
        headers["Access-Control-Allow-Headers"] = "Accept, Authorization, Content-Type, Origin"
        headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        if self._origins.search(origin):
            headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = "Date"
