"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

NAMED = 10
"""Series that a finding names."""


class Severity(Enum):
    DAMAGE = "damage"
    """A file is not as it was written."""
    NOTICE = "notice"
    """Something that is as it may be, and worth knowing."""


class Repair(Enum):
    """What can be done at once, and is always safe."""

    SET_ASIDE = "set aside"
    """What is sound of a block stands in a new one, the damaged one in the folder `damaged`."""
    MEND = "mend"
    """The index of a block is written as it was: what is damaged follows from the rest of it."""
    REMOVE = "remove"
    """A temporary file that nothing refers to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`path` is in the data directory; `what` is wrong with it, what that `means`, and the `remedy`."""

    severity: Severity
    path: Path
    what: str
    means: str = ""
    remedy: str = ""
    series: tuple[str, ...] = ()
    """Those affected, as far as they are known; at most NAMED."""
    series_count: int = 0
    mint: int = 0
    """ms: the times affected are mint <= ts < maxt; equal where that is not known."""
    maxt: int = 0
    repair: Repair | None = None


@dataclass(slots=True)
class Kind:
    """Files of one kind."""

    files: int = 0
    bytes: int = 0
    items: int = 0
    """Records, chunks or blocks."""
    samples: int = 0
    damaged: int = 0
    mint: int | None = None
    """ms, of the oldest sample"""
    maxt: int | None = None
    """ms, of the newest one"""

    def add_times(self, mint: int, maxt: int) -> None:
        self.mint = mint if self.mint is None else min(self.mint, mint)
        self.maxt = maxt if self.maxt is None else max(self.maxt, maxt)


KINDS = ("log", "windows", "histograms", "blocks", "tiers", "saved head", "set aside", "snapshots", "other")


@dataclass(slots=True)
class Report:
    """The result of a check."""

    path: Path
    process: int | None
    """That has the directory open; what it writes meanwhile is not checked."""
    kinds: dict[str, Kind] = field(default_factory=lambda: {kind: Kind() for kind in KINDS})
    findings: list[Finding] = field(default_factory=list)
    free_bytes: int = 0

    def add(self, finding: Finding, kind: str | None = None) -> None:
        self.findings.append(finding)
        if kind is not None and finding.severity is Severity.DAMAGE:
            self.kinds[kind].damaged += 1

    @property
    def damage(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity is Severity.DAMAGE]


Progress = Callable[[str, int], None]
"""Told what is read, and how many bytes of it are done."""
