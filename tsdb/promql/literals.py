"""Numbers and strings of PromQL, which are Go's: text to value and back."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_INT64_MAX: Final = 2**63 - 1
_OCTAL: Final = re.compile("0[0-7_]+", re.ASCII)
_BEYOND_UTF8: Final = "surrogateescape"
"""Go's strings hold any bytes. A byte that is no UTF-8 is kept as Python keeps it in file names: U+DC80 to U+DCFF."""


def parse_number(text: str) -> float:
    """Value of a token NUMBER: decimal, 0x hexadecimal, octal with a leading 0, underscores, inf and nan. Raises
    ValueError if the number is too large."""
    lower = text.lower()
    if lower == "inf":
        return math.inf
    if lower == "nan":
        return math.nan
    digits = lower.replace("_", "")
    if digits.startswith("0x"):
        value = int(digits, 16)
        if value > _INT64_MAX:
            raise ValueError(f'strconv.ParseFloat: parsing "{text}": value out of range')
        return float(value)
    if _OCTAL.fullmatch(lower):
        value = int(digits, 8)
        if value <= _INT64_MAX:
            return float(value)
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": value out of range')
    return number


def negative(value: float) -> float:
    """−value; NaN stays the one object that `parse_number` gives, so that trees with it are equal."""
    return value if math.isnan(value) else -value


def format_number(value: float) -> str:
    """The shortest decimal digits that give back `value`, never with an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"'])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


def unquote(text: str) -> str:
    """Value of a token STRING, quotes included: "…" and '…' with Go's escapes, `…` without any. Raises ValueError."""
    quote, inner = text[0], text[1:-1]
    if quote == "`" or "\\" not in inner:
        return inner

    def replace(found: re.Match[str]) -> str:
        simple, octal, byte, short, long, unknown = found.groups()
        if simple is not None:
            if simple == quote:
                return quote
            if simple in _SIMPLE:
                return _SIMPLE[simple]
            unknown = simple
        if unknown is not None:
            if unknown in "xuU01234567":
                digits = "0123456789abcdefABCDEF" if unknown in "xuU" else "01234567"
                illegal = next(character for character in text[found.end() + 1 :] if character not in digits)
                raise ValueError(f"illegal character U+{ord(illegal):04X} '{illegal}' in escape sequence")
            raise ValueError(f"unknown escape sequence U+{ord(unknown):04X} '{unknown}'")
        if octal is not None or byte is not None:
            code = int(octal, 8) if octal is not None else int(byte, 16)
            if code > 255:
                raise ValueError("escape sequence is an invalid Unicode code point")
            return chr(code) if code < 128 else chr(0xDC00 + code)
        code = int(short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ValueError("escape sequence is an invalid Unicode code point")
        return chr(code)

    value = _ESCAPE.sub(replace, inner)
    return value if value.isascii() else value.encode("utf-8", _BEYOND_UTF8).decode("utf-8", _BEYOND_UTF8)


_QUOTED: Final = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
_QUOTED.update({"\\": r"\\", '"': r"\""})


def is_label_name(text: str) -> bool:
    """Any text that is UTF-8 and not empty."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def quote(value: str) -> str:
    """`value` in double quotes as Go's %q writes it: `unquote` gives it back."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return '"' + "".join(map(_quote_character, value)) + '"'


def _quote_character(character: str) -> str:
    if character in _QUOTED:
        return _QUOTED[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"
