"""What reading a data directory could not take along: counted, with an example each, for one line at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_DAMAGES = 20
"""That are told one by one."""


@dataclass(slots=True)
class Notes:
    """Filled while somebody reads."""

    skip_damaged: bool = False
    """Whether what is damaged is left out. Else it is an error."""
    damaged: list[str] = field(default_factory=list)
    """What was left out for it, with file, offset and reason."""
    refused_series: Counter[str] = field(default_factory=Counter)
    """Series that cannot be taken, by reason."""
    refused_histograms: Counter[str] = field(default_factory=Counter)
    exemplars: int = 0
    """Of the log: an import takes none."""
    orphans: int = 0
    """Samples of the log whose series is not in it, which Prometheus leaves out as well."""

    def messages(self) -> list[str]:
        """Lines for people; none where everything was taken."""
        told = [f"left out, damaged: {text}" for text in self.damaged[:MOST_DAMAGES]]
        if len(self.damaged) > MOST_DAMAGES:
            told.append(f"left out, damaged: {len(self.damaged) - MOST_DAMAGES} places more")
        told += [f"{count} series left out: {reason}" for reason, count in self.refused_series.items()]
        told += [f"{count} histograms left out: {reason}" for reason, count in self.refused_histograms.items()]
        if self.exemplars:
            told.append(f"{self.exemplars} exemplars left out: blocks have none")
        if self.orphans:
            told.append(f"{self.orphans} samples of the log left out: their series are not in it")
        return told
