"""Values of a config file that come from the environment: ``${env:NAME}`` and ``${env:NAME:-default}``.

Expanded after YAML is parsed and in values only, so that what a variable holds cannot become structure. The form
cannot collide with ``${1}`` of relabeling. Labels that Prometheus expands itself (`shell_expanded`) have its form,
``$NAME`` and ``${NAME}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tsdb.model.document import Document, Path, plain
from tsdb.model.errors import ConfigError

_OURS = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_BEGINNING = re.compile(r"\$\{env:[^}]*\}?")
_SHELL = re.compile(r"\$(?:\{([^}]*)\}|([*#$@!?\-0-9])|([A-Za-z_][A-Za-z0-9_]*)|(\{))")
"""As Go's os.Expand reads it: a name, one of the shell's special characters, or an open brace, which is eaten."""


class Expanded(str):
    """Text that came from the environment; `written` is what the file says, which may be shown."""

    written: str

    def __new__(cls, text: str, written: str) -> Expanded:
        made = super().__new__(cls, text)
        made.written = written
        return made

    def __repr__(self) -> str:
        return repr(self.written)


def expand(document: Document, environ: Mapping[str, str], shell: Path) -> list[str]:
    """Expands all values of a document, those under `shell` as a shell does it; warnings about variables that are
    missing there. Raises ConfigError."""
    expansion = _Expansion(document, environ, shell)
    document.value = expansion.value(document.value, ())
    return expansion.warnings


class _Expansion:
    def __init__(self, document: Document, environ: Mapping[str, str], shell: Path) -> None:
        self._document = document
        self._environ = environ
        self._shell = shell
        self.warnings: list[str] = []

    def value(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {name: self.value(item, (*path, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "$" not in value:
            return value
        if path[: len(self._shell)] == self._shell:
            return shell_expanded(value, self._lookup(path))
        if "${env:" not in value:
            return value
        for found in _BEGINNING.finditer(value):
            if not _OURS.match(value, found.start()):
                raise self._error(f'"{found[0]}" is not ${{env:NAME}} or ${{env:NAME:-default}}', path)
        text = _OURS.sub(self._variable(path), value)
        expanded = Expanded(text, value)
        self._document.texts[path] = expanded
        meant = plain(text)
        return expanded if isinstance(meant, str) or meant is None else meant

    def _variable(self, path: Path) -> Callable[[re.Match[str]], str]:
        def value(found: re.Match[str]) -> str:
            name, default = found[1], found[2]
            text = self._environ.get(name, "")
            if text or (name in self._environ and default is None):
                return text
            if default is None:
                raise self._error(f"the environment has no {name}: set it, or write ${{env:{name}:-default}}", path)
            return str(default)

        return value

    def _lookup(self, path: Path) -> Callable[[str], str]:
        """What a name stands for in a label that Prometheus expands; our form is known there, too."""
        ours = self._variable(path)

        def lookup(name: str) -> str:
            if found := _OURS.fullmatch(f"${{{name}}}"):
                return ours(found)
            if not self._environ.get(name):
                place = self._document.place(path)
                self.warnings.append(f'{place}: the environment variable "{name}" is empty or missing')
            return self._environ.get(name, "")

        return lookup

    def _error(self, message: str, path: Path) -> ConfigError:
        return ConfigError(f"{self._document.place(path)}: {message}")


def shell_expanded(text: str, lookup: Callable[[str], str]) -> str:
    """As Go's os.Expand, with Prometheus' ``$$`` for a ``$``; `lookup` is told names."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[3]
        if not name:
            return ""  # an empty or open brace
        return "$" if name == "$" else lookup(name)

    return _SHELL.sub(value, text)
