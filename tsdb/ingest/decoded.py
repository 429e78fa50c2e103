"""What decoding a request gives: a batch, and what of the request could not be taken."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsdb.ingest import canonical_kernels as canonical
from tsdb.model.batch import Batch

LABEL_REASONS = {
    canonical.NO_METRIC_NAME: "series without a metric name",
    canonical.EMPTY_LABEL_NAME: "label with an empty name",
    canonical.INVALID_UTF8: "label name or value is not valid UTF-8",
    canonical.DUPLICATE_LABEL: "label name is not unique",
    canonical.KEY_TOO_LONG: "labels are too long in all",
    canonical.TOO_MANY_LABELS: f"more than {canonical.MAX_LABELS} labels",
    canonical.ODD_REFS: "odd number of labels_refs",
    canonical.REF_BEYOND_SYMBOLS: "labels_refs point beyond the symbols",
}
"""Why a label set is invalid, by the code of `canonical_kernels`."""


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """How large a request, and what it holds, may be."""

    max_body_bytes: int = 32 << 20
    """Of a body after decompression; Prometheus and VictoriaMetrics take as much."""
    max_samples: int = 4 << 20
    """In one request, and as many series: either takes 20 bytes of memory, and may be two on the wire."""
    max_key_bytes: int = 65535
    """Of a series' canonical key: a series with longer labels is rejected."""
    max_metadata: int = 20_000
    """Metadata entries in one request: each becomes a Python object."""
    max_exemplars: int = 20_000
    """In one request: each becomes a Python object."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Series of a request that can never be accepted, for one reason."""

    reason: str
    series: int
    samples: int
    example: str
    """The first such series, as PromQL would write it."""
    detail: str = ""
    """About that series' sample, in place of the reason."""

    def __str__(self) -> str:
        counts = f"({self.series} series, {self.samples} samples rejected)"
        return f"{self.detail or self.reason}: {self.example} {counts}"


@dataclass(slots=True)
class Decoded:
    """A decoded request."""

    batch: Batch
    series: int
    """Series in the request, those without samples and rejected ones included."""
    samples: int
    """Float samples and histograms in the request, rejected ones included."""
    rejected: list[Rejected] = field(default_factory=list)
    rejected_exemplars: int = 0
    """Of series that are valid; their labels are far too long, no text, or no symbols."""
    rejected_metadata: int = 0
    """Metadata of series whose references point beyond the symbols."""

    @property
    def rejected_samples(self) -> int:
        return sum(rejected.samples for rejected in self.rejected)
