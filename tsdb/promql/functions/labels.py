"""label_replace and label_join: functions of labels alone. Text is made once per distinct value, not per series."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import re2
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.labels import METRIC_NAME
from tsdb.model.replacement import Replacement
from tsdb.model.tiles import SeriesSet
from tsdb.promql.functions.function import STRING, VECTOR, Call, Function
from tsdb.promql.literals import is_label_name
from tsdb.promql.operators.cells import Relabeled, Unique
from tsdb.promql.operators.groups import NO_SYMBOL, label_values, with_label
from tsdb.promql.operators.vector import Operator
from tsdb.promql.regexes import matches_any_byte


def _label_replace(call: Call) -> Operator:
    """Sets label `target` to `template`, expanded from the match of `regex` in label `source`, where it matches whole.
    Raises ExecutionError for a wrong regex or label name."""
    target, template, source, regex = call.texts
    options = re2.Options()
    options.log_errors = False
    try:
        if matches_any_byte(regex):
            raise re2.error("Go has no \\C")
        pattern = re2.compile(f"^(?s:{regex})$", options)
    except (re2.error, UnicodeEncodeError):
        raise ExecutionError(f"invalid regular expression in label_replace(): {regex}") from None
    if not is_label_name(target):
        raise ExecutionError(f"invalid destination label name in label_replace(): {target}")
    replacement = Replacement(template, pattern.groupindex, pattern.groups)

    def expand(value: str) -> str | None:
        found = pattern.search(value)
        return None if found is None else replacement.expand((found.group(), *found.groups("")))

    def relabel(series: SeriesSet) -> SeriesSet:
        column = label_values(series, source)
        symbols, place = np.unique(column, return_inverse=True)
        texts = [expand(_text(series, symbol)) for symbol in symbols.tolist()]
        matched = np.array([text is not None for text in texts], np.bool_)[place]
        made = np.array([_symbol(series, text or "") for text in texts], np.uint32)[place]
        old = label_values(series, target)
        return _set(series, target, np.where(matched, made, old).astype(np.uint32), matched)

    return Unique(call.env, Relabeled(call.env, call.operators[0], relabel))


def _label_join(call: Call) -> Operator:
    """Sets label `target` to the values of the labels `sources`, joined. Raises ExecutionError for a wrong name."""
    target, separator, *sources = call.texts
    for source in sources:
        if not is_label_name(source):
            raise ExecutionError(f"invalid source label name in label_join(): {source}")
    if not is_label_name(target):
        raise ExecutionError(f"invalid destination label name in label_join(): {target}")

    def relabel(series: SeriesSet) -> SeriesSet:
        columns = np.stack([np.zeros(len(series), np.uint32), *(label_values(series, source) for source in sources)])
        distinct, place = np.unique(columns, axis=1, return_inverse=True)
        texts = [separator.join(_text(series, symbol) for symbol in symbols) for symbols in distinct[1:].T.tolist()]
        made = np.array([_symbol(series, text) for text in texts], np.uint32)
        return _set(series, target, made[place.reshape(-1)], np.ones(len(series), np.bool_))

    return Unique(call.env, Relabeled(call.env, call.operators[0], relabel))


def _text(series: SeriesSet, symbol: int) -> str:
    return "" if symbol == NO_SYMBOL else series.symbols.text(symbol)


def _symbol(series: SeriesSet, text: str) -> int:
    return series.symbols.intern(text) if text else NO_SYMBOL


def _set(series: SeriesSet, target: str, column: NDArray[np.uint32], changed: NDArray[np.bool_]) -> SeriesSet:
    """A metric name that is set on purpose stays."""
    made = with_label(series, target, column)
    if target == METRIC_NAME and made.drop_name is not None:
        made = replace(made, drop_name=made.drop_name & ~changed)
    return made


FUNCTIONS: Final = (
    Function(name="label_replace", arg_types=(VECTOR, STRING, STRING, STRING, STRING), build=_label_replace,
             doc="Where a regex matches the whole value of a source label (the last two arguments), the destination "
                 "label is set to the replacement, in which $1 is the first group."),
    Function(name="label_join", arg_types=(VECTOR, STRING, STRING, STRING), variadic=-1, build=_label_join,
             doc="The destination label is set to the values of the source labels, joined by the separator."),
)
