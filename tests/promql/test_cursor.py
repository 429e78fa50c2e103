"""What is expected at the cursor, which is | here, of texts that are finished or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsdb.promql.syntax.cursor import Expected, at_cursor


@pytest.mark.parametrize(("text", "expected", "replaced", "metrics", "label"), [
    ("|", "operand", "", (), ""),
    ("ra|", "operand", "ra", (), ""),
    ("ra|te", "operand", "rate", (), ""),
    ("rate(htt|", "operand", "htt", (), ""),
    ("sum(|)", "operand", "", (), ""),
    ("a + |", "operand", "", (), ""),
    ("a and o|", "operand", "o", (), ""),
    ("a / on (x) |", "operand", "", (), ""),
    ("topk(3, |", "operand", "", (), ""),
    ("up |", "operator", "", (), ""),
    ("up of|", "operator", "of", (), ""),
    ('up{a="b"} |', "operator", "", (), ""),
    ("rate(x[5m]) |", "operator", "", (), ""),
    ("sum(x) by (a) |", "operator", "", (), ""),
    ("sum b|", "grouping", "b", (), ""),
    ("sum by (a) |", "nothing", "", (), ""),
    ("up{|", "label name", "", ("up",), ""),
    ("up{|}", "label name", "", ("up",), ""),
    ("up{jo|b=\"x\"}", "label name", "job", ("up",), ""),
    ('up{job="x",in|', "label name", "in", ("up",), ""),
    ("{jo|", "label name", "jo", (), ""),
    ('up{job |', "match", "", ("up",), "job"),
    ('up{job="|', "label value", "", ("up",), "job"),
    ('up{job="a|', "label value", "a", ("up",), "job"),
    ('up{job="a|b"}', "label value", "ab", ("up",), "job"),
    ('up{job="|} + up{job="b"}', "label value", "", ("up",), "job"),
    ("up{job=|", "label value", "", ("up",), "job"),
    ("up{job=~'a.|", "label value", "a.", ("up",), "job"),
    ('up{job="x"|', "nothing", "", (), ""),
    ("sum by (|) (rate(x[5m]))", "label name", "", ("x",), ""),
    ("sum by (|", "label name", "", (), ""),
    ("sum(rate(x[5m])) by (|", "label name", "", ("x",), ""),
    ("1 + sum by (jo|b, a) (x{c=\"d\"} / y) + z", "label name", "job", ("x", "y"), ""),
    ("a / on (|) b", "label name", "", ("a", "b"), ""),
    ("a / on (x) group_left (|) sum by (y) (b)", "label name", "", ("a", "b"), ""),
    ("x[|", "duration", "", (), ""),
    ("x[5|", "duration", "5", (), ""),
    ("x offset 5|", "duration", "5", (), ""),
    ("x offset |", "duration", "", (), ""),
    ("x @ |", "boundary", "", (), ""),
    ("x # com|ment", "nothing", "", (), ""),
    ('label_replace(x, "a|', "nothing", "", (), ""),
    ("12|", "nothing", "", (), ""),
])
def test_places(text: str, expected: str, replaced: str, metrics: tuple[str, ...], label: str) -> None:
    cursor = text.index("|")
    whole = text.replace("|", "", 1)
    place = at_cursor(whole, cursor)
    assert (place.expected, whole[place.start : place.end], place.metrics, place.label) == (
        expected, replaced, metrics, label)
    assert place.word == whole[place.start : cursor]


def test_the_other_conditions() -> None:
    text = 'up{a="1",b="|",c=~"2.*",d'
    place = at_cursor(text.replace("|", ""), text.index("|"))
    assert [(each.name, each.type, each.value) for each in place.matchers] == [("a", "=", "1"), ("c", "=~", "2.*")]
    assert not place.regex and place.quote == '"'
    assert at_cursor('{"my.metric", ', 14).matchers[0].value == "my.metric"


@given(st.text('abc_1 "\'`\\\n#{}[](),=~!@+sumbyon|é', max_size=30), st.data())
def test_any_text_is_taken(text: str, data: st.DataObject) -> None:
    cursor = data.draw(st.integers(0, len(text)))
    place = at_cursor(text, cursor)
    assert 0 <= place.start <= place.end <= len(text)
    assert place.expected is Expected.NOTHING or place.start <= cursor <= place.end
