"""What is remembered of a target between scrapes: known series, staleness, limits, what is forgotten."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.ingest.head import Head, Written, target
from tests.ingest.test_remote_write import bits
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import Scrape, SeriesLimits, TargetSeries
from tsdb.model.batch import OUT_OF_ORDER, STALE_NAN, Metadata
from tsdb.model.errors import ForgottenSeries, ScrapeRefused

FAILED = None
GONE = "gone"
ONE = bits(1.0)
Step = tuple[str | None, list[str]]
"""A body, FAILED or GONE; and what is written then at the time of the step, as ``series`` (value 1), ``-series``
(stale) or ``series@ms``."""


def shown(written: list[Written], ts: int) -> list[str]:
    return [
        f"{'-' if value == 'stale' else ''}{name}{'' if time == ts else f'@{time}'}" for name, time, value in written
        if value in ("stale", ONE)
    ]


def play(series: TargetSeries, steps: list[Step], head: Head | None = None, format_: Format = Format.TEXT,
         track_staleness: bool = False, honor_timestamps: bool = True) -> None:
    head = head or Head()
    for number, (body, expected) in enumerate(steps):
        ts = 1000 * (number + 1)
        scrape = None
        if body == GONE:
            batch = series.end(ts)
            if batch is None:
                assert not expected
                continue
        else:
            if body is not None:
                scrape = series.parse(body.encode(), format_, ts, honor_timestamps=honor_timestamps,
                                      track_staleness=track_staleness)
            batch = series.batch(scrape, ts, [])
        written, appended = head.append(batch)
        series.appended(appended)
        assert shown(written, ts) == expected, f"step {number}"


TABLES: dict[str, list[Step]] = {
    "the same again": [("a 1\nb 1\n", ["a", "b"]), ("a 1\nb 1\n", ["a", "b"]), ("a 1\nb 1\n", ["a", "b"])],
    "one appears, one goes": [
        ("a 1\nb 1\n", ["a", "b"]), ("a 1\nc 1\nb 1\n", ["a", "c", "b"]), ("c 1\nb 1\n", ["c", "b", "-a"]),
        ("c 1\nb 1\n", ["c", "b"]), ("c 1\n", ["c", "-b"]),
    ],
    "another order": [("a 1\nb 1\nc 1\n", ["a", "b", "c"]), ("c 1\na 1\nb 1\n", ["c", "a", "b"]),
                      ("b 1\na 1\nc 1\n", ["b", "a", "c"])],
    "flapping": [("a 1\nb 1\n", ["a", "b"]), ("a 1\n", ["a", "-b"]), ("a 1\nb 1\n", ["a", "b"]),
                 ("a 1\n", ["a", "-b"])],
    "a failed scrape": [("a 1\nb 1\n", ["a", "b"]), (FAILED, ["-a", "-b"]), (FAILED, []), ("a 1\nb 1\n", ["a", "b"]),
                        ("a 1\n", ["a", "-b"])],
    "gone": [("a 1\n", ["a"]), (GONE, ["-a"])],
    "gone after a failure": [("a 1\n", ["a"]), (FAILED, ["-a"]), (GONE, [])],
    "gone at once": [(GONE, [])],
    "spelled otherwise": [  # its own sample comes first, the marker at the same time is refused
        ('a{x="1",y="2"} 1\n', ['a{x="1", y="2"}']), ('a{y="2",x="1"} 1\n', ['a{x="1", y="2"}']),
        ('a{y="2",x="1"} 1\n', ['a{x="1", y="2"}']), ("b 1\n", ["b", '-a{x="1", y="2"}']),
    ],
    "two spellings, one goes": [
        ('a{x="1"} 1\na{x="1",} 1\n', ['a{x="1"}', 'a{x="1"}']), ('a{x="1"} 1\n', ['a{x="1"}']),
        ('a{x="1",} 1\n', ['a{x="1"}']), ("b 1\n", ["b", '-a{x="1"}']),
    ],
    "times of their own": [("a 1 500\nb 1\n", ["a@500", "b"]), ("b 1\n", ["b"]), ("a 1 2500\n", ["a@2500", "-b"]),
                           ("a 1\n", ["a"]), ("b 1\n", ["b", "-a"])],
    "twice in a body": [("a 1\na 1\nb 1\n", ["a", "b"]), ("b 1\n", ["b", "-a"])],
    "several times of their own": [("a 1 1\na 1 2\na 1\n", ["a@1", "a@2"]), ("a 1\na 1 2001\n", ["a", "a@2001"]),
                                 ("a 1 2002\n", ["a@2002", "-a"])],
    "a name with and without labels": [
        ('a 1\na{b="c"} 1\n', ["a", 'a{b="c"}']), ('a 1\na{b="c"} 1\n', ["a", 'a{b="c"}']),
        ('a {b="c"} 1\n', ['a{b="c"}', "-a"]),
    ],
    "an empty body": [("a 1\n", ["a"]), ("\n", ["-a"]), ("", [])],
    "a prefix": [("abc 1\nx 1\n", ["abc", "x"]), ("abcd 1\nx 1\n", ["abcd", "x", "-abc"]),
                 ("ab 1\n", ["ab", "-x", "-abcd"])],
}


@pytest.mark.parametrize("name", TABLES)
def test_staleness(name: str) -> None:
    play(target(), TABLES[name])


def test_staleness_of_series_with_times_of_their_own() -> None:
    steps: list[Step] = [("a 1 900\nb 1\n", ["a@900", "b"]), ("b 1\n", ["b", "-a"])]
    play(target(), steps, track_staleness=True)
    play(target(), [("a 1 900\nb 1\n", ["a", "b"]), ("b 1\n", ["b", "-a"])], honor_timestamps=False)


@pytest.mark.parametrize("format_", [Format.TEXT, Format.OPENMETRICS])
def test_the_format_may_change(format_: Format) -> None:
    other = Format.OPENMETRICS if format_ is Format.TEXT else Format.TEXT
    series, head = target(), Head()
    play(series, [("a 1\nb 1\n# EOF\n", ["a", "b"])], head, format_)
    scrape = series.parse(b"b 1\nc 1\n# EOF\n", other, 2000)
    written, _ = head.append(series.batch(scrape, 2000, []))
    assert shown(written, 2000) == ["b", "c", "-a"]
    assert scrape.added == 1


def test_what_is_known_needs_no_key() -> None:
    series, head = target({"job": "j"}, reports=["up"]), Head()
    for body, keyed in (("a 1\nb 1\n", 3), ("a 2\nb 2\n", 0), ("b 3\na 3\nc 3\n", 1), ("c 4\n", 0)):
        ts = 1000 + keyed + len(head.series) * 1000
        scrape = series.parse(body.encode(), Format.TEXT, ts)
        series.appended(head.append(series.batch(scrape, ts, [1.0]))[1])
        assert head.keyed == keyed


def test_reports_follow_everything_else() -> None:
    series, head = target({"job": "j", "exported_job": "x", "instance": "i"}, reports=["up", "took"]), Head()
    at = 0

    def send(body: str | None, reports: list[float]) -> list[Written]:
        nonlocal at
        at += 1000
        scrape = series.parse(body.encode(), Format.TEXT, at) if body is not None else None
        written, appended = head.append(series.batch(scrape, at, reports))
        series.appended(appended)
        return written

    up, took = 'up{instance="i", job="j"}', 'took{instance="i", job="j"}'
    a = 'a{exported_job="x", instance="i", job="j"}'
    assert send("a 1\n", [1.0, 0.5]) == [(a, 1000, ONE), (up, 1000, ONE), (took, 1000, bits(0.5))]
    assert send("a 1\n", [1.0, 0.25]) == [(a, 2000, ONE), (up, 2000, ONE), (took, 2000, bits(0.25))]
    assert send(None, [0.0, 3.0]) == [(a, 3000, "stale"), (up, 3000, 0), (took, 3000, bits(3.0))]
    last = series.end(4000)
    assert last is not None
    assert head.append(last)[0] == [(up, 4000, "stale"), (took, 4000, "stale")]


def test_series_added() -> None:
    series, head = target(), Head()
    counts = []
    both = "a 1\nb 1\n"
    for number, body in enumerate([both, both, "a 1\n", both, None, both, "c{ 1", "c 1\n"]):
        scrape: Scrape | None = None
        try:
            scrape = series.parse(body.encode(), Format.TEXT, number) if body else None
        except ScrapeRefused as problem:
            counts.append(problem.added)
        if scrape is not None:
            counts.append(scrape.added)
        series.appended(head.append(series.batch(scrape, number, []))[1])
    assert counts == [2, 0, 0, 1, 0, 0, 1]


def without(*names: str) -> Callable[[dict[str, str]], dict[str, str] | None]:
    return lambda labels: None if labels["__name__"] in names else labels


def test_dropped_series() -> None:
    calls = []

    def relabel(labels: dict[str, str]) -> dict[str, str] | None:
        calls.append(labels["__name__"])
        return without("b", "d")(labels)

    series, head = target({"job": "j"}, relabel=relabel), Head()
    for number, body in enumerate(["a 1\nb 1\nc 1\n", "a 1\nb 1\nc 1\nd 1\n", "b 1\n"]):
        scrape = series.parse(body.encode(), Format.TEXT, number)
        written, appended = head.append(series.batch(scrape, number, []))
        series.appended(appended)
        lines = body.count("\n")
        assert (scrape.scraped, scrape.kept) == (lines, lines - body.count("b") - body.count("d"))
        assert shown(written, number) == [['a{job="j"}', 'c{job="j"}'], ['a{job="j"}', 'c{job="j"}'],
                                          ['-a{job="j"}', '-c{job="j"}']][number]
    assert calls == ["a", "b", "c", "d"]


def test_relabeling_may_make_one_series_of_two() -> None:
    def relabel(labels: dict[str, str]) -> dict[str, str] | None:
        return {name: value for name, value in labels.items() if name != "x"}

    both = 'a{x="1"} 1\na{x="2"} 1\n'
    play(target(relabel=relabel), [
        (both, ["a", "a"]), ('a{x="1"} 1\n', ["a"]), ('a{x="2"} 1\n', ["a"]), ("b 1\n", ["b", "-a"]),
        (both, ["a", "a", "-b"]),
    ])
    series, head = target(relabel=relabel), Head()
    scrape = series.parse(b'a{x="1"} 1\na{x="2"} 2\n', Format.TEXT, 1)
    assert series.appended(head.append(series.batch(scrape, 1, []))[1])[:6] == [1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("relabeled", "message"),
    [
        ({}, ""),
        ({"a": "b"}, r"line 2: missing metric name \(__name__ label\)"),
        ({"__name__": "a", "b": "c", "d": "e"}, "line 2: label_limit exceeded .*number of labels: 3, limit: 2"),
        ({"__name__": "a", "b": "c", "d": ""}, ""),
    ],
)
def test_what_relabeling_makes_is_checked(relabeled: dict[str, str], message: str) -> None:
    series = target(relabel=lambda labels: labels if labels["__name__"] == "good" else relabeled,
                    limits=SeriesLimits(label_limit=2))
    if message:
        with pytest.raises(ScrapeRefused, match=message):
            series.parse(b"good 1\nbad 1\n", Format.TEXT, 0)
    else:
        assert series.parse(b"good 1\nbad 1\n", Format.TEXT, 0).kept == 1 + bool(relabeled)


def test_sample_limit() -> None:
    """Counted after relabeling, without stale markers and repeated samples; what is over it is not remembered."""
    series, head = target(relabel=without("b"), limits=SeriesLimits(sample_limit=2)), Head()
    body = b"a 1\nb 1\nc 1\na 1\n"
    scrape = series.parse(body, Format.TEXT, 1)
    assert (scrape.scraped, scrape.kept, scrape.repeated) == (4, 3, 1)
    series.appended(head.append(series.batch(scrape, 1, []))[1])
    more = body + b"".join(b"d%d 1\n" % i for i in range(1000))
    for number in range(3):
        with pytest.raises(ScrapeRefused, match=r"^sample limit exceeded$") as caught:
            series.parse(more, Format.TEXT, 2 + number)
        assert (caught.value.scraped, caught.value.kept, caught.value.added) == (1004, 1003, 0)
        written, appended = head.append(series.batch(None, 2 + number, []))
        series.appended(appended)
        assert shown(written, 2 + number) == (["-a", "-c"] if number == 0 else [])
    assert series.memory < 10_000


def test_a_refused_body_changes_nothing() -> None:
    series, head = target(), Head()
    play(series, [("# HELP a x\na 1\nb 1\n", ["a", "b"])], head)
    for body in ("a 1\nc 1\nd{ 1\n", "# TYPE a nothing\na 1\n", 'a 1\nc{x="1",x="2"} 1\n', "a 1\nb x\n",
                 "a 1e999\nb 1\n"):
        with pytest.raises(ScrapeRefused):
            series.parse(body.encode(), Format.TEXT, 2000)
    written, appended = head.append(series.batch(series.parse(b"a 1\nc 1\n", Format.TEXT, 3000), 3000, []))
    series.appended(appended)
    assert shown(written, 3000) == ["a", "c", "-b"]
    assert series.metadata == {"a": Metadata("a", "unknown", "x", "")}


def test_refused_samples_are_not_tracked() -> None:
    """As in Prometheus: a known series whose sample came too late counts as one that was not there."""
    series, head = target(), Head()
    play(series, [("a 1\nb 1\n", ["a", "b"])], head)
    scrape = series.parse(b"a 1 10\nb 1\n", Format.TEXT, 2000, track_staleness=True)
    written, appended = head.append(series.batch(scrape, 2000, []))
    assert shown(written, 2000) == ["b"]
    assert np.flatnonzero(series.appended(appended)).tolist() == [0, OUT_OF_ORDER]
    written, _ = head.append(series.batch(series.parse(b"b 1\n", Format.TEXT, 3000), 3000, []))
    assert shown(written, 3000) == ["b"]


def test_series_that_left_the_head() -> None:
    series, head = target({"job": "j"}, reports=["up"], relabel=without("c")), Head()
    body = b"# HELP a x\na 1\nb 1\nc 1\n"

    def send(body: bytes, ts: int) -> tuple[Scrape, list[Written]]:
        scrape = series.parse(body, Format.TEXT, ts)
        try:
            written, appended = head.append(series.batch(scrape, ts, [1.0]))
        except ForgottenSeries:
            series.forget()
            scrape = series.parse(body, Format.TEXT, ts)
            written, appended = head.append(series.batch(scrape, ts, [1.0]))
        series.appended(appended)
        return scrape, written

    send(body, 1000)
    head.lose("a")
    scrape, written = send(b"# HELP d y\n" + body.replace(b"b 1\n", b"d 1\n"), 2000)
    job = '{job="j"}'
    assert shown(written, 2000) == [f"a{job}", f"d{job}", f"-b{job}", f"up{job}"] or \
        shown(written, 2000) == [f"d{job}", f"a{job}", f"-b{job}", f"up{job}"]
    assert (scrape.scraped, scrape.kept, scrape.added) == (3, 2, 1)
    assert [each.family for each in scrape.metadata] == ["d"]
    scrape, written = send(b"a 1\nd 1\n", 3000)
    assert (len(written), head.keyed) == (3, 0)
    head.lose("up")
    with pytest.raises(ForgottenSeries):
        head.append(series.batch(None, 4000, [0.0]))
    series.forget()
    written, _ = head.append(series.batch(None, 4000, [0.0]))
    assert shown(written, 4000) == [f"-a{job}", f"-d{job}"]
    assert len(written) == 3


def test_metadata() -> None:
    series, head = target(), Head()
    told = []
    for number, body in enumerate([
        "# HELP a x\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n", "# HELP a x\n# TYPE a counter\na 1\nb 1\n",
        "# HELP a y\n# TYPE a counter\na 1\n", "# HELP a x\na 1\n", *["a 1\n"] * 12,
    ]):
        scrape = series.parse(body.encode(), Format.TEXT, number)
        series.appended(head.append(series.batch(scrape, number, []))[1])
        told.append((scrape.metadata, len(series.metadata)))
    x, y, b = Metadata("a", "counter", "x", ""), Metadata("a", "counter", "y", ""), Metadata("b", "gauge", "", "")
    assert told[:4] == [([x, b], 2), ([], 2), ([y], 2), ([x], 2)]
    assert [count for _, count in told[4:]] == [2] * 6 + [1] * 3 + [0] * 3


def test_metadata_of_a_batch_that_was_not_written_comes_again() -> None:
    series = target()
    first = series.parse(b"# HELP a x\na 1\n", Format.TEXT, 0)
    series.batch(first, 0, [])
    again = series.parse(b"# HELP a x\na 1\n", Format.TEXT, 1)
    assert again.metadata == first.metadata != []
    assert again.keyed is not None


def test_memory_follows_what_the_target_exposes() -> None:
    series, head = target(), Head()
    for number in range(30):
        body = "".join(f'churn{{scrape="{number}",series="{i}"}} 1\n' for i in range(200)) + "stays 1\n"
        scrape = series.parse(body.encode(), Format.TEXT, number)
        _, appended = head.append(series.batch(scrape, number, []))
        series.appended(appended)
        assert scrape.added == 201 if number == 0 else 200
    assert series.memory < 3 * 201 * (40 + 40)
    for number in range(30, 60):  # failures forget, too
        broken = "".join(f'churn{{scrape="{number}",series="{i}"}} 1\n' for i in range(200)) + "!"
        with pytest.raises(ScrapeRefused):
            series.parse(broken.encode(), Format.TEXT, number)
        series.appended(head.append(series.batch(None, number, []))[1])
    assert series.memory < 2 * 1500 * (40 + 40)


def test_many_series_and_random_changes() -> None:
    """Against the plainest model: sets of series."""
    random = np.random.default_rng(5)
    series, head = target(), Head()
    before: set[str] = set()
    for number in range(60):
        names = [f'm{i}{{l="{"x" * (i % 23)}"}}' for i in random.permutation(80)[: random.integers(0, 60)]]
        if random.random() < 0.5:
            names.sort()
        body = "".join(f"{name} 1\n" for name in names)
        scrape = series.parse(body.encode(), Format.TEXT, number)
        batch = series.batch(scrape, number, [])
        assert int(np.count_nonzero(batch.values == STALE_NAN)) == len(before - set(names))
        written, appended = head.append(batch)
        series.appended(appended)
        plain = [name.replace('{l=""}', "") for name in names]
        assert [name for name, _, value in written if value == ONE] == plain
        assert {name for name, _, value in written if value == "stale"} == {
            name.replace('{l=""}', "") for name in before - set(names)
        }
        assert scrape.added == len(set(names) - before)
        before = set(names)
