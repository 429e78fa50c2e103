"""Numbers and strings, as Go reads and writes them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsdb.promql.ast import NumberLiteral, StringLiteral
from tsdb.promql.literals import format_number, parse_number, quote, unquote
from tsdb.promql.syntax.parser import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.", 1),
        (".5", 0.5),
        ("5.e3", 5000),
        ("1e3", 1000),
        ("1E+3", 1000),
        ("1e-3", 0.001),
        ("1_000", 1000),
        ("1_0.5_0e1_0", 10.5e10),
        ("0x1F", 31),
        ("0X_1f", 31),
        ("0xdeadbeef", 0xDEADBEEF),
        ("017", 15),
        ("0_17", 15),
        ("018", 18),
        ("017.5", 17.5),
        ("1e-400", 0),
        ("18446744073709551616", 2.0**64),
        ("inf", math.inf),
        ("+Inf", math.inf),
        ("-INF", -math.inf),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse(text) == NumberLiteral(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("-1d", -86400), ("250ms", 0.25), ("1y2w3d4h5m6s7ms", 33019506.007)],
)
def test_durations_are_numbers_of_seconds(text: str, seconds: float) -> None:
    assert parse(text) == NumberLiteral(seconds, True)


@given(st.floats())
def test_numbers_survive_printing(value: float) -> None:
    text = format_number(value)
    assert "e" not in text
    back = parse_number(text.lstrip("+-"))
    assert back == abs(value) or math.isnan(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\tb\\\"\a\b\f\n\r\v"', 'a\tb\\"\a\b\f\n\r\v'),
        (r"'it\'s \"" + "'", None),
        (r"'it\'s'", "it's"),
        (r"`a\n" + "\n`", "a\\n\n"),
        (r'"\x41\101é\U0001F600"', "AAé😀"),
        (r'"\xc3\xa9 \303\251"', "é é"),
        (r'"\xff"', "\udcff"),
        ("''", ""),
        ('"#no comment"', "#no comment"),
    ],
)
def test_strings(text: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="unknown escape sequence"):
            unquote(text)
    else:
        assert parse(text) == StringLiteral(value)


@given(st.text())
def test_strings_survive_quoting(value: str) -> None:
    if not any(0xD800 <= ord(character) < 0xE000 for character in value):
        assert unquote(quote(value)) == value
        assert quote(value).count("\n") == 0


@given(st.binary(max_size=12))
def test_any_bytes_survive_quoting(raw: bytes) -> None:
    value = raw.decode("utf-8", "surrogateescape")
    quoted = quote(value)
    assert quoted.encode("utf-8")
    assert unquote(quoted) == value
