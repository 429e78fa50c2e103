"""Flags of the server: Prometheus' own. The table is `tsdb.flags.table`; here are the values that were given."""

from __future__ import annotations

import socket
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsdb.flags.features import FEATURES, Meaning
from tsdb.flags.table import FLAGS, GONE, REMOTE_WRITE_MESSAGES, Flag
from tsdb.model.durations import UNITS_MS, format_duration
from tsdb.model.errors import ConfigError

__all__ = ["DEFAULT_RETENTION_MS", "FEATURES", "FLAGS", "Flag", "Flags", "Meaning", "external_url", "parse", "shown"]

DEFAULT_RETENTION_MS = 15 * UNITS_MS["d"]
_LONGEST_BLOCK_MS = 31 * UNITS_MS["d"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Values of the flags that are acted on. None: not given, so that the config file's word or a default holds.

    Durations are ms. Made by `parse`; without arguments, what a server without flags has.
    """

    given: frozenset[str] = frozenset()
    """Names of the flags that were given."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """All flags as /api/v1/status/flags shows them, as far as flags alone decide."""
    warnings: tuple[str, ...] = ()
    """For the log: what was given and is not acted on."""
    config_file: Path | None = None
    auto_reload_interval_ms: int = 0
    """How often the config file is looked at; 0: never (without ``--enable-feature=auto-reload-config``)."""
    listen_addresses: tuple[str, ...] = ()
    """Empty: not given."""
    web_config_file: Path | None = None
    read_timeout_ms: int | None = None
    max_connections: int = 512
    """On all listeners together; 0: no limit."""
    max_notifications_subscribers: int = 16
    external_url: str | None = None
    """As given. `external_url()` makes it whole."""
    route_prefix: str = ""
    """Before the path of every route: empty, or ``/a/b`` without a slash at the end."""
    enable_lifecycle: bool = False
    enable_admin_api: bool = False
    accepted_messages: frozenset[str] = frozenset(REMOTE_WRITE_MESSAGES)
    page_title: str = ""
    cors_origin: str = ".*"
    """A regex of RE2 for the whole origin."""
    storage_path: Path | None = None
    retention_ms: int | None = None
    """0: no limit."""
    retention_bytes: int | None = None
    """0: no limit."""
    lookback_delta_ms: int | None = None
    query_timeout_ms: int | None = None
    query_max_concurrency: int | None = None
    query_max_samples: int | None = None
    features: frozenset[str] = frozenset()
    """Known names of --enable-feature."""
    log_level: str = "info"
    log_format: str = "logfmt"


def parse(given: Mapping[str, Sequence[str]]) -> Flags:
    """Flags from texts by name, as they stand on the command line. Raises ConfigError naming flag and remedy."""
    values: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for flag in FLAGS:
        written = given.get(flag.name)
        parts = written if written is not None else _default(flag)
        if len(parts) > 1 and not flag.repeated:
            raise ConfigError(f"--{flag.name} is given twice: remove one")
        read = [_read(flag, part) for part in parts]
        values[flag.name] = (tuple(read) if flag.repeated else read[0] if read else None)
        if flag.name not in GONE or written is not None:
            texts[flag.name] = ",".join(map(flag.kind.show, read))
    return _typed(values, texts, frozenset(given))


def external_url(given: str | None, address: str) -> str:
    """The URL under which others reach the server, without a slash at its end: as given, or else of this host and the
    port of `address`. Raises ConfigError."""
    if not given:
        return f"http://{socket.gethostname()}:{address.rpartition(':')[2]}"
    if given[0] in "\"'" or given[-1] in "\"'":
        raise ConfigError("--web.external-url: URL must not begin or end with quotes")
    try:
        url = urllib.parse.urlsplit(given)
        _ = url.port
    except ValueError as problem:
        raise ConfigError(f'--web.external-url: parse external URL "{given}": {problem}') from None
    if given.startswith(":"):
        raise ConfigError(f'--web.external-url: parse external URL "{given}": missing protocol scheme')
    path = url.path.rstrip("/")
    if path and not path.startswith("/"):
        path = f"/{path}"
    return urllib.parse.urlunsplit((url.scheme, url.netloc, path, url.query, url.fragment))


def _default(flag: Flag) -> list[str]:
    if not flag.default:
        return []
    return flag.default.split(",") if flag.repeated else [flag.default]


def _read(flag: Flag, text: str) -> Any:
    try:
        return flag.kind.parse(text)
    except ValueError as problem:
        value, reason = f'"{text}"', str(problem)
        raise ConfigError(f"--{flag.name}: {reason if value in reason else f'{value}: {reason}'}") from None


def _typed(values: Mapping[str, Any], texts: dict[str, str], given: frozenset[str]) -> Flags:
    def if_given(name: str) -> Any:
        return values[name] if name in given else None

    def path(name: str) -> Path | None:
        return Path(values[name]) if values[name] else None

    retention = if_given("storage.tsdb.retention.time")
    if retention is None:
        retention = if_given("storage.tsdb.retention")
    url = values["web.external-url"]
    prefix = values["web.route-prefix"] or (urllib.parse.urlsplit(external_url(url, "")).path if url else "")
    prefix = "/".join(["", *filter(None, [prefix.strip("/")])])
    texts["web.route-prefix"] = prefix or "/"
    if "web.cors.origin" in given:
        _check_regex("web.cors.origin", values["web.cors.origin"])
    ratio = values["auto-gomemlimit.ratio"]
    if not 0 < ratio <= 1:
        raise ConfigError("--auto-gomemlimit.ratio must be greater than 0 and less than or equal to 1")
    if any(name.startswith("storage.agent.") for name in given) and not values["agent"]:
        names = ", ".join(f"--{name}" for name in sorted(given) if name.startswith("storage.agent."))
        raise ConfigError(f"the following flag(s) can only be used in agent mode: {names}")
    messages = values["web.remote-write-receiver.accepted-protobuf-messages"]
    if len(set(messages)) < len(messages):
        raise ConfigError("--web.remote-write-receiver.accepted-protobuf-messages: the same message stands there twice")
    features, warnings = _features(values["enable-feature"])
    warnings = [*_not_acted(given), *warnings]
    interval = values["config.auto-reload-interval"]
    return Flags(
        given=given,
        texts=texts,
        warnings=tuple(warnings),
        config_file=path("config.file"),
        auto_reload_interval_ms=max(1000, interval) if "auto-reload-config" in features and interval else 0,
        listen_addresses=if_given("web.listen-address") or (),
        web_config_file=path("web.config.file"),
        read_timeout_ms=if_given("web.read-timeout"),
        max_connections=max(0, values["web.max-connections"]),
        max_notifications_subscribers=values["web.max-notifications-subscribers"],
        external_url=url,
        route_prefix=prefix if prefix != "/" else "",
        enable_lifecycle=values["web.enable-lifecycle"],
        enable_admin_api=values["web.enable-admin-api"],
        accepted_messages=frozenset(messages),
        page_title=values["web.page-title"],
        cors_origin=values["web.cors.origin"],
        storage_path=path("storage.tsdb.path") if "storage.tsdb.path" in given else None,
        retention_ms=retention,
        retention_bytes=if_given("storage.tsdb.retention.size"),
        lookback_delta_ms=if_given("query.lookback-delta"),
        query_timeout_ms=if_given("query.timeout"),
        query_max_concurrency=if_given("query.max-concurrency"),
        query_max_samples=if_given("query.max-samples"),
        features=features,
        log_level=values["log.level"],
        log_format=values["log.format"],
    )


def _check_regex(name: str, text: str) -> None:
    import re2  # only for who gives one

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options)
    except re2.error as problem:
        reason = problem.args[0].decode() if isinstance(problem.args[0], bytes) else str(problem)
        raise ConfigError(f'--{name}: "{text}": {reason}') from None


def _not_acted(given: frozenset[str]) -> list[str]:
    return [f"--{flag.name} is not acted on" for flag in FLAGS if flag.name in given and not flag.acted]


def _features(lists: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """(known names, warnings) of the values of --enable-feature."""
    names = [name for text in lists for name in text.split(",") if name]
    warnings = []
    for name in names:
        meaning = FEATURES.get(name)
        if meaning is None:
            warnings.append(f"Unknown option for --enable-feature: {name}")
        elif meaning is Meaning.NOT_BUILT:
            warnings.append(f"--enable-feature={name} is not built yet")
    return frozenset(names) & frozenset(FEATURES), warnings


def shown(flags: Flags, *, listen: str, data: str, lookback_ms: int, timeout_ms: int, read_timeout_ms: int,
          concurrency: int, max_samples: int, retention_ms: int, retention_bytes: int) -> dict[str, str]:
    """All flags with the values that hold, as /api/v1/status/flags shows them, sorted by name."""
    texts = {
        **(flags.texts or parse({}).texts),
        "web.listen-address": listen,
        "web.read-timeout": format_duration(read_timeout_ms),
        "storage.tsdb.path": data,
        "storage.tsdb.retention.time": format_duration(retention_ms),
        "storage.tsdb.retention.size": _size_text(retention_bytes),
        "query.lookback-delta": format_duration(lookback_ms),
        "query.timeout": format_duration(timeout_ms),
        "query.max-concurrency": str(concurrency),
        "query.max-samples": str(max_samples),
    }
    if not texts["storage.tsdb.max-block-duration"]:
        longest = min(_LONGEST_BLOCK_MS, retention_ms // 10) if retention_ms else _LONGEST_BLOCK_MS
        texts["storage.tsdb.max-block-duration"] = format_duration(longest)
    return dict(sorted(texts.items()))


def _size_text(size: int) -> str:
    return next(flag.kind.show(size) for flag in FLAGS if flag.name == "storage.tsdb.retention.size")
