"""Changing a tree: `rewrite`, and the changes of selectors that are usual."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.ast import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    VectorSelector,
    walk,
)

METRIC_NAME = "__name__"


def rewrite(expr: Expr, function: Callable[[Expr], Expr]) -> Expr:
    """The tree in which each node is what `function` makes of it: children first, so that it is given nodes whose
    children are rewritten. A node that stays is returned as it is, and trees are never changed in place.

    Types are not looked at: ``parse(format(tree))`` raises ParseError where the result is no PromQL. Raises TypeError
    where something else than a `VectorSelector` takes the place of the one below a `MatrixSelector`.
    """
    return function(_with_rewritten_children(expr, function))


def _with_rewritten_children(expr: Expr, function: Callable[[Expr], Expr]) -> Expr:
    match expr:
        case Binary(_, left, right):
            new_left, new_right = rewrite(left, function), rewrite(right, function)
            if new_left is left and new_right is right:
                return expr
            return replace(expr, left=new_left, right=new_right)
        case Call(_, args):
            new_args = tuple(rewrite(arg, function) for arg in args)
            return expr if all(map(_same, new_args, args)) else replace(expr, args=new_args)
        case Aggregate(_, inner, param):
            new_param = None if param is None else rewrite(param, function)
            new_inner = rewrite(inner, function)
            return expr if new_inner is inner and new_param is param else replace(expr, expr=new_inner, param=new_param)
        case MatrixSelector(vector):
            new_vector = rewrite(vector, function)
            if not isinstance(new_vector, VectorSelector):
                raise TypeError(f"a range is taken of a VectorSelector, not of a {type(new_vector).__name__}: "
                                "replace the MatrixSelector above it instead")
            return expr if new_vector is vector else replace(expr, vector=new_vector)
        case Subquery(inner) | Paren(inner):
            new_inner = rewrite(inner, function)
            return expr if new_inner is inner else replace(expr, expr=new_inner)
        case Unary(_, inner):
            new_inner = rewrite(inner, function)
            return expr if new_inner is inner else replace(expr, expr=new_inner)
        case _:
            return expr


def _same(one: Expr, other: Expr) -> bool:
    return one is other


def selectors(expr: Expr) -> Iterator[VectorSelector]:
    """The selectors of an expression, those of ranges among them, from left to right."""
    return (node for node in walk(expr) if isinstance(node, VectorSelector))


def metric_name(selector: VectorSelector) -> str:
    """The one metric that it selects, however it is written; empty where it may be several: ``{__name__=~"a|b"}``."""
    if selector.name:
        return selector.name
    equal = (each.value for each in selector.matchers if each.name == METRIC_NAME and each.type is MatchType.EQUAL)
    return next(equal, "")


def metric_names(expr: Expr) -> list[str]:
    """The metrics that an expression names, sorted, each once. Selectors without one name none: see `metric_name`."""
    return sorted({name for name in map(metric_name, selectors(expr)) if name})


def with_matchers(selector: VectorSelector, *matchers: Matcher) -> VectorSelector:
    """The selector with more conditions; those that it has stay."""
    fresh = tuple(dict.fromkeys(each for each in matchers if each not in selector.matchers))
    return replace(selector, matchers=selector.matchers + fresh, written=()) if fresh else selector


def with_metric(selector: VectorSelector, name: str) -> VectorSelector:
    """The selector of another metric: `name` takes the place of every condition on the name. Raises ValueError for an
    empty name."""
    if not name:
        raise ValueError("a metric has a name")
    others = tuple(each for each in selector.matchers if each.name != METRIC_NAME)
    return replace(selector, name=name, matchers=(Matcher(MatchType.EQUAL, METRIC_NAME, name), *others), written=())
