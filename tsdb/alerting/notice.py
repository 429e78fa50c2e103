"""What an Alertmanager is told of an alert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """Times are Unix ms."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: int
    ends_at: int
    """When it is over, unless heard of again. 0: not said."""
    generator_url: str
    """Where its expression can be looked at."""
