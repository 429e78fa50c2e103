"""Rule files are read."""

from __future__ import annotations

from pathlib import Path

from tsdb.model.document import parse
from tsdb.model.errors import ConfigError
from tsdb.model.settings import build
from tsdb.rules.config import RuleFile

MAX_BYTES = 64 << 20


def load(path: Path) -> RuleFile:
    """Raises ConfigError with file, line and column."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise ConfigError(f"{path}: the rule file cannot be read: {problem.strerror or problem}") from problem
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: more than {MAX_BYTES >> 20} MiB: is it a rule file?")
    return load_text(content, str(path))


def load_text(content: str | bytes, name: str) -> RuleFile:
    """The rules in the text of a file with this name. Raises ConfigError."""
    return build(parse(content, name), RuleFile)
