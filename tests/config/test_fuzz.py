"""Whatever a file says, the answer is a config or a ConfigError that names the place."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.verdicts import BAD, GOOD
from tsdb import config
from tsdb.model.errors import ConfigError
from tsdb.model.settings import fields, is_section, item_type

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.sampled_from(["5s", "1MB", "a:1", "http://a/b", "utf8", "(.*)", "a(", "${env:A}", "${env:A:-5s}", "yes", "v2"]),
)


def values(type_: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Mostly of the right shape: the checks behind it are to be reached."""
    inner = item_type(type_)
    if depth > 4 or not (is_section(inner) or inner is not type_):
        lists, mappings = st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
        return st.one_of(SCALARS, lists, mappings)
    if is_section(inner):
        known = fields(inner)
        one = st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True).flatmap(
            lambda names: st.fixed_dictionaries({name: values(known[name].type, depth + 1) for name in names})
        )
    else:
        one = SCALARS
    many = st.lists(one, max_size=2) if type_ is not inner else one
    return st.one_of(many, one)


@settings(max_examples=100, deadline=None)
@given(values(config.Config))
def test_any_tree(tree: Any) -> None:
    with contextlib.suppress(ConfigError):
        config.shown(config.parse(yaml.dump(tree, Dumper=yaml.CSafeDumper), environ={"A": "5"}))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted({*GOOD.values(), *BAD.values()})), st.data())
def test_a_byte_too_many_or_too_few(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    pieces = ["", "{", "}", ":", "- ", "[", "]", "'", '"', "&a", "*a", "\n", "\t", "#", "\x00", "é", "%"]
    piece = data.draw(st.sampled_from(pieces))
    try:
        config.parse(text[:at] + piece + text[at + data.draw(st.integers(0, 3)) :])
    except ConfigError as problem:
        assert re.match(r"config(:\d+:\d+)?: ", str(problem)), problem
