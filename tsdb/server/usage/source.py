"""Who asks: read from the headers of a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

LONGEST: Final = 100
"""Characters of each part; of longer ones the beginning is kept."""


class Source(NamedTuple):
    """`kind` is ``dashboard`` (`name` its uid, `part` the panel's id), ``rule`` (`name` the rule's, `part` its group or
    folder), ``federation`` or ``client`` (`name` the user agent)."""

    kind: str
    name: str
    part: str = ""


UNKNOWN: Final = Source("client", "")


def source_of(headers: Mapping[str, str], kind: str = "client") -> Source:
    """As Grafana's headers say it; else the user agent, as `kind`. `headers` ignores case."""
    get = headers.get
    if rule := get("X-Rule-Name") or get("X-Rule-Uid"):
        return Source("rule", rule[:LONGEST], get("X-Rule-Folder", "")[:LONGEST])
    if dashboard := get("X-Dashboard-Uid"):
        return Source("dashboard", dashboard[:LONGEST], get("X-Panel-Id", "")[:LONGEST])
    return Source(kind, get("User-Agent", "")[:LONGEST])
