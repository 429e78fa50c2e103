"""Numbers and times in JSON, against slow twins."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsdb.server.api.json_result import time_text, value_text


def value_twin(value: float) -> str:
    """Python's repr has the shortest digits too; the rest is where the point goes."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0")
    minus = "-" if sign else ""
    if not text:
        return f"{minus}0"
    stripped = text.rstrip("0")
    exponent += len(text) - len(stripped)
    scale = len(stripped) - 1 + exponent
    if -6 <= scale < 21:
        return minus + f"{Decimal((0, tuple(map(int, stripped)), exponent)):f}"
    rest = f".{stripped[1:]}" if stripped[1:] else ""
    return f"{minus}{stripped[0]}{rest}e{'-' if scale < 0 else '+'}{abs(scale):02d}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (-1.5, "-1.5"), (0.1, "0.1"), (1e20, "100000000000000000000"),
        (1e21, "1e+21"), (1.5e300, "1.5e+300"), (1e-6, "0.000001"), (1e-7, "1e-07"), (123456789.125, "123456789.125"),
        (1.2345e-10, "1.2345e-10"), (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2.0**53, "9007199254740992"), (2.0**53 - 1, "9007199254740991"), (2.0**54 + 4, "18014398509481988"),
        (1 / 3, "0.3333333333333333"), (float("nan"), "NaN"), (float("inf"), "+Inf"), (float("-inf"), "-Inf"),
        (9.5367431640625e-07, "9.5367431640625e-07"), (1234567.0, "1234567"), (1e22, "1e+22"), (2.2250738585072014e-308,
        "2.2250738585072014e-308"),
    ],
)
def test_values(value: float, text: str) -> None:
    assert value_text(value) == text == value_twin(value)


@settings(max_examples=2000)
@given(st.one_of(st.floats(), st.integers(0, 2**64 - 1).map(lambda b: struct.unpack("<d", struct.pack("<Q", b))[0]),
                 st.integers(-(2**60), 2**60).map(float), st.decimals(allow_nan=False, places=3).map(float)))
@example(9007199254740993.0)
def test_values_agree_with_their_twin(value: float) -> None:
    assert value_text(value) == value_twin(value)


@pytest.mark.parametrize("exponent", range(-1074, 1024, 7))
def test_powers_of_two(exponent: int) -> None:
    for value in (2.0**exponent, -(2.0**exponent) * 1.5):
        assert value_text(value) == value_twin(value)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0"), (1, "0.001"), (-1, "-0.001"), (1435781430781, "1435781430.781"), (1000, "1"), (1500, "1.500"),
     (-5250, "-5.250")],
)
def test_times(ms: int, text: str) -> None:
    assert time_text(ms) == text
