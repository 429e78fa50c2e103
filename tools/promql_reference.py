"""docs/promql.md: functions and aggregations from their tables, and what is different from Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.aggregations.aggregation import Aggregation
from tsdb.promql.functions import FUNCTIONS, Function

PAGE = """# PromQL

Made from the code's own tables by `python -m tools.reference`: do not edit.

The language is [that of Prometheus](https://prometheus.io/docs/prometheus/latest/querying/basics/), with its operators,
aggregations and functions, subqueries, the modifiers `offset` (also negative), `@` (also `@ start()` and `@ end()`),
`anchored`, `smoothed` and `fill`, and durations that are computed (`[5m * 2]`, `offset step()`). Answers, errors,
warnings and infos are those of Prometheus, in its words. What it has behind feature flags, marked *experimental* below,
needs none here; but `rate`, `irate`, `increase`, `resets` and `start_timestamp` use start timestamps, since when
samples have been counting, only where the feature `use-start-timestamps` or the key `query.use_start_timestamps` says
so.

`tsdb test promql FILE` runs scripts in the language of Prometheus' own tests.

## Functions

Arguments in brackets may be left out, `…` stands for more of the last kind.

{functions}

## Aggregations

`sum by (job) (…)` keeps only the labels named, `sum without (instance) (…)` all others but the metric's name.

{aggregations}

## Not built yet

{missing}

## What is different from Prometheus

{differences}
"""

MISSING = (
    ("native histograms in `anchored` and `smoothed` ranges", "They are refused."),
)

DIFFERENCES = (
    ("`limitk`",
     "Which elements of a group are taken: the first rows of the storage, as in Prometheus, but these have another "
     "order. `limit_ratio` takes the same ones as Prometheus."),
    ("order of an instant vector",
     "Where the query does not sort there is none, as in Prometheus, but it is another one."),
    ("equal values in `topk` and `bottomk`", "Of what is computed, Prometheus decides by the order of a hash map."),
    ("sums over time",
     "`sum_over_time` and `avg_over_time` come from running sums of twice the precision: the last digit may be "
     "another than in Prometheus, and is nearer to the truth."),
    ("`info`",
     "All selectors of a query see the same moment of the storage, the info series, too. What `@` and `offset` do "
     "to the first argument holds for the info series where it holds for all of it."),
    ("places of warnings",
     "A text that several parts of a query say is told once, with the last place; which is the last may differ where "
     "equal parts are computed once."),
    ("limits",
     "Those on series, steps, bytes and time are ours, and say which key sets them. Samples are counted roughly as "
     "Prometheus does."),
    ("digits", "The last one of `exp`, `sin` and the like, and of `^`, is that of another mathematical library."),
    ("statistics", "Equal parts of a query are computed once, and their samples are counted once."),
    ("large expressions", "256 KiB, 20,000 words and signs, and 200 levels of nesting are the most."),
)


def promql(table: Callable[[Iterable[str], Iterable[Iterable[str]]], str]) -> str:
    functions = [(f"`{_signature(function)}`", _kind(function.doc, function.experimental))
                 for _, function in sorted(FUNCTIONS.items())]
    aggregations = [(f"`{_aggregation(each)}`", _kind(each.doc, each.experimental))
                    for _, each in sorted(AGGREGATIONS.items())]
    return PAGE.format(
        functions=table(("function", "meaning"), functions),
        aggregations=table(("aggregation", "meaning"), aggregations),
        missing=table(("what", "so far"), MISSING),
        differences=table(("what", "here"), DIFFERENCES),
    )


def _signature(function: Function) -> str:
    kinds = [str(function.arg_type(index)) for index in range(len(function.arg_types))]
    if function.variadic == 0:
        arguments = ", ".join(kinds)
    elif function.variadic < 0 or function.variadic > 1:
        arguments = ", ".join(kinds) + ", …"
    else:
        arguments = ", ".join(kinds[:-1]) + (f"[, {kinds[-1]}]" if len(kinds) > 1 else f"[{kinds[-1]}]")
    return f"{function.name}({arguments}) {function.return_type}"


def _aggregation(aggregation: Aggregation) -> str:
    parameter = "" if aggregation.parameter is None else f"{aggregation.parameter}, "
    return f"{aggregation.name}({parameter}vector)"


def _kind(doc: str, experimental: bool) -> str:
    return f"{doc} *Experimental.*" if experimental else doc
