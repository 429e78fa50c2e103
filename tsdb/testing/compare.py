"""Compares answers of the engine with what a script expects, as Prometheus' runner does. All raise `Mismatch`."""

from __future__ import annotations

import math
import re

import numpy as np

from tsdb.model.native_histograms import NativeHistogram, decode, is_boxed, offsets
from tsdb.promql import QueryResult
from tsdb.promql.ast import ValueType
from tsdb.testing.histograms import Written, almost_same
from tsdb.testing.memory_storage import Labels, labels_of
from tsdb.testing.notation import Value
from tsdb.testing.script import Case, Expectation

EPSILON = 1e-6
_MIN_NORMAL = 2.2250738585072014e-308
_POSITION = re.compile(r" \(\d+:\d+\)$")


class Mismatch(AssertionError):
    """The answer is not the expected one."""


def check_annotations(case: Case, kind: str, texts: list[str]) -> None:
    """`kind` is warn or info."""
    if case.of_kind(f"no_{kind}") and texts:
        raise Mismatch(f"expected no {kind}, got {texts}")
    expected = case.of_kind(kind)
    for expectation in expected:
        if not any(_accepts(expectation, text) for text in texts):
            raise Mismatch(f"expected {expectation}, got {texts}")
    for text in texts if expected else ():
        if not any(_accepts(expectation, text) for expectation in expected):
            raise Mismatch(f"unexpected {kind}: {text}")


def _accepts(expectation: Expectation, text: str) -> bool:
    """Some scripts give the position in the query, others leave it out."""
    return expectation.accepts(text) or expectation.accepts(_POSITION.sub("", text))


def compare_any(case: Case, result: QueryResult) -> None:
    """The answer to an instant query."""
    if result.type == ValueType.STRING:
        if case.text != result.text:
            raise Mismatch(f"expected the string {case.text!r}, got {result.text!r}")
    elif result.type == ValueType.SCALAR:
        compare_scalar(case, float(result.scalar))
    elif result.type == ValueType.MATRIX:
        _compare_samples(case, result)
    else:
        compare_vector(case, result)


def compare_scalar(case: Case, value: float) -> None:
    if case.scalar is None or not almost_equal(case.scalar, value):
        raise Mismatch(f"expected {case.scalar if case.scalar is not None else 'no scalar'}, got the scalar {value}")


def compare_vector(case: Case, result: QueryResult) -> None:
    if case.scalar is not None:
        raise Mismatch("expected a scalar, got a vector")
    rows = [row for row in range(len(result.values)) if result.present[row, 0]]
    found = [(_labels(result, row), _cell(result, result.values[row, 0])) for row in rows]
    _same_series(case, [labels for labels, _ in found])
    for place, (labels, value) in enumerate(found, 1):
        position, (expected, *_) = case.series[labels]
        if case.ordered and position != place:
            raise Mismatch(f"expected {dict(labels)} in place {position}, it is in place {place}")
        _same_value(expected, value, labels, "")


def compare_matrix(case: Case, result: QueryResult) -> None:
    """The answer to a range query."""
    if case.scalar is not None:
        raise Mismatch("expected a scalar, got a matrix")
    found = [_labels(result, row) for row in range(len(result.values))]
    _sorted(found)
    _same_series(case, found)
    for row, labels in enumerate(found):
        _, values = case.series[labels]
        cells = [_cell(result, result.values[row, i]) if result.present[row, i] else None
                 for i in range(result.times.size)]
        if len(values) > len(cells):
            raise Mismatch(f"{len(values)} values are expected of {dict(labels)}, the query has {len(cells)} steps")
        for i, cell in enumerate(cells):
            _same_value(values[i] if i < len(values) else None, cell, labels, f" at step {i}")


def _compare_samples(case: Case, result: QueryResult) -> None:
    assert result.samples is not None
    if case.window is None and case.series:
        raise Mismatch("expected a vector, got a range vector")
    start, _, step = case.window or (0, 0, 0)
    found = [_labels(result, row) for row in range(len(result.samples))]
    _sorted(found)
    _same_series(case, found)
    for labels, (times, values) in zip(found, result.samples, strict=True):
        expected = [(start + i * step, v) for i, v in enumerate(case.series[labels][1]) if v is not None]
        if [at for at, _ in expected] != times.tolist():
            raise Mismatch(f"expected {expected} of {dict(labels)}, got {list(zip(times, values, strict=True))}")
        for (at, value), sample in zip(expected, values, strict=True):
            _same_value(value, _cell(result, sample), labels, f" at {at} ms")


def _labels(result: QueryResult, row: int) -> Labels:
    assert result.series is not None
    return labels_of(result.series.labels(row))


def _sorted(labels: list[Labels]) -> None:
    if labels != sorted(labels):
        raise Mismatch(f"the rows are not sorted by labels: {labels}")


def _same_series(case: Case, found: list[Labels]) -> None:
    if len(set(found)) < len(found):
        raise Mismatch(f"equal labels: {found}")
    for labels in found:
        if labels not in case.series:
            raise Mismatch(f"unexpected series {dict(labels)}")
    for labels, (_, values) in case.series.items():
        if labels not in found:
            raise Mismatch(f"expected series {dict(labels)} with {values} is missing")


def _cell(result: QueryResult, value: np.float64) -> float | NativeHistogram:
    bits = np.array([value]).view(np.uint64)
    if result.payload is None or not is_boxed(bits)[0]:
        return float(value)
    return decode(result.payload, int(offsets(bits)[0]))


def _same_value(expected: Value, found: float | NativeHistogram | None, labels: Labels, where: str) -> None:
    if isinstance(expected, Written):
        same = isinstance(found, NativeHistogram) and almost_same(expected, found, almost_equal)
    elif isinstance(expected, float):
        same = isinstance(found, float) and almost_equal(expected, found)
    else:
        same = found is None and expected is None
    if not same:
        raise Mismatch(f"expected {expected} for {dict(labels)}, got {found}{where}")


def almost_equal(a: float, b: float) -> bool:
    """Within a relative `EPSILON`; NaN equals NaN."""
    if (math.isnan(a) and math.isnan(b)) or a == b:
        return True
    if a == 0 or b == 0 or abs(a) + abs(b) < _MIN_NORMAL:
        return abs(a - b) < EPSILON * _MIN_NORMAL
    return abs(a - b) / min(abs(a) + abs(b), float(np.finfo(np.float64).max)) < EPSILON
