"""Functions to and from scalars."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from tsdb.promql.ast import ValueType
from tsdb.promql.functions.arithmetic import Numbers, larger, smaller
from tsdb.promql.functions.function import SCALAR, VECTOR, Build, Call, Function
from tsdb.promql.operators.cells import FloatsOnly, Scalar, constant, scalar_values
from tsdb.promql.operators.vector import Environment, Operator, Steps


def _time(call: Call) -> Operator:
    return Scalar(call.env, lambda: call.env.steps.times() / 1000)


def _pi(call: Call) -> Operator:
    return constant(call.env, math.pi)


def _vector(call: Call) -> Operator:
    return Scalar(call.env, lambda: scalar_values(call.operators[0]), ValueType.VECTOR)


def _scalar(call: Call) -> Operator:
    return Scalar(call.env, lambda: _only_value(call.env, FloatsOnly(call.env, call.operators[0])))


def _only_value(env: Environment, child: Operator) -> Numbers:
    """f64[steps]: the value of the only cell of each step, NaN where there is none or more than one."""
    values, count = np.full(env.steps.count, math.nan), np.zeros(env.steps.count, np.int64)
    for tile in child.cells():
        row = tile.present.argmax(axis=0)
        here = tile.present.any(axis=0)
        values = np.where(here, tile.values[row, np.arange(env.steps.count)], values)
        count += tile.present.sum(axis=0)
    values[count != 1] = math.nan
    return values


def _picked(pick: Callable[[Numbers, Numbers], Numbers]) -> Build:
    def build(call: Call) -> Operator:
        first, second = call.operators
        return Scalar(call.env, lambda: pick(scalar_values(first), scalar_values(second)))

    return build


def _of_query(name: str, milliseconds: Callable[[Steps], int], doc: str) -> Function:
    return Function(name=name, arg_types=(), return_type=SCALAR, experimental=True, doc=doc,
                    build=lambda call: constant(call.env, milliseconds(call.query) / 1000))


FUNCTIONS: Final = (
    Function(name="time", arg_types=(), return_type=SCALAR, each_step=True, build=_time,
             doc="The evaluation time, in seconds since 1970."),
    Function(name="pi", arg_types=(), return_type=SCALAR, build=_pi, doc="π."),
    Function(name="scalar", arg_types=(VECTOR,), return_type=SCALAR, build=_scalar,
             doc="The value of a vector that has one float; NaN where it has none, or more."),
    Function(name="vector", arg_types=(SCALAR,), build=_vector,
             doc="The scalar as a vector of one element without labels."),
    Function(name="max_of", arg_types=(SCALAR, SCALAR), return_type=SCALAR, experimental=True, build=_picked(larger),
             doc="The larger of two scalars."),
    Function(name="min_of", arg_types=(SCALAR, SCALAR), return_type=SCALAR, experimental=True, build=_picked(smaller),
             doc="The smaller of two scalars."),
    _of_query("start", lambda query: query.start, "When the query's range begins, in seconds since 1970."),
    _of_query("end", lambda query: query.end, "When the query's range ends, in seconds since 1970."),
    _of_query("range", lambda query: query.end - query.start, "The length of the query's range, in seconds."),
    _of_query("step", lambda query: max(query.step, 0), "The query's step, in seconds; 0 in an instant query."),
)
