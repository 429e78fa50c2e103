"""Native histograms in queries: what plain selectors give, what else takes them, and who refuses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native_histograms import histograms
from tests.promql.histogram_json import histogram_json
from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import ExecutionError, LimitExceeded
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, boxed, decode, offsets
from tsdb.model.tiles import Tile
from tsdb.promql import Engine, QueryResult
from tsdb.promql.native_histograms import Histograms, HistogramUse, in_rows
from tsdb.server.api.json_result import encode_result
from tsdb.testing.memory_storage import MemoryStorage

MINUTE = 60_000
NOTHING = (1 << 64) - 1
"""What may stand where no sample is."""
PLAIN = NativeHistogram(0, 18.4, 12, 0.001, 2, ((0, 2), (1, 2)), ((0, 2),), (1, 2, 1, 1), (3, 2))
FLOATS = NativeHistogram(3, -0.5, 2.5, 0.0, 0.0, ((-1, 2),), (), (0.0, 2.5), floats=True)
CUSTOM = NativeHistogram(CUSTOM_SCHEMA, 7, 6, positive_spans=((0, 3),), positive=(1, 2, 3), custom_values=(0.5, 1.0))
EMPTY = NativeHistogram(8, 0.0, 0)

SHOWN: list[tuple[str, NativeHistogram, dict[str, object]]] = [
    ("integers", PLAIN, {"count": "12", "sum": "18.4", "buckets": [
        [1, "-2", "-1", "2"], [1, "-1", "-0.5", "3"], [3, "-0.001", "0.001", "2"], [0, "0.5", "1", "1"],
        [0, "1", "2", "2"], [0, "4", "8", "1"], [0, "8", "16", "1"]]}),
    ("floats", FLOATS, {"count": "2.5", "sum": "-0.5", "buckets": [[0, "0.9170040432046711", "1", "2.5"]]}),
    ("custom", CUSTOM, {"count": "6", "sum": "7", "buckets": [
        [3, "-Inf", "0.5", "1"], [0, "0.5", "1", "2"], [0, "1", "+Inf", "3"]]}),
    ("empty", EMPTY, {"count": "0", "sum": "0"}),
]


def shown(result: QueryResult) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(b"{" + b"".join(encode_result(result)[0]) + b"}")["result"]
    return loaded


@pytest.fixture
def storage() -> MemoryStorage:
    """`mixed`: histograms at 0 and 1 min, a float at 2, stale at 3, a histogram at 4; `other`; `float`."""
    made = MemoryStorage(rows_per_tile=2)
    mixed = {"__name__": "mixed", "job": "a"}
    made.add_histogram(mixed, 0, PLAIN)
    made.add_histogram(mixed, MINUTE, FLOATS)
    made.add(mixed, [2 * MINUTE], [1.5])
    made.add_stale(mixed, 3 * MINUTE)
    made.add_histogram(mixed, 4 * MINUTE, CUSTOM)
    for job in "abc":
        made.add_histogram({"__name__": "other", "job": job}, 0, PLAIN)
        made.add({"__name__": "float", "job": job}, [0, 4 * MINUTE], [1.0, 2.0])
    return made


@pytest.fixture
def engine(storage: MemoryStorage) -> Iterator[Engine]:
    with Engine(storage) as made:
        yield made


@pytest.mark.parametrize(("histogram", "expected"), [row[1:] for row in SHOWN], ids=[row[0] for row in SHOWN])
def test_as_json(histogram: NativeHistogram, expected: dict[str, object]) -> None:
    storage = MemoryStorage()
    storage.add_histogram({"__name__": "x"}, 1500, histogram)
    with Engine(storage) as engine:
        assert shown(engine.query("x", 1500)) == [{"metric": {"__name__": "x"}, "histogram": [1.5, expected]}]
    assert histogram_json(histogram) == expected


@settings(max_examples=25)
@given(st.lists(st.lists(st.one_of(histograms(), st.floats(allow_nan=False)), max_size=4), max_size=4))
def test_ranges_as_json(rows: list[list[NativeHistogram | float]]) -> None:
    storage = MemoryStorage(rows_per_tile=2)
    for i, row in enumerate(rows):
        for at, value in enumerate(row):
            if isinstance(value, NativeHistogram):
                storage.add_histogram({"__name__": "x", "row": str(i)}, at * 1000, value)
            else:
                storage.add({"__name__": "x", "row": str(i)}, [at * 1000], [value])
    with Engine(storage) as engine:
        for result in (engine.query_range("x", 0, 3000, 1000, lookback_delta_ms=1000), engine.query("x[10s]", 3000)):
            found = {int(each["metric"]["row"]): each for each in shown(result)}
            assert set(found) == {i for i, row in enumerate(rows) if row}
            for i, series in found.items():
                expected = [[at, histogram_json(value)] for at, value in enumerate(rows[i])
                            if isinstance(value, NativeHistogram)]
                assert series.get("histograms", []) == expected
                floats = [at for at, value in enumerate(rows[i]) if not isinstance(value, NativeHistogram)]
                assert [at for at, _ in series.get("values", [])] == floats
                assert set(series) - {"metric"} == ({"values"} if floats else set()) | (
                    {"histograms"} if expected else set())


def test_kinds_mix_and_staleness_ends_any(engine: Engine) -> None:
    (row,) = shown(engine.query_range("mixed", 0, 5 * MINUTE, MINUTE))
    assert row["values"] == [[120, "1.5"]]
    assert row["histograms"] == [[0, histogram_json(PLAIN)], [60, histogram_json(FLOATS)],
                                 [240, histogram_json(CUSTOM)], [300, histogram_json(CUSTOM)]]
    assert list(row) == ["metric", "values", "histograms"]


@pytest.mark.parametrize(("expr", "kind"), [
    ("other", PLAIN), ("(+other)", PLAIN), ("other or float", PLAIN), ("other and on (job) float", PLAIN),
    ("other unless on (job) nothing", PLAIN), ('label_replace(other, "a", "b", "", "")', PLAIN),
    ('sort_by_label_desc(other, "job")', PLAIN), ("other @ 0", PLAIN), ("other[5m]", PLAIN),
    ("other[2m:1m]", PLAIN), ("last_over_time(other[5m])", PLAIN), ("first_over_time(other[5m:1m])", PLAIN),
])
def test_what_hands_samples_on_hands_histograms_on(engine: Engine, expr: str, kind: NativeHistogram) -> None:
    rows = [row for row in shown(engine.query(expr, MINUTE)) if row["metric"]["__name__"] == "other"]
    assert len(rows) == 3
    for row in rows:
        points = row["histograms"] if "histograms" in row else [row["histogram"]]
        assert all(point[1] == histogram_json(kind) for point in points)


@pytest.mark.parametrize(("expr", "value"), [
    ("count(other)", "3"), ("group(other)", "1"), ("sum(count_over_time(other[5m]))", "3"),
    ("sum(present_over_time(mixed[5m]))", "1"), ("sum(timestamp(other))", "0"), ("absent(nothing)", "1"),
    ('count({__name__=~".+"})', "7"), ("sum(float unless on (job) (other @ 0))", None),
    ("count(float and on (job) other)", "3"), ("sum(count_over_time(other[2m:1m]))", "6"),
])
def test_what_only_asks_for_presence_takes_any_sample(engine: Engine, expr: str, value: str | None) -> None:
    rows = shown(engine.query(expr, MINUTE))
    assert [row["value"][1] for row in rows] == ([] if value is None else [value])


INCOMPATIBLE = "PromQL info: incompatible sample types encountered for binary operator "
DOUBLED = NativeHistogram(0, 36.8, 24, 0.001, 4, ((0, 2), (1, 2)), ((0, 2),), (2, 4, 2, 2), (6, 4))
LEFT = NativeHistogram(0, -4.949747468305834, 5, 0.001, 0, negative_spans=((0, 2),), negative=(3, 2))


@pytest.mark.parametrize(("expr", "expected", "said"), [
    ("other * 2", DOUBLED, ""), ("2 * other", DOUBLED, ""), ("other + other", DOUBLED, ""),
    ("other / 0.5", DOUBLED, ""),
    ("other * on (job) (float + 1)", DOUBLED, ""), ("--other", PLAIN, ""), ("other - (-other)", DOUBLED, ""),
    ("other == other", PLAIN, ""), ("other == bool other", 1.0, ""), ("other != other", None, ""),
    ("other == bool (other * 2)", 0.0, ""), ("other </ -0.001", LEFT, ""),
    ("other + 1", None, f'{INCOMPATIBLE}"+": histogram + float (1:1)'),
    ("1 / other", None, f'{INCOMPATIBLE}"/": float / histogram (1:1)'),
    ("other >bool 1", None, f'{INCOMPATIBLE}">": histogram > float (1:1)'),
    ("other * other", None, f'{INCOMPATIBLE}"*": histogram * histogram (1:1)'),
    ("float </ on (job) float", None, f'{INCOMPATIBLE}"</": float </ float (1:1)'),
    ("1 </ other", None, f'{INCOMPATIBLE}"</": float </ histogram (1:1)'),
    ("(other @ 0) + ignoring (job) group_left () (mixed @ 240)", None,
     "PromQL warning: incompatible bucket layout encountered for binary operator + (1:1)"),
    ("nothing + fill (3) other", None, f'{INCOMPATIBLE}"+": float + histogram (1:1)'),
    ("nothing * fill (2) other", DOUBLED, ""),
    ("other + (other and on (job) float)", DOUBLED, ""), ("nothing or other * 2", DOUBLED, ""),
])
def test_operators(engine: Engine, expr: str, expected: NativeHistogram | float | None, said: str) -> None:
    result = engine.query(expr, MINUTE)
    assert result.warnings + result.infos == ([said] if said else [])
    values = [row["histogram" if "histogram" in row else "value"][1] for row in shown(result)]
    one = histogram_json(expected) if isinstance(expected, NativeHistogram) else str(expected).removesuffix(".0")
    assert values == ([] if expected is None else [one] * 3)


def test_floats_are_computed_with_beside_histograms(engine: Engine) -> None:
    assert shown(engine.query("sum(float)", MINUTE)) == [{"metric": {}, "value": [60, "3"]}]


@settings(max_examples=30)
@given(st.data())
def test_kept_histograms_are_the_same(data: st.DataObject) -> None:
    """Where all are used, and where few are, of a payload larger than what is gathered at once."""
    ones = data.draw(st.lists(histograms(), min_size=1, max_size=6))
    raw = [one.encode() for one in ones] + [bytes(data.draw(st.sampled_from([0, 1000, 1 << 19])))]
    payload = np.frombuffer(b"".join(raw), np.uint8)
    begin = np.cumsum([0, *map(len, raw)])
    kept, cells = Histograms(RequestContext()), []
    for _ in range(2):
        chosen = data.draw(st.lists(st.integers(0, len(ones) - 1), max_size=8))
        values = np.array([*(boxed(int(begin[i])) for i in chosen), 1, NOTHING], np.uint64)
        there = np.array([True] * (len(chosen) + 1) + [False])
        values = kept.keep(values.view(np.float64), there, payload).view(np.uint64)
        assert values[-2:].tolist() == [1, NOTHING]
        cells += [(ones[i], int(at)) for i, at in zip(chosen, offsets(values[:-2]), strict=True)]
    found = kept.payload()
    assert (found is None) == (not cells)
    for one, at in cells:
        assert found is not None and decode(found, at) == one


def test_what_is_between_rows_is_no_histogram() -> None:
    payload = np.frombuffer(PLAIN.encode(), np.uint8)
    values = np.array([NOTHING, boxed(0), NOTHING, 0, NOTHING, NOTHING], np.uint64)
    tile = Tile(0, np.array([1, 3, 6]), np.array([2, 4, 6]), np.zeros(6, np.int64), values.view(np.float64), payload)
    assert in_rows(tile).tolist() == [False, True, False, True, False, False]
    floats = replace(tile, begin=np.array([3, 5]), end=np.array([4, 5]))
    HistogramUse("wrong").check(floats)
    with pytest.raises(ExecutionError, match="wrong"):
        HistogramUse("wrong").check(tile)
    kept = Histograms(RequestContext())
    values = kept.keep(tile.values, in_rows(tile), payload).view(np.uint64)
    assert offsets(values[1:2]).tolist() == [0]


def test_they_count_as_their_size_in_limits(storage: MemoryStorage) -> None:
    context = RequestContext(limits=Limits(max_samples=11))
    with Engine(storage) as engine:
        engine.query("float", MINUTE, context)
        for expr in ("other", "other[5m]", "count(other)"):
            with pytest.raises(LimitExceeded):
                engine.query(expr, MINUTE, context)


def test_no_negative_nan_becomes_a_histogram() -> None:
    storage = MemoryStorage()
    storage.add({"__name__": "n"}, [0], np.array([0x7FFC_0000_0000_0000], np.uint64))
    storage.add_histogram({"__name__": "x", "job": "a"}, 0, PLAIN)
    with Engine(storage) as engine:
        rows = shown(engine.query("-n or x", 0))
    assert [row["value" if "value" in row else "histogram"][1] for row in rows] == ["NaN", histogram_json(PLAIN)]
