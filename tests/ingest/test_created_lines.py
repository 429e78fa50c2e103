"""Since when samples of OpenMetrics count: ``_created`` lines, which are series as well."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.head import Head, target
from tests.ingest.test_remote_write import rows_of
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import TargetSeries
from tsdb.model.batch import Batch
from tsdb.model.labels import format_series, labels_of_key

Starts = dict[str, int]
"""ms by series, of those that have one."""


def scrape(series: TargetSeries, head: Head, body: str, ts: int, format_: Format = Format.OPENMETRICS) -> Batch:
    end = "# EOF\n" if format_ is Format.OPENMETRICS else ""
    batch = series.batch(series.parse((body + end).encode(), format_, ts), ts, [1.0] * series_reports(series))
    series.appended(head.append(batch)[1])
    return batch


def series_reports(series: TargetSeries) -> int:
    return series._report_slots.slot.size


def starts_of(batch: Batch, head: Head) -> Starts:
    """By the labels that the rows have in the head."""
    if batch.start_ts is None:
        return {}
    assert batch.known is not None
    known = [head.series[slot].key for slot in batch.known.slot.tolist()]
    named = [format_series(labels.items()) for labels, _ in rows_of(first_rows(batch))]
    names = [format_key(key) for key in known] + named
    return {names[row]: start for row, start in zip(batch.sample_row.tolist(), batch.start_ts.tolist(), strict=True)
            if start}


def format_key(key: bytes) -> str:
    return format_series(labels_of_key(key).items())


def first_rows(batch: Batch) -> Batch:
    """Its keyed rows without samples."""
    none = slice(0, 0)
    return Batch(batch.keys, batch.row_hash, batch.row_offset, batch.row_length, batch.sample_row[none], batch.ts[none],
                 batch.values[none])


COUNTERS = """# TYPE c counter
c_total{a="1"} 5
c_created{a="1"} 1520430000.123
c_total{b="2",a="2"} 6 # {trace="x"} 1
c_created{a="2",b="2"} 1520430001
c_total{a="3"} 7
"""
DISTRIBUTIONS = """# TYPE h histogram
h_bucket{a="1",le="1"} 1
h_bucket{le="+Inf",a="1"} 2
h_count{a="1"} 2
h_sum{a="1"} 2.5
h_created{a="1"} 1
# TYPE s summary
s{quantile="0.5"} 1
s_count 1
s_sum 1
s_created 2.5
"""
QUOTED = r"""# TYPE "c.d" counter
{"c.d_total","l m"="}\"x,"} 1
{"c.d_created","l m"="}\"x,"} 3
"""
TABLE: dict[str, tuple[str, Starts]] = {
    "counters": (COUNTERS, {'c_total{a="1"}': 1_520_430_000_123, 'c_total{a="2", b="2"}': 1_520_430_001_000}),
    "histograms and summaries": (DISTRIBUTIONS, {
        'h_bucket{a="1", le="1.0"}': 1000, 'h_bucket{a="1", le="+Inf"}': 1000, 'h_count{a="1"}': 1000,
        'h_sum{a="1"}': 1000, 's{quantile="0.5"}': 2500, "s_count": 2500, "s_sum": 2500}),
    "before the others": ("# TYPE c counter\nc_created 3\nc_total 1\n", {"c_total": 3000}),
    "empty braces": ("# TYPE c counter\nc_created{} 3\nc_total 1\n", {"c_total": 3000}),
    "a comma at the end": ('# TYPE c counter\nc_created{a="1"} 3\nc_total{a="1",} 1\n', {'c_total{a="1"}': 3000}),
    "quoted names": (QUOTED, {r'{__name__="c.d_total", "l m"="}\"x,"}': 3000}),
    "other labels": ('# TYPE c counter\nc_created{a="1"} 3\nc_total{a="2"} 1\nc_total 1\n', {}),
    "labels that bounds are called": ('# TYPE c counter\nc_created{le="1"} 3\nc_total{le="2"} 1\n', {}),
    "gauges": ("# TYPE g gauge\ng 1\ng_created 3\n", {}),
    "another family": ("# TYPE c counter\nc_total 1\n# TYPE c_created gauge\nc_created 3\n", {}),
    "no type": ("c_total 1\nc_created 3\n", {}),
    "no time": ("# TYPE c counter\nc_total 1\nc_created NaN\n# TYPE d counter\nd_total 1\nd_created 1e300\n", {}),
    "none": ("# TYPE c counter\nc_total 1\n", {}),
}


@pytest.mark.parametrize("name", TABLE)
def test_whose_start_it_is(name: str) -> None:
    body, expected = TABLE[name]
    series, head = target(reports=["up"]), Head()
    for number in range(3):
        assert starts_of(scrape(series, head, body, 1000 * number), head) == expected, f"scrape {number}"
        assert head.keyed == 0 or number == 0


def test_the_text_format_has_none() -> None:
    series, head = target(), Head()
    assert scrape(series, head, COUNTERS.replace(' # {trace="x"} 1', ""), 0, Format.TEXT).start_ts is None
    assert starts_of(scrape(series, head, COUNTERS, 1000), head) == TABLE["counters"][1]


def test_lines_that_relabeling_drops_say_it_still() -> None:
    def relabel(labels: dict[str, str]) -> dict[str, str] | None:
        return None if labels["__name__"].endswith("_created") or labels.get("a") == "3" else labels

    series, head = target(relabel=relabel), Head()
    for number in range(3):
        batch = scrape(series, head, COUNTERS, 1000 * number)
        assert batch.samples == 2
        assert starts_of(batch, head) == TABLE["counters"][1]


def test_series_that_come_and_go() -> None:
    series, head = target(reports=["up"]), Head()
    counter = "# TYPE c counter\nc_total 1\n"
    for number, (body, expected) in enumerate([
        (counter, {}),
        (counter + "c_created 1\n", {"c_total": 1000}),
        (counter + "c_created 2\n", {"c_total": 2000}),
        (counter, {}),
        (counter + "c_created 2\n" + DISTRIBUTIONS, {"c_total": 2000, **TABLE["histograms and summaries"][1]}),
        ("", {}),
        *[("".join(f"# TYPE c{i} counter\nc{i}_total 1\nc{i}_created {i}\n" for i in range(first, first + 200)),
           {f"c{i}_total": 1000 * i for i in range(first, first + 200) if i}) for first in (0, 150, 400, 800)],
    ]):
        assert starts_of(scrape(series, head, body, 1000 * number), head) == expected, f"scrape {number}"
    assert series.memory < 1 << 20


names = st.sampled_from(["a", "b", "a_created", "c_total"])
kinds = st.sampled_from(["counter", "histogram", "summary", "gauge", "unknown"])
label_sets = st.dictionaries(st.sampled_from(["x", "y", "le", "quantile"]), st.sampled_from(["1", '\\"', "}", ","]))
endings = st.sampled_from(["", "_total", "_created", "_created", "_bucket", "_count", "_sum"])
lines = st.lists(st.tuples(endings, label_sets, st.integers(1, 9)), max_size=6)
families = st.lists(st.tuples(names, kinds, lines), max_size=4, unique_by=lambda one: one[0])

FAMILY_OF: dict[str, Callable[[str], re.Match[str] | None]] = {
    "counter": re.compile("(.+)_total").fullmatch, "histogram": re.compile("(.+)_(?:bucket|count|sum)").fullmatch,
    "summary": re.compile("(.+?)(?:_count|_sum)?").fullmatch,
}


def expected_starts(generated: list[tuple[str, str, list[tuple[str, dict[str, str], int]]]]) -> list[int]:
    """Of each line, slowly."""
    known: dict[tuple[str, frozenset[tuple[str, str]]], int] = {}
    texts = []
    seen = set()
    for family, kind, family_lines in generated:
        bound = {"histogram": "le", "summary": "quantile"}.get(kind)
        for ending, labels, value in family_lines:
            name = family + ending
            others = frozenset((key, text) for key, text in labels.items() if key != bound)
            fresh = (name, frozenset(labels.items())) not in seen
            seen.add((name, frozenset(labels.items())))
            if not fresh:
                continue
            found = FAMILY_OF[kind](name) if kind in FAMILY_OF else None
            said = kind in FAMILY_OF and name.endswith("_created") and name != "_created"
            if said:
                known.setdefault((name.removesuffix("_created"), others), 1000 * value)
            texts.append(None if said or found is None else (found[1], others))
    return [known.get(text, 0) if text else 0 for text in texts]


@settings(max_examples=100, deadline=None)
@given(families)
def test_generated_scrapes(generated: list[tuple[str, str, list[tuple[str, dict[str, str], int]]]]) -> None:
    body = ""
    for family, kind, family_lines in generated:
        body += f"# TYPE {family} {kind}\n"
        for ending, labels, value in family_lines:
            pairs = ",".join(f'{name}="{text}"' for name, text in sorted(labels.items()))
            body += f"{family}{ending}{{{pairs}}} {value}\n"
    series, head = target(), Head()
    for ts in (0, 1000):
        batch = scrape(series, head, body, ts)
        starts = [0] * batch.samples if batch.start_ts is None else batch.start_ts.tolist()
        assert starts == expected_starts(generated)
