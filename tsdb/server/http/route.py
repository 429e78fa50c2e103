"""What a route is, and what its handler is given. The table of all routes is `tsdb.server.api.routes`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from aiohttp import web

from tsdb.server.http.answer import Answer
from tsdb.server.http.bodies import Held

if TYPE_CHECKING:
    from tsdb.server.services import Services


class Permission(StrEnum):
    """What a principal must be allowed to do. On loopback everything is, for everybody."""

    PUBLIC = "public"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query string or form."""

    name: str
    type: str
    doc: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, its form and path already read."""

    http: web.BaseRequest
    route: Route
    path_values: Mapping[str, str]
    """Values of the path's ``{names}``."""
    form: Mapping[str, list[str]]
    """Parameters of body and query string, the body's first."""
    form_error: str
    """What was wrong with the form; empty if nothing."""
    body: bytes
    held: Held
    """Counts what this request holds in memory."""
    principal: str = ""

    def value(self, name: str) -> str:
        """The first value of a parameter; empty where there is none."""
        values = self.form.get(name)
        return values[0] if values else ""


Handler = Callable[["Services", Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table."""

    methods: tuple[str, ...]
    path: str
    permission: Permission
    handler: Handler
    doc: str
    parameters: tuple[Parameter, ...] = ()
    needs_storage: bool = True
    """Answered with 503 while the server starts or stops."""
    compressed: bool = True
    """The answer may be sent as gzip or zstd."""

    @property
    def api(self) -> bool:
        return self.path.startswith("/api/")
