"""What discovery counts: the metrics ``prometheus_sd_*``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tsdb.model.summary import Summary


@dataclass(slots=True)
class DiscoveryStatistics:
    """Counts since the start. Changed on the scraper's event loop."""

    updates: int = 0
    """Times that a mechanism published groups."""
    refresh_failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Times that a mechanism could not ask, by its name (``http``) and the job's."""
    file_read_errors: int = 0
    """Files that could not be read or understood, each time that it was tried."""
    file_scan_seconds: Summary = field(default_factory=Summary)
    """How long it took to read files that were new, changed, or due."""
    files: dict[object, dict[str, float]] = field(default_factory=dict)
    """When each file that was read had been changed (Unix s), by who watches it."""

    def file_modified_seconds(self) -> dict[str, float]:
        """By file, when it had been changed when it was read (Unix s)."""
        return {name: modified for files in self.files.values() for name, modified in files.items()}
