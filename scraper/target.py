"""Targets: what is scraped, under which labels, and when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, quote_plus

from yarl import URL

from scraper.settings import JobSettings
from tsdb.model.durations import parse_duration
from tsdb.model.settings import redacted

RESERVED = "__"
"""Labels that begin so steer the scrape and are not given to series."""
META = "__meta_"
"""Labels that discovery found, for relabeling alone."""
PARAM = "__param_"
ADDRESS, SCHEME, PATH, INTERVAL, TIMEOUT = (
    "__address__", "__scheme__", "__metrics_path__", "__scrape_interval__", "__scrape_timeout__"
)
MOMENTS = 50
"""Of an interval, at least."""
LONGEST_MOMENT_MS = 100
_IN_PATH = "$&+,/:;=@"
"""Characters that Go's net/url leaves in a path, besides letters, digits and ``-_.~``."""


class Relabels(Protocol):
    def apply(self, labels: Mapping[str, str]) -> dict[str, str] | None: ...


class NoTarget(ValueError):
    """The labels that discovery and relabeling came to cannot be scraped."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one job."""

    endpoint: URL
    url: str
    """The same as text, without a password."""
    labels: Mapping[str, str]
    """Given to all its series."""
    discovered: Mapping[str, str]
    """Before relabeling."""
    interval_ms: int
    timeout_ms: int
    identity: bytes
    """Digest of URL and all labels, hidden ones too: one that keeps it is the same target."""

    def offset_ms(self, seed: bytes) -> int:
        """When within its interval it is scraped: the same after a restart, and spread over all targets. `seed` lets
        several servers scrape the same targets at different times.

        Targets share moments: scrapes that wake the server together cost it half as much."""
        digest = hashlib.blake2b(seed + self.identity, digest_size=8).digest()
        moment = max(1, min(LONGEST_MOMENT_MS, self.interval_ms // MOMENTS))
        return int.from_bytes(digest, "little") % (self.interval_ms // moment) * moment


def discovered_labels(settings: JobSettings, own: Mapping[str, str], group: Mapping[str, str]) -> dict[str, str]:
    """Labels of a target before relabeling: its own, its group's, and what the job says where they are silent."""
    job = settings.config
    labels = {name: value for name, value in {**group, **own}.items() if value}
    defaults = {
        "job": job.job_name, INTERVAL: str(settings.interval), TIMEOUT: str(settings.timeout),
        PATH: job.metrics_path, SCHEME: job.scheme,
        **{PARAM + name: values[0] for name, values in job.params.items() if values},
    }
    for name, value in defaults.items():
        if value:
            labels.setdefault(name, value)
    return labels


def make_target(
    settings: JobSettings, relabeling: Relabels, own: Mapping[str, str], group: Mapping[str, str]
) -> Target | dict[str, str]:
    """The target of what discovery found; where relabeling drops it, its labels before that. Raises NoTarget; the words
    are Prometheus'."""
    discovered = discovered_labels(settings, own, group)
    found = relabeling.apply(discovered)
    if found is None:
        return discovered
    labels = {name: value for name, value in found.items() if value}
    address = labels.get(ADDRESS)
    if address is None:
        raise NoTarget("no address")
    if "/" in address:
        raise NoTarget(f'"{address}" is not a valid hostname')
    interval, timeout = (_duration(labels, name, what) for name, what in ((INTERVAL, "interval"), (TIMEOUT, "timeout")))
    if timeout > interval:
        raise NoTarget(
            f'scrape timeout cannot be greater than scrape interval ("{labels[TIMEOUT]}" > "{labels[INTERVAL]}")'
        )
    labels = {name: value for name, value in labels.items() if not name.startswith(META)}
    labels.setdefault("instance", address)
    for name, value in labels.items():
        if not _is_utf8(value):
            raise NoTarget(f'invalid label value for "{name}": {value!r}')
    url = _url(settings, labels)
    try:
        endpoint = URL(url, encoded=True)
    except ValueError as problem:
        raise NoTarget(f'"{address}" is not a valid hostname: {problem}') from None
    return Target(
        endpoint=endpoint,
        url=redacted(url),
        labels={name: value for name, value in sorted(labels.items()) if not name.startswith(RESERVED)},
        discovered=discovered,
        interval_ms=interval,
        timeout_ms=timeout,
        identity=hashlib.blake2b(repr((url, sorted(labels.items()))).encode(), digest_size=16).digest(),
    )


def _duration(labels: Mapping[str, str], name: str, what: str) -> int:
    text = labels.get(name, "")
    if not text:
        raise NoTarget(f"error parsing scrape {what}: empty duration string")
    try:
        duration = parse_duration(text)
    except ValueError as problem:
        raise NoTarget(f"error parsing scrape {what}: {problem}") from None
    if not duration:
        raise NoTarget(f"scrape {what} cannot be 0")
    return duration


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _url(settings: JobSettings, labels: Mapping[str, str]) -> str:
    """Written as Go does it: parameters sorted, a ``?`` in the path escaped."""
    params = {name: list(values) for name, values in settings.config.params.items()}
    for name, value in labels.items():
        if name.startswith(PARAM):
            params[name[len(PARAM) :]] = [value, *params.get(name[len(PARAM) :], [])[1:]]
    path = quote(labels.get(PATH, ""), safe=_IN_PATH)
    if path and not path.startswith("/"):
        path = "/" + path
    query = "&".join(
        f"{quote_plus(name)}={quote_plus(value)}" for name in sorted(params) for value in params[name]
    )
    return f"{labels.get(SCHEME, '')}://{labels[ADDRESS]}{path}" + (f"?{query}" if query else "")
