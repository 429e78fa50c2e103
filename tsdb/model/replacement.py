"""What replaces a match of a regex: texts with references to its groups, as Go's Regexp.Expand reads them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence


class Replacement:
    """``$1``, ``${1}``, ``$name``, ``${name}``, ``$$``. A name is as long as it can be: ``$1x`` is the group "1x".

    A group that is not there is empty; a dollar that begins no reference stays as it is.
    """

    def __init__(self, text: str, names: Mapping[str, int], groups: int) -> None:
        """`names` are the named groups, `groups` is how many there are besides the whole match, which is 0."""
        parts: list[str | int] = []
        before, dollar, rest = text.partition("$")
        parts.append(before)
        while dollar:
            if rest.startswith("$"):
                parts.append("$")
                rest = rest[1:]
            elif (name := _reference(rest)) is None:
                parts.append("$")
            else:
                number = _number(name)
                if number is None:
                    number = names.get(name, -1)
                if 0 <= number <= groups:
                    parts.append(number)
                rest = rest[len(name) + 2 * rest.startswith("{") :]
            before, dollar, rest = rest.partition("$")
            parts.append(before)
        self._parts = [part for part in parts if part != ""]
        self.constant: str | None = None
        """What it always is, where it refers to no group."""
        if all(isinstance(part, str) for part in self._parts):
            self.constant = "".join(map(str, self._parts))

    def expand(self, groups: Sequence[str]) -> str:
        """`groups[0]` is the whole match."""
        if len(self._parts) == 1:
            part = self._parts[0]
            return part if isinstance(part, str) else groups[part]
        return "".join([part if isinstance(part, str) else groups[part] for part in self._parts])


def _reference(text: str) -> str | None:
    """The name that a reference begins with, behind its dollar; None: it is none."""
    braced = text.startswith("{")
    end = start = int(braced)
    while end < len(text) and _in_name(text[end]):
        end += 1
    if end == start or (braced and text[end : end + 1] != "}"):
        return None
    return text[start:end]


def _in_name(char: str) -> bool:
    if char.isascii():
        return char.isalnum() or char == "_"
    category = unicodedata.category(char)
    return category[0] == "L" or category == "Nd"


def _number(name: str) -> int | None:
    if name.isascii() and name.isdigit() and len(name) < 9 and (name == "0" or name[0] != "0"):
        return int(name)
    return None
