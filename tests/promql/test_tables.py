"""The tables of functions and aggregations hold together, and with the grammar."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from tsdb.promql import aggregations, functions
from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.ast import ValueType
from tsdb.promql.functions import FUNCTIONS, Function


def test_no_name_stands_twice() -> None:
    assert len(FUNCTIONS) == sum(len(family.FUNCTIONS) for family in functions.FAMILIES)
    assert len(AGGREGATIONS) == sum(len(family.AGGREGATIONS) for family in aggregations.FAMILIES)


def test_the_grammar_knows_the_aggregations() -> None:
    grammar = resources.files("tsdb.promql.syntax").joinpath("grammar.lark").read_text()
    rule = grammar[grammar.index("AGGREGATOR.2:") : grammar.index("COMMENT:")]
    names = [name for group in re.findall(r"/\(([a-z_|]+)\)", rule) for name in group.split("|")]
    assert sorted(names) == sorted(AGGREGATIONS)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda function: function.name)
def test_rows_of_functions(function: Function) -> None:
    assert function.doc.endswith(".")
    assert function.return_type in (ValueType.SCALAR, ValueType.VECTOR)
    assert function.arg_types.count(ValueType.MATRIX) <= 1
    assert function.arg_types or function.variadic == 0
    assert function.min_args >= 0


def test_rows_of_aggregations() -> None:
    for aggregation in AGGREGATIONS.values():
        assert aggregation.doc.endswith(".")
        assert aggregation.parameter in (None, ValueType.SCALAR, ValueType.STRING)
