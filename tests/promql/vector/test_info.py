"""The join with info series, against a slow twin that looks at each step by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.vector.literal import Literal, Vector, as_dict, at_step, environment, read
from tsdb.model.errors import ExecutionError
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.operators.cells import Unique
from tsdb.promql.operators.info_join import IDENTIFYING, InfoJoin
from tsdb.promql.regexes import accepts
from tsdb.testing.memory_storage import Labels, labels_of

STEPS = 3


def identity(labels: Labels) -> Labels:
    return tuple(label for label in labels if label[0] in IDENTIFYING)


def slow_fetch(base: Vector, infos: Vector, names: Sequence[Matcher]) -> Vector:
    """The info series that may be about one of the rows."""
    rows = [dict(labels) for labels, row in base if any(cell is not None for cell in row)
            if not is_info(labels, names)]
    wanted = {name: {row[name] for row in rows if name in row} for name in IDENTIFYING}
    if not any(wanted.values()):
        return []
    return [(labels, row) for labels, row in infos
            if all(not values or dict(labels).get(name) in values for name, values in wanted.items())]


def is_info(labels: Labels, names: Sequence[Matcher]) -> bool:
    return all(accepts(matcher, dict(labels).get("__name__", "")) for matcher in names)


def slow_step(base: list[tuple[Labels, float]], infos: list[tuple[Labels, float]], names: Sequence[Matcher],
              data: Sequence[Matcher]) -> dict[Labels, float]:
    """Raises ValueError where it is ambiguous."""
    if not base:
        return {}
    newest: dict[tuple[str, Labels], tuple[float, Labels]] = {}
    for labels, at in infos:
        key = dict(labels)["__name__"], identity(labels)
        if key in newest and newest[key][0] == at:
            raise ValueError("duplicate")
        if key not in newest or newest[key][0] < at:
            newest[key] = at, labels
    out: dict[Labels, float] = {}
    for labels, value in base:
        made = labels
        if not is_info(labels, names):
            found = [info for (_, who), (_, info) in newest.items() if who == identity(labels)]
            if not found and not all(accepts(matcher, "") for matcher in data):
                continue
            added: dict[str, str] = {}
            for name, text in (label for info in found for label in info):
                if name == "__name__" or name in dict(labels) or (data and name not in {each.name for each in data}):
                    continue
                if added.setdefault(name, text) != text:
                    raise ValueError("conflict")
            made = labels_of({**added, **dict(labels)})
        if made in out:
            raise ValueError("same")
        out[made] = value
    return out


MESSAGES = {"duplicate": "found duplicate series for info metric", "conflict": "conflicting label",
            "same": "vector cannot contain metrics with the same labelset"}
texts = st.sampled_from(["", "x", "y"])
rows = st.fixed_dictionaries({"__name__": st.sampled_from(["m", "a_info"]), "job": texts, "instance": texts,
                              "d": texts}).map(labels_of)
info_rows = st.fixed_dictionaries({"__name__": st.sampled_from(["a_info", "b_info"]), "job": texts, "instance": texts,
                                   "d": texts, "e": texts}).map(labels_of)


@st.composite
def cells(draw: st.DrawFn, labels: st.SearchStrategy[Labels], most: int) -> Vector:
    return [(row, draw(st.lists(st.none() | st.sampled_from([1.0, 2.0, 3.0]), min_size=STEPS, max_size=STEPS)))
            for row in draw(st.lists(labels, max_size=most, unique=True))]


@settings(max_examples=200, deadline=None)
@given(base=cells(rows, 5), infos=cells(info_rows, 6), data=st.sampled_from([
    (), (Matcher(MatchType.REGEX, "d", ".+"),), (Matcher(MatchType.REGEX, "e", ".*"),
                                                Matcher(MatchType.NOT_EQUAL, "d", "z"))]))
def test_join(base: Vector, infos: Vector, data: Sequence[Matcher]) -> None:
    env = environment(STEPS)
    names = (Matcher(MatchType.REGEX, "__name__", ".+_info"),)
    join = Unique(env, InfoJoin(env, Literal(base, env), Literal(infos, env), names, data))
    fetched = slow_fetch(base, infos, names)
    errors, wanted = set(), dict[Labels, list[float | None]]()
    for step in range(STEPS):
        try:
            for labels, value in slow_step(at_step(base, step), at_step(fetched, step), names, data).items():
                wanted.setdefault(labels, [None] * STEPS)[step] = value
        except ValueError as problem:
            errors.add(MESSAGES[str(problem)])
    if errors:
        with pytest.raises(ExecutionError) as caught:
            read(join)
        assert any(message in str(caught.value) for message in errors)
    else:
        assert as_dict(read(join)) == wanted
        assert env.context.bytes_reserved == 0
