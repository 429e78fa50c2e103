"""Whole results as JSON, against a slow twin."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.test_json_values import value_twin
from tsdb.model.tiles import SeriesSet
from tsdb.promql.ast import ValueType
from tsdb.promql.result import QueryResult
from tsdb.server.api import json_result
from tsdb.server.api.json_result import encode_result, encode_series, time_text
from tsdb.testing.memory_storage import MemorySymbols, labels_of, series_set

texts = st.text(max_size=12)
label_sets = st.lists(st.dictionaries(texts, texts.filter(bool), max_size=4), max_size=8)


def make_series(sets: list[dict[str, str]]) -> SeriesSet:
    return series_set([labels_of(labels) for labels in sets], MemorySymbols())


def decoded(parts: Iterable[Any]) -> Any:
    return json.loads(b"{" + b"".join(parts) + b"}")


def number(text: str) -> float | int:
    loaded: float | int = json.loads(text)
    return loaded


@st.composite
def matrices(draw: st.DrawFn) -> tuple[list[dict[str, str]], list[int], list[list[float | None]]]:
    sets = draw(label_sets)
    times = draw(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=5))
    cell = st.one_of(st.none(), st.floats(), st.integers(-1000, 1000).map(float))
    return sets, times, [draw(st.lists(cell, min_size=len(times), max_size=len(times))) for _ in sets]


@given(matrices(), st.integers(0, 5))
def test_matrix(given_: tuple[list[dict[str, str]], list[int], list[list[float | None]]], limit: int) -> None:
    sets, times, rows = given_
    shape = len(rows), len(times)
    values = np.array([[0.0 if value is None else value for value in row] for row in rows]).reshape(shape)
    present = np.array([[value is not None for value in row] for row in rows], np.bool_).reshape(shape)
    result = QueryResult(ValueType.MATRIX, make_series(sets), np.array(times, np.int64), values, present)
    parts, cut = encode_result(result, limit)
    kept = sets[:limit] if limit else sets
    assert cut == (len(kept) < len(sets))
    assert decoded(parts) == {
        "resultType": "matrix",
        "result": [
            {
                "metric": dict(labels_of(labels)),
                "values": [[number(time_text(time)), value_twin(value)]
                           for time, value in zip(times, row, strict=True) if value is not None],
            }
            for labels, row in zip(kept, rows, strict=False) if any(value is not None for value in row)
        ],
    }


def test_vector() -> None:
    result = QueryResult(
        ValueType.VECTOR, make_series([{"b": "2", "a": '"'}, {}]), np.array([1500]), np.array([[1.0], [np.nan]]),
        np.ones((2, 1), np.bool_),
    )
    assert b"".join(encode_result(result)[0]) == (
        rb'"resultType":"vector","result":[{"metric":{"a":"\"","b":"2"},"value":[1.500,"1"]},'
        rb'{"metric":{},"value":[1.500,"NaN"]}]'
    )


def test_samples_of_an_instant_query() -> None:
    samples = [
        (np.array([1000, 2001]), np.array([1.5, -0.0])),
        (np.array([3000]), np.array([np.inf])),
    ]
    empty = np.empty((2, 0))
    result = QueryResult(ValueType.MATRIX, make_series([{"a": "1"}, {"a": "2"}]), np.array([5000]), empty,
                         empty.astype(np.bool_), samples)
    assert b"".join(encode_result(result)[0]) == (
        b'"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[[1,"1.5"],[2.001,"-0"]]},'
        b'{"metric":{"a":"2"},"values":[[3,"+Inf"]]}]'
    )
    parts, cut = encode_result(result, 1)
    assert cut and len(decoded(parts)["result"]) == 1


@pytest.mark.parametrize(
    ("kind", "value", "ms", "text"),
    [
        (ValueType.SCALAR, 1.0, 5000, '[5,"1"]'),
        (ValueType.SCALAR, 1e21, 5500, '[5.5,"1000000000000000000000"]'),
        (ValueType.SCALAR, 1e-7, -5250, '[-5.25,"0.0000001"]'),
        (ValueType.SCALAR, float("-inf"), 0, '[0,"-Inf"]'),
        (ValueType.SCALAR, -0.0, 1795411129123, '[1795411129.123,"-0"]'),
        (ValueType.STRING, 'a"\n€', 1000, '[1,"a\\"\\n€"]'),
    ],
)
def test_scalars_and_strings(kind: ValueType, value: float | str, ms: int, text: str) -> None:
    none = np.empty((0, 1))
    result = QueryResult(kind, None, np.array([ms]), none, none.astype(np.bool_), scalar=value)
    assert b"".join(encode_result(result)[0]).decode() == f'"resultType":"{kind}","result":{text}'


@pytest.mark.parametrize("kind", [ValueType.VECTOR, ValueType.MATRIX])
def test_nothing(kind: ValueType) -> None:
    none = np.empty((0, 1))
    result = QueryResult(kind, make_series([]), np.array([0]), none, none.astype(np.bool_))
    assert b"".join(encode_result(result)[0]).decode() == f'"resultType":"{kind}","result":[]'


@given(label_sets, st.integers(0, 5))
def test_series(sets: list[dict[str, str]], limit: int) -> None:
    parts, cut = encode_series(make_series(sets), limit)
    kept = sets[:limit] if limit else sets
    assert json.loads(b"".join(parts)) == [dict(labels_of(labels)) for labels in kept]
    assert cut == (len(kept) < len(sets))


def test_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that do not fit into what is left of a part begin another; one that fits into none gets its own size."""
    monkeypatch.setattr(json_result, "_PART_BYTES", 2000)
    sets = [{"__name__": "x" * (row % 7) * 300, "row": str(row)} for row in range(300)]
    times = np.arange(20, dtype=np.int64) * 1000
    values = np.arange(300 * 20, dtype=np.float64).reshape(300, 20) / 3
    result = QueryResult(ValueType.MATRIX, make_series(sets), times, values, np.ones(values.shape, np.bool_))
    parts = list(encode_result(result)[0])
    assert len(parts) > 100
    rows = decoded(parts)["result"]
    assert [row["metric"]["row"] for row in rows] == [str(row) for row in range(300)]
    assert [[float(value) for _, value in row["values"]] for row in rows] == values.tolist()
