"""Functions of one number: each cell of an instant vector by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.promql.ast import ValueType
from tsdb.promql.functions.function import SCALAR, VECTOR, Build, Call, Function
from tsdb.promql.operators.cells import FloatsOnly, Mapped, unique
from tsdb.promql.operators.vector import Cells, Environment, Operator

Numbers = NDArray[np.float64]


def per_cell(env: Environment, child: Operator, compute: Callable[[Numbers], Numbers]) -> Operator:
    """`compute` makes f64 of any shape of f64 of the same shape. A vector loses its metric names, and its native
    histograms."""
    def tile_by_tile(tile: Cells) -> Cells:
        return Cells(tile.first_row, compute(tile.values), tile.present)

    return unique(env, Mapped(env, FloatsOnly(env, child), tile_by_tile, keep_name=child.type == ValueType.SCALAR))


def _of_number(compute: Callable[[Numbers], Numbers]) -> Build:
    return lambda call: per_cell(call.env, call.operators[0], compute)


def _sign(v: Numbers) -> Numbers:
    return np.where(v < 0, -1.0, np.where(v > 0, 1.0, v))


def _round(call: Call) -> Operator:
    def nearest(tile: Cells, to: Numbers | float = 1.0) -> Cells:
        inverse = 1.0 / to  # as Prometheus: that loses less
        return Cells(tile.first_row, np.floor(tile.values * inverse + 0.5) / inverse, tile.present)

    vector, *to = call.operators
    return unique(call.env, Mapped(call.env, FloatsOnly(call.env, vector), nearest, to))


def _clamp(call: Call) -> Operator:
    """Where the minimum is above the maximum there is nothing."""
    vector, *borders = call.operators
    nowhere = np.full(call.env.steps.count, math.inf)

    def compute(tile: Cells, *numbers: Numbers) -> Cells:
        low = -nowhere if call.name == "clamp_max" else numbers[0]
        high = nowhere if call.name == "clamp_min" else numbers[-1]
        values = larger(low, smaller(high, tile.values))
        return Cells(tile.first_row, values, tile.present & ~(high < low))

    return unique(call.env, Mapped(call.env, FloatsOnly(call.env, vector), compute, borders))


def smaller(a: Numbers, b: Numbers) -> Numbers:
    """Go's math.Min: NaN wins, but -Inf wins over that, and -0 is below 0."""
    return -larger(-a, -b)


def larger(a: Numbers, b: Numbers) -> Numbers:
    """Go's math.Max: the other way round."""
    either = np.where((a == 0) & (b == 0), a + b, np.maximum(a, b))
    return np.where((a == math.inf) | (b == math.inf), math.inf, either)


def _row(name: str, compute: Callable[[Numbers], Numbers], doc: str) -> Function:
    return Function(name=name, arg_types=(VECTOR,), doc=doc, build=_of_number(compute))


FUNCTIONS: Final = (
    _row("abs", np.abs, "The absolute value."),
    _row("ceil", np.ceil, "Rounded up to the next integer."),
    _row("floor", np.floor, "Rounded down to the next integer."),
    Function(name="round", arg_types=(VECTOR, SCALAR), variadic=1, build=_round,
             doc="Rounded to the nearest multiple of the second argument, 1 by default; halves go up."),
    Function(name="clamp", arg_types=(VECTOR, SCALAR, SCALAR), build=_clamp,
             doc="Kept between a minimum and a maximum; nothing where the minimum is above the maximum."),
    Function(name="clamp_min", arg_types=(VECTOR, SCALAR), build=_clamp,
             doc="Not below a minimum."),
    Function(name="clamp_max", arg_types=(VECTOR, SCALAR), build=_clamp,
             doc="Not above a maximum."),
    _row("sgn", _sign, "The sign: 1, 0 or -1."),
    _row("sqrt", np.sqrt, "The square root."),
    _row("exp", np.exp, "e to the power of the value."),
    _row("ln", np.log, "The natural logarithm."),
    _row("log2", np.log2, "The binary logarithm."),
    _row("log10", np.log10, "The decimal logarithm."),
    _row("sin", np.sin, "The sine of an angle in radians."),
    _row("cos", np.cos, "The cosine of an angle in radians."),
    _row("tan", np.tan, "The tangent of an angle in radians."),
    _row("asin", np.arcsin, "The arc sine, in radians."),
    _row("acos", np.arccos, "The arc cosine, in radians."),
    _row("atan", np.arctan, "The arc tangent, in radians."),
    _row("sinh", np.sinh, "The hyperbolic sine."),
    _row("cosh", np.cosh, "The hyperbolic cosine."),
    _row("tanh", np.tanh, "The hyperbolic tangent."),
    _row("asinh", np.arcsinh, "The inverse hyperbolic sine."),
    _row("acosh", np.arccosh, "The inverse hyperbolic cosine."),
    _row("atanh", np.arctanh, "The inverse hyperbolic tangent."),
    _row("deg", lambda v: v * 180 / math.pi, "Radians to degrees."),
    _row("rad", lambda v: v * math.pi / 180, "Degrees to radians."),
)
