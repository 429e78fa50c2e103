"""What a format cannot carry, counted while samples are written."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Losses:
    """Filled by an exporter; complete when it has ended."""

    histograms: int = 0
    """Native histograms that were left out."""
    stale_markers: int = 0
    """Left out, too: the format would have them as values."""
    nan_bits: int = 0
    """NaNs that were written as the usual one."""
    start_times: int = 0
    """Samples that were written without the time since when they have been counting."""
    nameless: int = 0
    """Samples of series without a metric name that were left out."""
    warnings: list[str] = field(default_factory=list)
    """What is missing, as of a query."""

    def messages(self) -> list[str]:
        """Lines for people; none where nothing was lost."""
        told = [
            (self.histograms, "native histograms were left out: this format has none"),
            (self.stale_markers, "stale markers were left out: this format has none"),
            (self.nan_bits, "NaNs lost their bits"),
            (self.start_times, "samples lost their start times: this format has none"),
            (self.nameless, "samples of series without a metric name were left out: this format has none"),
        ]
        return [f"{count} {what}" for count, what in told if count] + self.warnings
