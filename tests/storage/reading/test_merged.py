"""Reading over the head, late samples and blocks beside a plain dict."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import bits, read
from tests.storage.block.plain import Labels
from tests.storage.reading.plain import Interval, Part, Parts, Plain, Samples, in_chunks, names_of
from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import BOX
from tsdb.storage.head.layout import WINDOW_MS

GRAIN = WINDOW_MS // 4
WINDOWS = 4
SERIES: list[Labels] = [
    (("__name__", "up"), ("job", "a")),
    (("__name__", "up"), ("job", "b")),
    (("__name__", "up"), ("job", "é"), ("zone", "eu")),
    (("__name__", "rpc"), ("job", "a"), ("up", "a")),
    (("job", "a"),),
]
MATCHERS = [
    Matcher(MatchType.EQUAL, "__name__", "up"),
    Matcher(MatchType.NOT_EQUAL, "job", "a"),
    Matcher(MatchType.REGEX, "job", "a|é"),
    Matcher(MatchType.EQUAL, "zone", ""),
    Matcher(MatchType.REGEX, "zone", ".+"),
    Matcher(MatchType.EQUAL, "job", "nobody"),
]
LAST = WINDOWS * WINDOW_MS - 1

times = st.integers(0, WINDOWS * 4 - 1).map(lambda n: n * GRAIN)
values = st.one_of(st.sampled_from([STALE_NAN, bits(float("nan")), bits(-0.0), 0, BOX - 1]),
                   st.integers(0, BOX - 1))
columns = st.dictionaries(st.sampled_from(SERIES), st.dictionaries(times, values, min_size=1, max_size=8), max_size=4)
borders = st.integers(0, WINDOWS * 4).map(lambda n: n * GRAIN) | st.integers(-10, LAST + 10)
intervals: st.SearchStrategy[list[Interval]] = st.lists(
    st.builds(lambda labels, one, other: (labels, min(one, other), max(one, other)), st.sampled_from(SERIES), borders,
              borders), max_size=3)
ranges = st.tuples(borders, borders).map(sorted)


@st.composite
def blocks(draw: st.DrawFn) -> list[tuple[int, int, dict[Labels, Samples], bool, list[Interval], int]]:
    """(mint, maxt, samples, out of order, deleted, samples per chunk)"""
    out = []
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, WINDOWS - 1))
        past = draw(st.integers(first + 1, WINDOWS))
        content = {
            labels: kept for labels, samples in draw(columns).items()
            if (kept := {ts: value for ts, value in samples.items() if first <= ts // WINDOW_MS < past})
        }
        if content:
            out.append((first * WINDOW_MS, past * WINDOW_MS, content, draw(st.booleans()), draw(intervals),
                        draw(st.integers(1, 3))))
    return out


@contextmanager
def parts() -> Iterator[Parts]:
    with tempfile.TemporaryDirectory() as folder:
        made = Parts(Path(folder))
        try:
            yield made
        finally:
            made.close()


def head_chunks(samples: Samples) -> list[list[tuple[int, int]]]:
    """Chunks of the head do not cross borders of windows."""
    by_window: dict[int, Samples] = {}
    for ts, value in sorted(samples.items()):
        by_window.setdefault(ts // WINDOW_MS, {})[ts] = value
    return [sorted(each.items()) for each in by_window.values()]


@settings(max_examples=60, deadline=None)
@given(columns, intervals, columns, blocks(), st.lists(st.sampled_from(MATCHERS), max_size=2, unique=True), ranges,
       st.lists(st.lists(st.sampled_from(MATCHERS), min_size=1, max_size=2, unique=True), max_size=2))
def test_beside_a_plain_one(
    head: dict[Labels, Samples], head_deleted: list[Interval], late: dict[Labels, Samples],
    made: list[tuple[int, int, dict[Labels, Samples], bool, list[Interval], int]], matchers: list[Matcher],
    between: list[int], matcher_sets: list[list[Matcher]],
) -> None:
    mint, maxt = between
    with parts() as stored:
        stored.append(head)
        stored.append_late(late)
        stored.delete(head_deleted)
        in_order: list[Part] = []
        out_of_order: list[Part] = []
        for first, past, samples, disorderly, deleted, most in made:
            content = {labels: in_chunks(each, most) for labels, each in samples.items()}
            stored.blocks.publish([stored.write(content, first, past, out_of_order=disorderly, deleted=deleted)])
            (out_of_order if disorderly else in_order).append(Part(content, deleted))
        plain = Plain([
            Part({labels: head_chunks(each) for labels, each in head.items()}, head_deleted),
            *in_order, *out_of_order,
            Part({labels: in_chunks(each, 1) for labels, each in late.items()}),
        ])

        assert read(stored.reading, matchers, mint, maxt) == plain.read(matchers, mint, maxt)

        context = RequestContext()
        expected = plain.touching(matcher_sets, mint, maxt)
        found = stored.reading.series(matcher_sets, mint, maxt, context)
        assert [tuple(found.labels(row).items()) for row in range(len(found))] == expected
        assert stored.reading.label_names(matcher_sets, mint, maxt, context) == names_of(expected, None)
        for label in ("job", "zone", "nobody"):
            assert stored.reading.label_values(label, matcher_sets, mint, maxt, context) == names_of(expected, label)
