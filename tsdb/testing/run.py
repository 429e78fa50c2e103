"""Runs the cases of a script (`tsdb.testing.script`) and compares as Prometheus' runner does: an instant query also as
the middle step of a range query, and also with its selectors pinned by @, at other times."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from tsdb.model.errors import NotSupported, ParseError, QueryError
from tsdb.model.tiles import Queryable
from tsdb.promql import Engine, EngineOptions, QueryResult, ast
from tsdb.promql.ast import At, AtKind, Expr, ValueType
from tsdb.promql.syntax.parser import parse
from tsdb.promql.syntax.printer import to_promql
from tsdb.testing.compare import (
    Mismatch,
    check_annotations,
    compare_any,
    compare_matrix,
    compare_scalar,
    compare_vector,
)
from tsdb.testing.loading import Capturing, Store, load
from tsdb.testing.script import Case, Load

OPTIONS = EngineOptions(delayed_name_removal=True, use_start_timestamps=True, threads=1)
"""The scripts of Prometheus assume that all feature switches are on."""

_OF_THE_QUERY = re.compile(r"(start|end|range|step)\(\)")
_OF_THE_STEP = frozenset(("days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute", "month",
                          "year", "predict_linear", "time", "timestamp", "start", "end"))


@dataclass
class Outcome:
    """What became of the cases of one script."""

    passed: int = 0
    failures: list[tuple[Case, str]] = field(default_factory=list)
    """And what is wrong."""
    unsupported: list[tuple[Case, str]] = field(default_factory=list)
    """And why."""

    @property
    def total(self) -> int:
        return self.passed + len(self.failures) + len(self.unsupported)


def run_cases(cases: Sequence[Case], options: EngineOptions = OPTIONS) -> Outcome:
    """Runs all of them over samples in memory."""
    outcome, runner = Outcome(), Runner(options=options)
    for case in cases:
        try:
            runner.run(case)
            outcome.passed += 1
        except Mismatch as problem:
            outcome.failures.append((case, str(problem)))
        except NotSupported as problem:
            outcome.unsupported.append((case, str(problem)))
    return outcome


class Runner:
    """Runs cases. Those that follow each other and have loaded the same share the samples."""

    def __init__(self, store: Store = lambda memory: memory, options: EngineOptions = OPTIONS) -> None:
        self._store, self._options = store, options
        self._loaded: tuple[tuple[Load, ...], Capturing] | None = None

    def run(self, case: Case) -> None:
        """Raises Mismatch where an answer is wrong, NotSupported where the case needs what is not there yet."""
        if self._loaded is None or self._loaded[0] is not case.loads:
            self._loaded = case.loads, load(case.loads, self._store)
        with Engine(cast(Queryable, self._loaded[1]), self._options) as engine:
            _run(case, engine)


def _run(case: Case, engine: Engine) -> None:
    if case.step > 0:
        _check(case, lambda: engine.query_range(case.expr, case.start, case.end, case.step), compare_matrix)
        return
    moment = case.window[1] if case.window else case.start
    _check_instant(case, engine, case.expr, moment)
    pinned = _pinned(case.expr, moment)
    if pinned is not None:
        others = [-10 * moment, 0, moment // 5, moment, 10 * moment] if moment else [-1000, 0, 1000]
        for other in others:
            _check_instant(case, engine, pinned, other)


def _check_instant(case: Case, engine: Engine, expr: str, moment: int) -> None:
    result = _check(case, lambda: engine.query(expr, moment), compare_any)
    if result is None or case.window or case.text is not None or case.ordered or _OF_THE_QUERY.search(expr):
        return
    try:
        ranged = engine.query_range(expr, moment - 60_000, moment + 60_000, 60_000)
    except NotSupported:
        raise
    except QueryError as problem:
        raise Mismatch(f"failed as a range query: {problem}") from problem
    kind = result.type
    middle = replace(ranged, type=kind, times=ranged.times[1:2], values=ranged.values[:, 1:2],
                     present=ranged.present[:, 1:2])
    try:
        if kind == ValueType.SCALAR:
            compare_scalar(case, float(middle.values[0, 0]))
        else:
            compare_vector(case, middle)
    except Mismatch as problem:
        raise Mismatch(f"{problem} (as a range query: {expr} at {moment} ms)") from None


def _check(case: Case, evaluate: Callable[[], QueryResult], compare: Callable[[Case, QueryResult], None],
           ) -> QueryResult | None:
    """None where the query failed as expected."""
    failures = case.of_kind("fail")
    try:
        result = evaluate()
    except NotSupported:
        raise
    except QueryError as problem:
        if not failures:
            raise Mismatch(f"failed: {problem}") from problem
        if not failures[0].accepts(str(problem)):
            raise Mismatch(f"expected the error {failures[0]}, got {problem}") from problem
        return None
    if failures:
        raise Mismatch("expected an error, got none")
    check_annotations(case, "warn", result.warnings)
    check_annotations(case, "info", result.infos)
    compare(case, result)
    return result


def _pinned(expr: str, moment: int) -> str | None:
    """The query with @ on the outermost selectors and subqueries that have none; None where that would change it."""
    try:
        tree = parse(expr)
    except ParseError:
        return None
    if any(isinstance(node, ast.Call) and node.function in _OF_THE_STEP for node in ast.walk(tree)):
        return None
    return to_promql(_pin(tree, At(AtKind.TIMESTAMP, moment)))


def _pin(expr: Expr, at: At) -> Expr:
    match expr:
        case ast.VectorSelector() | ast.Subquery():
            return expr if expr.at is not None and expr.at.kind == AtKind.TIMESTAMP else replace(expr, at=at)
        case ast.MatrixSelector():
            vector = _pin(expr.vector, at)
            assert isinstance(vector, ast.VectorSelector)
            return replace(expr, vector=vector)
        case ast.Call():
            return replace(expr, args=tuple(_pin(arg, at) for arg in expr.args))
        case ast.Aggregate():
            param = None if expr.param is None else _pin(expr.param, at)
            return replace(expr, expr=_pin(expr.expr, at), param=param)
        case ast.Binary():
            return replace(expr, left=_pin(expr.left, at), right=_pin(expr.right, at))
        case ast.Unary() | ast.Paren():
            return replace(expr, expr=_pin(expr.expr, at))
        case _:
            return expr
