"""Label work on series sets against dictionaries, and numbers as Go prints them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.vector.literal import environment, label_sets
from tsdb.model.label_order import label_order
from tsdb.model.tiles import SeriesSet
from tsdb.promql.number_text import go_g, labels_text
from tsdb.promql.operators.groups import (
    NO_SYMBOL,
    concatenate,
    drop_marked_names,
    drop_metric_name,
    group_by,
    group_rows,
    label_values,
    only_labels,
    take,
    with_label,
    without_labels,
)
from tsdb.testing.memory_storage import Labels, MemorySymbols, labels_of, series_set

rows_of_labels = st.lists(label_sets(("__name__", "a", "b", "é", "__type__")), max_size=12)
names = st.lists(st.sampled_from(["__name__", "a", "b", "é", "unknown"]), max_size=3)


def read(series: SeriesSet) -> list[Labels]:
    return [tuple(series.labels(row).items()) for row in range(len(series))]


@settings(max_examples=100, deadline=None)
@given(rows=rows_of_labels, chosen=names, without=st.booleans())
def test_keeping_dropping_and_grouping(rows: list[Labels], chosen: list[str], without: bool) -> None:
    series = series_set(rows, MemorySymbols())
    kept = [tuple(label for label in row if label[0] in chosen) for row in rows]
    rest = [tuple(label for label in row if label[0] not in chosen) for row in rows]
    assert read(only_labels(series, chosen)) == kept
    assert read(without_labels(series, chosen)) == rest
    keys = [tuple(label for label in row if label[0] != "__name__") for row in rest] if without else kept
    groups, labels = group_by(series, chosen, without)
    assert read(labels) == list(dict.fromkeys(keys))
    assert [read(labels)[group] for group in groups.group.tolist()] == keys
    assert [keys[row] for row in groups.first.tolist()] == list(dict.fromkeys(keys))


@settings(max_examples=50, deadline=None)
@given(rows=rows_of_labels, times=st.sampled_from([1, 40]))
def test_order(rows: list[Labels], times: int) -> None:
    """Few rows and many are sorted in different ways."""
    rows *= times
    order = label_order(series_set(rows, MemorySymbols()))
    assert order.tolist() == sorted(range(len(rows)), key=rows.__getitem__)


@settings(max_examples=100, deadline=None)
@given(rows=rows_of_labels, name=st.sampled_from(["__name__", "a", "b", "c", "é", "ü"]), data=st.data())
def test_setting_a_label(rows: list[Labels], name: str, data: st.DataObject) -> None:
    symbols = MemorySymbols()
    series = series_set(rows, symbols)
    texts = [data.draw(st.sampled_from(["", "v", "w"])) for _ in rows]
    column = np.array([symbols.intern(text) if text else NO_SYMBOL for text in texts], np.uint32)
    made = with_label(series, name, column)
    assert read(made) == [labels_of({**dict(row), name: text}) for row, text in zip(rows, texts, strict=True)]
    got = [symbols.text(value) if value != NO_SYMBOL else "" for value in label_values(made, name).tolist()]
    assert got == texts


@settings(max_examples=50, deadline=None)
@given(rows=rows_of_labels, more=rows_of_labels, data=st.data())
def test_taking_and_joining_rows(rows: list[Labels], more: list[Labels], data: st.DataObject) -> None:
    symbols = MemorySymbols()
    both = concatenate(series_set(rows, symbols), series_set(more, symbols))
    assert read(both) == rows + more
    chosen = data.draw(st.lists(st.integers(0, len(both) - 1), max_size=8)) if len(both) else []
    assert read(take(both, np.array(chosen, np.int64))) == [(rows + more)[row] for row in chosen]


@given(rows=rows_of_labels)
@settings(max_examples=50, deadline=None)
def test_names_go_now_or_at_the_end(rows: list[Labels]) -> None:
    series = series_set(rows, MemorySymbols())
    rest = [tuple(label for label in row if label[0] not in ("__name__", "__type__")) for row in rows]
    assert read(drop_metric_name(series, environment(1))) == rest
    later = drop_metric_name(series, environment(1, delayed=True))
    assert read(later) == rows
    assert read(drop_marked_names(later)) == rest
    half = concatenate(later, series)
    assert read(drop_marked_names(half)) == rest + rows


def test_many_rows() -> None:
    symbols = MemorySymbols()
    series = series_set([(("i", str(i)), ("j", str(i % 7))) for i in range(5000)], symbols)
    assert len(group_rows(series)) == 5000
    assert len(group_by(series, ["j"], False)[0]) == 7
    assert len(group_by(series, ["i"], True)[0]) == 7


@pytest.mark.parametrize(
    ("value", "precision", "text"),
    [
        (0.0, None, "0"), (-0.0, None, "-0"), (1.5, None, "1.5"), (100000.0, None, "100000"), (1e6, None, "1e+06"),
        (123456789.0, None, "1.23456789e+08"), (0.0001, None, "0.0001"), (0.00001, None, "1e-05"),
        (1e20, None, "1e+20"), (-2.5e-7, None, "-2.5e-07"), (math.nan, None, "NaN"),
        (math.inf, None, "+Inf"), (-math.inf, None, "-Inf"),
        (0.5, 2, "0.5"), (12.0, 2, "12"), (123.0, 2, "1.2e+02"), (7.0, 2, "7"), (0.054321, 2, "0.054"), (10.0, 2, "10"),
    ],
)
def test_numbers_as_go_prints_them(value: float, precision: int | None, text: str) -> None:
    assert go_g(value, precision) == text


def test_labels_in_messages() -> None:
    assert labels_text({"__name__": "up", "job": 'a"b\n', "my label": "é"}) == (
        r'{__name__="up", job="a\"b\n", "my label"="é"}'
    )
