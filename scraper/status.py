"""What the scraper tells about its targets: to the API, to metrics, to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tsdb.model.batch import Metadata

Health = Literal["unknown", "up", "down"]


@dataclass(slots=True)
class TargetStatus:
    """An active target."""

    pool: str
    """Name of its job."""
    url: str
    """What is scraped, parameters included, passwords not."""
    labels: Mapping[str, str]
    """After relabeling, without those that begin with ``__``."""
    discovered_labels: Mapping[str, str]
    """Before relabeling."""
    interval_ms: int
    timeout_ms: int
    health: Health = "unknown"
    last_error: str = ""
    last_scrape_ms: int | None = None
    """Unix ms; None: never."""
    last_duration_s: float = 0.0
    metadata: Mapping[str, Metadata] = field(default_factory=dict)
    """By family, of the last scrapes."""


@dataclass(frozen=True, slots=True)
class DroppedTarget:
    """A target that relabeling dropped."""

    pool: str
    discovered_labels: Mapping[str, str]


@dataclass(slots=True)
class PoolStatus:
    """A job's targets."""

    name: str
    active: list[TargetStatus]
    dropped: list[DroppedTarget]
    """At most `keep_dropped_targets`."""
    dropped_count: int
    """All of them."""
