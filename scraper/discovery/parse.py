"""Target groups in JSON or YAML, as files and other places give them: ``[{"targets": [...], "labels": {...}}]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from scraper.discovery.groups import TargetGroup
from tsdb.model import document
from tsdb.model.errors import ConfigError

ADDRESS = "__address__"


def parse_json(content: bytes, name: str, labels: dict[str, str]) -> list[TargetGroup]:
    """The groups, with `labels` added to each. Their sources are ``name:0``, ``name:1``, … Raises ConfigError."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as problem:
        raise ConfigError(f"{name}: not JSON: {problem}") from None

    def place(path: document.Path) -> str:
        return name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)

    return _Reader(name, place, lambda path, scalar: scalar).groups(value, labels)


def parse_yaml(content: bytes, name: str, labels: dict[str, str]) -> list[TargetGroup]:
    """As `parse_json`. A scalar is the text that stands there, whatever else it may mean: 1, true."""
    parsed = document.parse(content, name)
    return _Reader(name, parsed.place, lambda path, scalar: parsed.texts.get(path, scalar)).groups(parsed.value, labels)


class _Reader:
    def __init__(self, name: str, place: Callable[[document.Path], str],
                 text: Callable[[document.Path, Any], Any]) -> None:
        self._name = name
        self._place = place
        self._as_text = text

    def groups(self, value: Any, labels: dict[str, str]) -> list[TargetGroup]:
        made = []
        for number, group in enumerate(self._list(value, ())):
            path = (number,)
            if group is None:
                raise ConfigError(f"{self._place(path)}: nil target group item found")
            fields = self._mapping(group, path)
            unknown = next((field for field in fields if field not in ("targets", "labels")), None)
            if unknown is not None:
                raise ConfigError(f'{self._place((number, unknown))}: unknown field "{unknown}": a group has targets '
                                  "and labels")
            at = (number, "targets")
            targets = tuple({ADDRESS: self._text(target, (*at, index))}
                            for index, target in enumerate(self._list(fields.get("targets"), at)))
            at = (number, "labels")
            own = {self._label(name, at): self._text(text, (*at, name))
                   for name, text in self._mapping(fields.get("labels"), at).items()}
            made.append(TargetGroup(f"{self._name}:{number}", targets, own | labels))
        return made

    def _list(self, value: Any, path: document.Path) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise ConfigError(f"{self._place(path)}: must be a list")
        return value

    def _mapping(self, value: Any, path: document.Path) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ConfigError(f"{self._place(path)}: must be a mapping")
        return value

    def _label(self, name: str, path: document.Path) -> str:
        if not name:
            raise ConfigError(f'{self._place(path)}: "" is not a valid label name')
        return name

    def _text(self, value: Any, path: document.Path) -> str:
        if isinstance(value, str):
            return value
        text = "" if value is None else self._as_text(path, value)
        if not isinstance(text, str):
            raise ConfigError(f"{self._place(path)}: must be text")
        return text
