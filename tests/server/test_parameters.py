"""Times, durations, limits and names, as the API reads them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsdb.server.api.parameters import MAX_TIME, MIN_TIME, parse_seconds, parse_time, quoted, unescaped_name


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0), ("1", 1000), ("1435781430.781", 1435781430781), ("-5.25", -5250), ("1e3", 1_000_000), (".5", 500),
        ("5.", 5000), ("1435781430.7815", 1435781430782),
        ("2015-06-03T13:21:58.555Z", 1433337718555),
        ("2015-06-03T13:21:58Z", 1433337718000),
        ("2015-06-03T14:21:58+01:00", 1433337718000),
        ("2015-06-03T12:51:58-00:30", 1433337718000),
        ("2015-06-03T13:21:58.123456789Z", 1433337718123),
        ("2015-06-03T13:21:58,5Z", 1433337718500),
        ("1969-12-31T23:59:59.999Z", -1),
        ("-292273086-05-16T16:47:06Z", MIN_TIME),
        ("292277025-08-18T07:12:54.999999999Z", MAX_TIME),
        ("1e17", MAX_TIME), ("-1e17", MIN_TIME),
    ],
)
def test_times(text: str, ms: int) -> None:
    assert parse_time(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "x", "NaN", "Inf", "-Inf", "1e400", "0x10", "1_0", " 1", "1 ", "1e", "２", "2015-06-03", "2015-06-03T13:21:58",
     "2015-13-03T13:21:58Z", "2015-06-03T25:21:58Z", "2015-06-03t13:21:58Z", "2015-06-03T13:21:58+99:00", "€\x00\""],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="to a valid timestamp") as raised:
        parse_time(text)
    assert str(raised.value) == f"cannot parse {quoted(text)} to a valid timestamp"


@given(st.text())
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert MIN_TIME <= parse_time(text) <= MAX_TIME


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15", 15), ("0.5", 0.5), ("15s", 15), ("1h30m", 5400), ("1d", 86400), ("1w", 604800), ("1y", 31536000),
     ("5ms", 0.005), ("-5", -5), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "more"),
    [("", ""), ("x", ""), ("5 s", ""), ("5m5m", ""), ("1m1h", ""), ("-5m", ""), ("1.5m", ""), ("٣m", ""), ("NaN", ""),
     ("1e300", ". It overflows int64"), ("99999999999y", "")],
)
def test_what_is_no_duration(text: str, more: str) -> None:
    with pytest.raises(ValueError, match="to a valid duration") as raised:
        parse_seconds(text)
    assert str(raised.value) == f"cannot parse {quoted(text)} to a valid duration{more}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("x", '"x"'), ('a"b', '"a\\"b"'), ("a\\b", '"a\\\\b"'), ("\n\t\x00", r'"\n\t\x00"'), ("€", '"€"'),
     ("\u200b", r'"\u200b"')],
)
def test_quoting(text: str, shown: str) -> None:
    assert quoted(text) == shown


@pytest.mark.parametrize(
    ("name", "meant"),
    [("job", "job"), ("a.b", "a.b"), ("U__a_2e_b", "a.b"), ("U__a__b", "a_b"), ("U___2603_", "☃"), ("U__", ""),
     ("U__a_zz_", "U__a_zz_"), ("U__a_2e", "U__a_2e"), ("U___d800_", "U___d800_"), ("U___ffffffff_", "U___ffffffff_")],
)
def test_escaped_names(name: str, meant: str) -> None:
    assert unescaped_name(name) == meant
