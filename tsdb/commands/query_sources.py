"""Where ``tsdb query`` asks: a server, or a data directory that nobody need serve. Both give the API's documents."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tsdb.model.errors import BadData, ConfigError, StorageError

if TYPE_CHECKING:
    from tsdb.model.context import RequestContext
    from tsdb.model.matchers import Matcher
    from tsdb.promql import QueryResult
    from tsdb.storage import Storage

Document = Mapping[str, Any]
"""``{"data": …, "warnings": […], "infos": […]}`` as the HTTP API answers."""


class Source(Protocol):
    """Times in ms; `limit` 0: all; `timeout` in seconds."""

    def instant(self, expr: str, time: int, timeout: float, limit: int, explain: bool, resolution: str,
                ) -> Document: ...

    def range(self, expr: str, start: int, end: int, step: int, timeout: float, limit: int, explain: bool,
              resolution: str) -> Document: ...

    def series(self, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document: ...

    def labels(self, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document: ...

    def values(self, name: str, matches: Sequence[str], start: int, end: int, timeout: float, limit: int,
               ) -> Document: ...


class Server:
    """A server's HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def instant(self, expr: str, time: int, timeout: float, limit: int, explain: bool, resolution: str,
                ) -> Document:
        return self._ask("query", timeout, limit, query=expr, time=_seconds(time), **_wanted(explain, resolution))

    def range(self, expr: str, start: int, end: int, step: int, timeout: float, limit: int, explain: bool,
              resolution: str) -> Document:
        return self._ask("query_range", timeout, limit, query=expr, start=_seconds(start), end=_seconds(end),
                         step=_seconds(step), **_wanted(explain, resolution))

    def series(self, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document:
        return self._ask("series", timeout, limit, matches, start=_seconds(start), end=_seconds(end))

    def labels(self, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document:
        return self._ask("labels", timeout, limit, matches, start=_seconds(start), end=_seconds(end))

    def values(self, name: str, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document:
        from tsdb.server.api.escaping import VALUES, escaped

        path = f"label/{urllib.parse.quote(escaped(name, VALUES), safe='')}/values"
        return self._ask(path, timeout, limit, matches, start=_seconds(start), end=_seconds(end))

    def _ask(self, path: str, timeout: float, limit: int, matches: Sequence[str] = (), **parameters: str) -> Document:
        from tsdb.commands.ask import document

        given = {name: [value] for name, value in parameters.items()}
        if matches:
            given["match[]"] = list(matches)
        if limit:
            given["limit"] = [str(limit)]
        if path.startswith("query"):
            given["timeout"] = [f"{timeout:g}s"]
        answer: Document = document(self._url, f"/api/v1/{path}", given, timeout + 10)
        return answer


class Directory:
    """A data directory as it is now: opened to read, beside a server if need be, for each question anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def instant(self, expr: str, time: int, timeout: float, limit: int, explain: bool, resolution: str,
                ) -> Document:
        from tsdb.promql import Engine

        def work(storage: Storage, context: RequestContext) -> Document:
            with Engine(storage) as engine:
                return _document(engine.query(expr, time, context, explain=explain,
                                              max_source_resolution_ms=_ms(resolution)), limit)

        return self._read(work, timeout)

    def range(self, expr: str, start: int, end: int, step: int, timeout: float, limit: int, explain: bool,
              resolution: str) -> Document:
        from tsdb.promql import Engine

        def work(storage: Storage, context: RequestContext) -> Document:
            with Engine(storage) as engine:
                return _document(engine.query_range(expr, start, end, step, context, explain=explain,
                                                    max_source_resolution_ms=_ms(resolution)), limit)

        return self._read(work, timeout)

    def series(self, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document:
        from tsdb.server.api.json_result import encode_series

        def work(storage: Storage, context: RequestContext) -> Document:
            found = storage.series(matcher_sets(matches), start, end, context)
            parts, cut = encode_series(found, limit)
            return {"data": json.loads(b"".join(parts)), "warnings": _truncated(cut)}

        return self._read(work, timeout)

    def labels(self, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document:
        return self._names(lambda s, c: s.label_names(matcher_sets(matches), start, end, c), timeout, limit)

    def values(self, name: str, matches: Sequence[str], start: int, end: int, timeout: float, limit: int) -> Document:
        return self._names(lambda s, c: s.label_values(name, matcher_sets(matches), start, end, c), timeout, limit)

    def _names(self, names: Callable[[Storage, RequestContext], list[str]], timeout: float, limit: int) -> Document:
        found = list(self._read(lambda s, c: {"data": names(s, c)}, timeout)["data"])
        cut = 0 < limit < len(found)
        return {"data": found[:limit] if cut else found, "warnings": _truncated(cut)}

    def _read(self, work: Callable[[Storage, RequestContext], Document], timeout: float) -> Document:
        from tsdb.kernels import warm_up
        from tsdb.model.context import RequestContext
        from tsdb.storage import Storage
        from tsdb.storage.directory import FORMAT_NAME

        if not (self._folder / FORMAT_NAME).exists():
            raise StorageError(f"{self._folder} is not a data directory of tsdb: it has no file {FORMAT_NAME}")
        warm_up(None)
        storage = Storage.open(self._folder, read_only=True)
        try:
            return work(storage, RequestContext.with_timeout(timeout, threads=2))
        finally:
            storage.close()


def matcher_sets(matches: Sequence[str]) -> list[Sequence[Matcher]]:
    """Raises ConfigError."""
    from tsdb.model.errors import ParseError
    from tsdb.promql.syntax.parser import parse_selector

    try:
        return [parse_selector(match) for match in matches]
    except ParseError as problem:
        raise ConfigError(f"not a selector: {problem}") from None


def _document(result: QueryResult, limit: int) -> Document:
    from tsdb.server.api.json_result import encode_result

    if limit < 0:
        raise BadData("a limit is not negative")
    parts, cut = encode_result(result, limit)
    data = json.loads(b"{" + b"".join(parts) + b"}")
    if result.explanation is not None:
        data["explain"] = result.explanation.as_dict()
    return {"data": data, "warnings": [*result.warnings, *_truncated(cut)], "infos": result.infos}


def _truncated(cut: bool) -> list[str]:
    from tsdb.server.http.answer import TRUNCATED

    return [TRUNCATED] if cut else []


def _wanted(explain: bool, resolution: str) -> dict[str, str]:
    """Parameters; those that a server does not need are left out, which may be a Prometheus."""
    found = {"explain": "true"} if explain else {}
    return found if resolution == "auto" else {**found, "max_source_resolution": resolution}


def _ms(resolution: str) -> int | None:
    from tsdb.commands.query_times import duration

    if resolution in ("0", "0s"):
        return 0
    return None if resolution == "auto" else duration(resolution, "--max-source-resolution")


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}"
