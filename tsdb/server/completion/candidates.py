"""Words of the language that a cursor may be completed to, from the tables of functions and aggregations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.ast import ValueType
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.functions.function import Function
from tsdb.promql.syntax.cursor import Expected

_TYPES: Final = {ValueType.SCALAR: "scalar", ValueType.VECTOR: "instant vector", ValueType.MATRIX: "range vector",
                 ValueType.STRING: "string", ValueType.NONE: "none"}


@dataclass(frozen=True, slots=True)
class Word:
    """`text` is what is matched and written."""

    text: str
    kind: str
    doc: str
    signature: str = ""

    def shown(self) -> dict[str, Any]:
        return {"label": self.text, "insert": self.text, "kind": self.kind, "doc": self.doc,
                **({"signature": self.signature} if self.signature else {})}


def signature(function: Function) -> str:
    """``round(instant vector[, scalar])``."""
    args = [_TYPES[function.arg_type(at)] for at in range(function.min_args)]
    text = ", ".join(args)
    if function.max_args is None:
        text += f"[, {_TYPES[function.arg_types[-1]]}…]"
    else:
        for at in range(function.min_args, function.max_args):
            text += f"[{', ' if at else ''}{_TYPES[function.arg_type(at)]}]"
    return f"{function.name}({text}) {_TYPES[function.return_type]}"


def _aggregation(name: str) -> str:
    parameter = AGGREGATIONS[name].parameter
    return f"{name}({'' if parameter is None else _TYPES[parameter] + ', '}instant vector) instant vector"


def _keywords(**docs: str) -> tuple[Word, ...]:
    return tuple(Word(text, "keyword", doc) for text, doc in docs.items())


OPERANDS: Final = (
    *(Word(name, "aggregation", each.doc, _aggregation(name)) for name, each in sorted(AGGREGATIONS.items())),
    *(Word(name, "function", each.doc, signature(each)) for name, each in sorted(FUNCTIONS.items())),
)
MATCHING: Final = _keywords(
    bool="0 or 1 instead of leaving out what does not hold.", on="Match by these labels only.",
    ignoring="Match by all labels but these.", group_left="Several of the left side may match one of the right.",
    group_right="Several of the right side may match one of the left.",
    fill="A value for what has no match.", fill_left="A value for what has no match on the left.",
    fill_right="A value for what has no match on the right.",
)
OF_PLACES: Final[dict[Expected, tuple[Word, ...]]] = {
    Expected.OPERATOR: (
        *_keywords(
            offset="As of so long ago: 5m.", by="Labels to keep, behind an aggregation.",
            without="Labels to drop, behind an aggregation.",
            **{"and": "What both sides have.", "or": "What one of the sides has.",
               "unless": "What the right side has not.", "atan2": "The angle of two values."},
            anchored="The range's ends are set at samples.", smoothed="The range's ends are interpolated.",
        ),
        *(Word(text, "operator", doc) for text, doc in (
            ("+", "Sum."), ("-", "Difference."), ("*", "Product."), ("/", "Quotient."), ("%", "Remainder."),
            ("^", "Power."), ("==", "Equal."), ("!=", "Not equal."), (">", "Greater."), ("<", "Less."),
            (">=", "Greater or equal."), ("<=", "Less or equal."), ("@", "As of a fixed time."), ("[5m]", "A range."),
        )),
    ),
    Expected.GROUPING: _keywords(by="Labels to keep.", without="Labels to drop."),
    Expected.MATCH: tuple(Word(text, "operator", doc) for text, doc in (
        ("=", "Equal."), ("=~", "Matches the expression."), ("!=", "Not equal."),
        ("!~", "Does not match the expression."),
    )),
    Expected.BOUNDARY: (Word("start()", "keyword", "The query's first time."),
                        Word("end()", "keyword", "The query's last time.")),
}
UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks",
                "y": "years"}


def durations(word: str) -> tuple[Word, ...]:
    """Of a number that is begun: with each unit."""
    if word and not word.isdecimal():
        return ()
    if not word:
        return tuple(Word(text, "duration", "") for text in ("1m", "5m", "10m", "30m", "1h", "1d"))
    return tuple(Word(word + unit, "duration", name) for unit, name in UNITS.items())
