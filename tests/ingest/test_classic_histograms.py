"""Classic histograms of scrapes as native ones. `tests/server/test_classic_histograms_against_prometheus.py` compares
with a real Prometheus what is stored."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingest.head import Head, read, target
from tests.ingest.native_families import family
from tests.ingest.test_metric_families import HISTOGRAM, NOW, double, integer
from tests.ingest.test_native_scrapes import BUCKETS, samples
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.metric_families import HistogramOptions
from tsdb.ingest.exposition.scrape_series import SeriesLimits
from tsdb.model.errors import ScrapeRefused
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, Spans

CONVERT = HistogramOptions(convert=True)
SERIES = '# TYPE h histogram\nh_bucket{a="1",le="1"} 2\nh_bucket{a="1",le="+Inf"} 3\nh_sum{a="1"} 4\nh_count{a="1"} 3\n'
NATIVE = NativeHistogram(CUSTOM_SCHEMA, 4.0, 3, positive_spans=((0, 2),), positive=(2, 1), custom_values=(1.0,))


def converted(body: str, options: HistogramOptions = CONVERT) -> list[tuple[str, Any]]:
    return samples(read(target(histograms=options), body)[1])


def twin(buckets: list[tuple[float, float]], total: float | None) -> NativeHistogram | None:
    """Of bounds with cumulative counts in the order they came, slow and obvious."""
    counts: dict[float, float] = {}
    for bound, count in buckets:
        counts.setdefault(bound + 0.0, count)
    ordered = sorted(counts.items())
    if any(count < 0 for _, count in buckets):
        return None
    whole = total if total is not None else ordered[-1][1] if ordered else 0.0
    if math.inf not in counts:
        ordered.append((math.inf, whole))
    cumulative = [count for _, count in ordered]
    if cumulative != sorted(cumulative) or cumulative[-1] != whole or whole < 0:
        return None
    floats = any(count != int(count) for count in cumulative)
    each = [after - before for before, after in zip([0.0, *cumulative], cumulative, strict=False)]
    filled = [i for i, count in enumerate(each) if count]
    spans: list[list[int]] = []
    kept: list[float] = []
    before = -1
    for i in filled:
        if spans and i - before - 1 <= (0 if floats else 2):
            kept += [0.0] * (i - before - 1)
            spans[-1][1] += i - before
        else:
            spans.append([i - before - 1, 1])
        kept.append(each[i])
        before = i
    made: Spans = tuple((offset, length) for offset, length in spans)
    return NativeHistogram(CUSTOM_SCHEMA, 1.5, whole, positive_spans=made, positive=tuple(kept),
                           custom_values=tuple(bound for bound, _ in ordered[:-1]), floats=floats)


bounds = st.sampled_from([-2.5, -0.0, 0.0, 0.25, 1.0, 2.0, 4.0, 1e9, math.inf])
steps = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, 3.0, 250.0, 0.5]), max_size=9)


@given(st.lists(bounds, max_size=9, unique=True), steps, st.booleans(), st.booleans(), st.booleans(), st.randoms())
def test_buckets(chosen: list[float], steps: list[float], counted: bool, shuffled: bool, wrong: bool,
                 chance: Any) -> None:
    count = 0.0
    buckets = []
    for bound, step in zip(sorted(chosen), steps, strict=False):
        count += step
        buckets.append((bound, count))
    if shuffled:
        chance.shuffle(buckets)
    if wrong and buckets:
        buckets.append((buckets[0][0], 7.0))
        buckets.append((3.0, -1.0 if len(buckets) % 2 else 2.0))
    lines = [f'h_bucket{{le="{bound}"}} {count}' for bound, count in buckets] + ["h_sum 1.5"]
    if counted:
        lines.insert(chance.randrange(len(lines)), f"h_count {count}")
    expected = twin(buckets, count if counted else None)
    assert converted("\n".join(["# TYPE h histogram", *lines, ""])) == ([("h", expected)] if expected else [])


def test_series_go_on_and_vanish() -> None:
    series, head = target(histograms=CONVERT), Head()
    for number, (body, keyed, written) in enumerate((
            (SERIES + "b 1\n", 2, 2), (SERIES + "b 1\n", 0, 2), ("b 1\n", 0, 2), (SERIES + "b 1\n", 0, 2))):
        scrape, batch = read(series, body, ts=1000 * number)
        done, appended = head.append(batch)
        assert (head.keyed, len(done)) == (keyed, written), number
        series.appended(appended)
        assert scrape.scraped == (1 if body == "b 1\n" else 2)


def test_formats_and_what_is_kept_beside() -> None:
    classic = [("h_bucket", 2.0), ("h_bucket", 3.0), ("h_sum", 4.0), ("h_count", 3.0)]
    assert converted(SERIES) == [("h", NATIVE)]
    assert converted(SERIES, HistogramOptions(convert=True, classic=True)) == [*classic, ("h", NATIVE)]
    assert converted(SERIES, HistogramOptions()) == classic
    body = family("h", HISTOGRAM, [integer(1, 9) + double(2, 4.0) + BUCKETS])
    _, batch = read(target(histograms=CONVERT), body, Format.PROTOBUF, NOW)
    (name, found), = samples(batch)
    assert (name, found.positive, found.custom_values) == ("h", (4, 5), (0.5,))


def test_many_buckets_refuse_the_scrape() -> None:
    with pytest.raises(ScrapeRefused, match="histogram bucket limit exceeded"):
        converted(SERIES, HistogramOptions(convert=True, bucket_limit=1))


@pytest.mark.parametrize(("line", "message"), [
    ('h_bucket{a="1",le="1"} x', "line 6: the value is not a number"),
    ('h_bucket{a="1",le="1} 1', "line 6: expected"),
    ('h_bucket{a="1",le="1",} 1e999', "line 6: the value is out of range"),
    ('h_bucket{a=1,le="1"} 1', "line 6: expected label value"),
    ("b 1 x", "line 6: the timestamp"), ('c{a="1" b="2"} ', "line 6: expected value"),
    ('h_bucket{a="2",a="3",le="1"} 1', "line 6: label name is not unique"),
    ("h_bucket{a=\"\udcff\",le=\"1\"} 1", "line 6: .*UTF-8"),
])
def test_wrong_lines_are_named(line: str, message: str) -> None:
    for options in (CONVERT, HistogramOptions(convert=True, classic=True)):
        with pytest.raises(ScrapeRefused, match=f"^{message}"):
            read(target(histograms=options), (SERIES + line + "\nd 1\n").encode(errors="surrogateescape"))


def test_limits_of_labels_name_the_first_line() -> None:
    with pytest.raises(ScrapeRefused, match=r"^line 2: label_limit exceeded"):
        read(target(histograms=CONVERT, limits=SeriesLimits(label_limit=1)), SERIES)


def test_long_numbers() -> None:
    body = ('# TYPE h histogram\nh_bucket{le="0.30000000000000000000000001"} 1\n'
            'h_bucket{le="+Inf"} 9007199254740993.0000000001\nh_sum 0.1000000000000000000000000001\n'
            'h_count 9007199254740993.0000000001\n# EOF\n')
    (_, found), = samples(read(target(histograms=CONVERT), body, Format.OPENMETRICS)[1])
    assert found == NativeHistogram(CUSTOM_SCHEMA, 0.1, 9007199254740994, positive_spans=((0, 2),),
                                    positive=(1, 9007199254740993), custom_values=(0.3,))


def test_exemplars_with_times_go_to_the_histogram() -> None:
    body = ('# TYPE h histogram\nh_bucket{le="1"} 1 # {t="a"} 0.5 12.5\nh_bucket{le="+Inf"} 2 # {t="b"} 5\n'
            'h_count 2\nh_sum 3\n# TYPE c counter\nc_total 1 # {t="c"} 1\n# EOF\n')
    for options, at in ((CONVERT, 1), (HistogramOptions(convert=True, classic=True), 5)):
        scrape, _ = read(target(histograms=options), body, Format.OPENMETRICS, 77)
        assert [(each.sample, each.labels, each.value, each.ts) for each in scrape.new_exemplars] == [
            (at - 1, (("t", "c"),), 1.0, 77), (at, (("t", "a"),), 0.5, 12_500)] or \
            [(each.sample, each.labels) for each in scrape.new_exemplars] == [(at, (("t", "a"),)),
                                                                             (at - 1, (("t", "c"),))]


@given(st.integers(0, len(SERIES) * 2), st.binary(max_size=3), st.sampled_from(list(Format)))
def test_any_bytes_are_read_or_refused(at: int, put: bytes, format_: Format) -> None:
    body = (SERIES * 2).encode() + b"# EOF\n"
    if format_ is Format.PROTOBUF:
        body = family("h", HISTOGRAM, [integer(1, 9) + double(2, 4.0) + BUCKETS]) * 2
    for options in (CONVERT, HistogramOptions(convert=True, classic=True, native=True)):
        try:
            read(target(histograms=options), body[:at] + put + body[at + len(put):], format_)
        except ScrapeRefused as refused:
            assert str(refused)
