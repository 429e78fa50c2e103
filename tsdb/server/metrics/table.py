"""Rows of the table of metrics, and the families that are made of them when somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.utils import floatToGoString

from tsdb.model.histogram import Histogram
from tsdb.model.summary import Summarized

S = TypeVar("S")

Value = float | Summarized | Histogram


@dataclass(frozen=True, slots=True)
class Row(Generic[S]):
    """One metric: what it is, and how its values are read from what counts it."""

    name: str
    """As it is exposed: a counter ends in ``_total``."""
    type: Literal["counter", "gauge", "summary", "histogram"]
    help: str
    read: Callable[[S], Value | Mapping[tuple[str, ...], Value] | None]
    """With labels: by their values. None: no value now."""
    labels: tuple[str, ...] = ()

    def family(self, state: S) -> Metric:
        made: CounterMetricFamily | GaugeMetricFamily | SummaryMetricFamily | HistogramMetricFamily
        if self.type == "counter":
            made = CounterMetricFamily(self.name.removesuffix("_total"), self.help)
        elif self.type == "gauge":
            made = GaugeMetricFamily(self.name, self.help)
        elif self.type == "summary":
            made = SummaryMetricFamily(self.name, self.help)
        else:
            made = HistogramMetricFamily(self.name, self.help)
        found = self.read(state)
        if not isinstance(found, Mapping):
            found = {} if found is None else {(): found}
        for values, value in found.items():
            labels = dict(zip(self.labels, values, strict=True))
            if isinstance(value, Summarized):
                for quantile, observed in value.quantiles.items():
                    made.add_sample(self.name, {**labels, "quantile": str(quantile)}, observed)
                made.add_sample(f"{self.name}_sum", labels, value.sum)
                made.add_sample(f"{self.name}_count", labels, value.count)
            elif isinstance(value, Histogram):
                for bound, count in value.cumulative():
                    made.add_sample(f"{self.name}_bucket", {**labels, "le": _text(bound)}, count)
                made.add_sample(f"{self.name}_sum", labels, value.sum)
                made.add_sample(f"{self.name}_count", labels, sum(value.counts))
            else:
                made.add_sample(self.name, labels, float(value))
        return made


def _text(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


class Rows(Generic[S]):
    """A collector for prometheus_client: reads the state once, then every row of it."""

    def __init__(self, rows: Sequence[Row[S]], state: Callable[[], S]) -> None:
        self._rows = rows
        self._state = state

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        for row in self._rows:
            yield row.family(state)
