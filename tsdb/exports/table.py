"""The columns of a table: own ones and one for each label."""

from __future__ import annotations

from collections.abc import Sequence

from tsdb.exports.reading import MatcherSets, asked, released
from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError
from tsdb.model.labels import METRIC_NAME
from tsdb.model.tiles import Queryable


def label_columns(storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, context: RequestContext,
                  ) -> list[str]:
    """Names of the labels in these times: the metric's first, the others sorted."""
    with released(context):
        found = storage.label_names(asked(matcher_sets), mint, maxt, context)
    return [METRIC_NAME, *(name for name in found if name != METRIC_NAME)]


def own_columns(names: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """By name, what the columns are called: with underscores at the end where labels have that name."""
    taken, found = set(labels), {}
    for name in names:
        called = name
        while called in taken:
            called += "_"
        taken.add(called)
        found[name] = called
    return found


def new_label(name: str) -> ExecutionError:
    """Of a label that appeared after the columns were written."""
    return ExecutionError(f"the label {name!r} appeared while the export ran, and its table has no column for it: "
                          "export again, with an end before now")
