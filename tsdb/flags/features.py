"""Names that ``--enable-feature`` takes: all that a Prometheus 2.x or 3.x knew, and what they mean here."""

from __future__ import annotations

from enum import Enum


class Meaning(Enum):
    """What naming a feature does."""

    ACTED = "acted on"
    ALWAYS = "always on"
    NOT_BUILT = "not built"


_ACTED = """
    auto-reload-config extra-scrape-metrics native-histograms promql-delayed-name-removal use-start-timestamps
"""
_ALWAYS = """
    auto-gomaxprocs auto-gomemlimit exemplar-storage expand-external-labels metadata-wal-records
    new-service-discovery-manager no-default-scrape-port promql-at-modifier promql-binop-fill-modifiers
    promql-duration-expr
    promql-experimental-functions promql-extended-range-selectors promql-negative-offset promql-per-step-stats
    remote-write-receiver
    st-storage utf8-names
"""
_NOT_BUILT = """
    agent concurrent-rule-eval created-timestamp-zero-ingestion delayed-compaction fast-startup
    memory-snapshot-on-shutdown old-ui ooo-native-histograms otlp-deltatocumulative
    otlp-native-delta-ingestion otlp-write-receiver type-and-unit-labels
    use-uncached-io xor2-encoding
"""

FEATURES: dict[str, Meaning] = {
    name: meaning
    for meaning, names in ((Meaning.ACTED, _ACTED), (Meaning.ALWAYS, _ALWAYS), (Meaning.NOT_BUILT, _NOT_BUILT))
    for name in names.split()
}
