"""info: labels of info metrics, such as target_info, added to the series that they are about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql import ast
from tsdb.promql.ast import At, AtKind, Duration, Expr
from tsdb.promql.durations import resolve
from tsdb.promql.functions.function import SCALAR, VECTOR, Call, Function, Preparation
from tsdb.promql.operators.cells import Unique
from tsdb.promql.operators.info_join import InfoJoin
from tsdb.promql.operators.step_invariant import sample_times
from tsdb.promql.operators.vector import Operator

_TARGET_INFO: Final = Matcher(MatchType.EQUAL, METRIC_NAME, "target_info")
_ANY_INFO: Final = Matcher(MatchType.REGEX, METRIC_NAME, ".+_info")


def _with_selector(node: ast.Call, about: Preparation) -> ast.Call:
    """The call with a selector of the info series as its second argument: target_info where no name is given, all that
    is named so where names are only excluded; at the time of the first argument's samples, if that is one."""
    base, *given = node.args
    selector = given[0] if given else ast.VectorSelector("", ())
    assert isinstance(selector, ast.VectorSelector)
    matchers = selector.matchers
    names = [matcher for matcher in matchers if matcher.name == METRIC_NAME]
    if all(matcher.negative for matcher in names):
        matchers = (_ANY_INFO if names else _TARGET_INFO, *matchers)
    times = set(_times(base, about))
    only = times.pop() if len(times) == 1 else None
    pinned, offset = only or (None, 0)
    at = None if pinned is None else At(AtKind.TIMESTAMP, pinned)
    wanted = ast.VectorSelector("", matchers, offset, at, span=selector.span)
    return ast.Call(node.function, (base, wanted), span=node.span)


def _times(expr: Expr, about: Preparation) -> Iterator[tuple[int | None, int] | None]:
    """Of each vector that the expression's elements come from: the time that @ pins it to (ms), and the offset (ms);
    None where it comes from no selector."""
    match expr:
        case ast.VectorSelector():
            yield _moved(expr.at, expr.offset, None, 0, about)
        case ast.MatrixSelector():
            yield from _times(expr.vector, about)
        case ast.Subquery():
            for time in _times(expr.expr, about):
                yield time and _moved(expr.at, expr.offset, *time, about)
        case ast.Call():
            inner = expr.args[:1] if expr.function == "info" else expr.args
            vectors = [arg for arg in inner if about.type_of(arg) in (ast.ValueType.VECTOR, ast.ValueType.MATRIX)]
            for arg in vectors:
                yield from _times(arg, about)
            if not vectors:
                yield None
        case ast.Aggregate():
            yield from _times(expr.expr, about)
        case _:
            for child in ast.children(expr):
                if about.type_of(child) != SCALAR:
                    yield from _times(child, about)


def _moved(at: ast.At | None, offset: Duration, pinned: int | None, inner: int, about: Preparation,
           ) -> tuple[int | None, int]:
    """A time within a selector or subquery with these modifiers, seen from outside."""
    if pinned is not None:
        return pinned, inner
    steps = about.query
    inner += resolve(offset, step=max(steps.step, 0), range=steps.end - steps.start)
    if at is None:
        return None, inner
    time = {AtKind.START: steps.start, AtKind.END: steps.end}.get(at.kind, at.timestamp)
    return time - inner, 0


def _info(call: Call) -> Operator:
    base, infos = call.operators
    selector, times = call.node.args[1], sample_times(infos)
    assert isinstance(selector, ast.VectorSelector) and times is not None
    names = [matcher for matcher in selector.matchers if matcher.name == METRIC_NAME]
    data = [matcher for matcher in selector.matchers if matcher.name != METRIC_NAME]
    return Unique(call.env, InfoJoin(call.env, base, times, names, data))


FUNCTIONS: Final = (
    Function(name="info", arg_types=(VECTOR, VECTOR), variadic=1, experimental=True, prepare=_with_selector,
             build=_info,
             doc="The vector with labels of info series that have the same job and instance: of target_info, or of "
                 "what the selector in braces says, which also chooses labels."),
)
