"""YAML as people mean it: the core schema of YAML 1.2, duplicate keys refused, every value's line and column known.

PyYAML follows YAML 1.1, where ``on`` is true, ``1:30`` is 90 and ``010`` is 8, and where of two equal keys the last
wins silently. Here its parser only builds the tree of nodes; their meaning is ours. Of YAML 1.1, anchors and the merge
key ``<<`` are kept: what stands beside it wins, and of several merged mappings the first.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from tsdb.model.errors import ConfigError

Path = tuple[str | int, ...]
"""From the root to a value: keys of mappings and indices of sequences."""

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_OTHER = re.compile(r"[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|[-+]?[0-9][0-9_]*")
"""Text for which keys that want true, false or a number have a use."""
_MAX_DEPTH = 64
_MAX_NODES = 1_000_000
"""Aliases of aliases could otherwise grow without bound."""
_MAX_DIGITS = 64
"""Longer integers stay text: no key wants them, and Python refuses to convert very long ones."""


@dataclass(slots=True)
class Document:
    """A parsed file: its value, and where each part of it stands (line and column, from 1)."""

    name: str
    value: Any = None
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    """What scalars look like in the file, where that is not their value (a version ``1.10`` is a number here), or where
    YAML 1.1 takes them for something else than text."""

    def place(self, path: Path) -> str:
        """``file:line:column`` of a value, or of the nearest part around it."""
        while path and path not in self.marks:
            path = path[:-1]
        line, column = self.marks.get(path, (1, 1))
        return f"{self.name}:{line}:{column}"


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a document, to say what is wrong with it."""

    document: Document
    path: Path = ()

    def __str__(self) -> str:
        return self.document.place(self.path)

    def at(self, *steps: str | int) -> Place:
        """A part of this part."""
        return Place(self.document, (*self.path, *steps))

    def error(self, message: str, *steps: str | int) -> ConfigError:
        """The error to raise, about a part of this part."""
        return ConfigError(f"{self.document.place((*self.path, *steps))}: {message}")


def parse(text: str | bytes, name: str) -> Document:
    """Parses one YAML document. Raises ConfigError with file, line and column."""
    import yaml  # not needed by who has no config file

    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    document = Document(name)
    try:
        root = yaml.compose(text, loader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigError(f"{place}: {problem.problem or problem}") from None
    except yaml.YAMLError as problem:
        raise ConfigError(f"{name}: {problem}") from None
    if root is not None:
        document.value = _Builder(document).build(root, (), 0)
    return document


def plain(text: str) -> Any:
    """The value of a scalar that is written without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= _MAX_DIGITS:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Builder:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def build(self, node: Any, path: Path, depth: int) -> Any:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise self._error(node, "too deep or too large")
        self._document.marks[path] = _mark(node)
        kind = node.id
        if kind == "scalar":
            value = _scalar(node)
            if value is not None and (not isinstance(value, str) or (not node.style and _OTHER.fullmatch(value))):
                self._document.texts[path] = node.value
            return value
        if kind == "sequence":
            return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        made: dict[str, Any] = {}
        self._fill(node, path, depth, made)
        return made

    def _fill(self, node: Any, path: Path, depth: int, made: dict[str, Any]) -> None:
        """Keys of a mapping, then those of the mappings it merges that are not there yet."""
        merged = []
        here: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                raise self._error(key_node, "a key must be plain text")
            key = key_node.value
            if key == "<<" and not key_node.style:
                merged += self._mappings(value_node)
                continue
            if key in here:
                raise self._error(key_node, f'the key "{key}" stands twice in the same mapping: remove one')
            here.add(key)
            if key in made:
                continue
            made[key] = self.build(value_node, (*path, key), depth + 1)
            self._document.marks[(*path, key)] = _mark(key_node)
        for other in merged:
            if depth > _MAX_DEPTH:
                raise self._error(other, "too deep or too large")
            self._fill(other, path, depth + 1, made)

    def _mappings(self, node: Any) -> list[Any]:
        found = node.value if node.id == "sequence" else [node]
        for item in found:
            if item.id != "mapping":
                raise self._error(item, "map merge requires map or sequence of maps as the value")
        return list(found)

    def _error(self, node: Any, message: str) -> ConfigError:
        line, column = _mark(node)
        return ConfigError(f"{self._document.name}:{line}:{column}: {message}")


def _mark(node: Any) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _scalar(node: Any) -> Any:
    text: str = node.value
    if node.style in ("'", '"', "|", ">") or node.tag == "tag:yaml.org,2002:binary":
        return text
    return plain(text)
