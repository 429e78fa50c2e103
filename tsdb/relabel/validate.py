"""What Prometheus says of wrong relabeling rules, in its words."""

from __future__ import annotations

import re

import re2

from tsdb.model.errors import ConfigError
from tsdb.relabel.config import RelabelConfig

_DEFAULT = RelabelConfig()
_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LEGACY_TEMPLATE = r"(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+"
_WITH_TARGET = ("replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal")
_WITHOUT_REPLACEMENT = ("lowercase", "uppercase", "keepequal", "dropequal")


def is_label_name(name: str, legacy: bool) -> bool:
    """Any text that is UTF-8 and not empty; `legacy`: a plain name."""
    if legacy:
        return _LEGACY_NAME.fullmatch(name) is not None
    return bool(name) and (name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name))


def validate(rule: RelabelConfig, *, legacy_names: bool = False) -> None:
    """Raises ConfigError. (The expression itself is checked where it is compiled.)"""
    for name in rule.source_labels:
        if not is_label_name(name, legacy_names):
            raise ConfigError(f"{_quoted(name)} is not a valid label name")
    action, target, replacement = rule.action, rule.target_label, rule.replacement
    if not 0 <= rule.modulus < 2**64:
        raise ConfigError(f"modulus must be between 0 and 2^64-1, not {rule.modulus}")
    if rule.modulus == 0 and action == "hashmod":
        raise ConfigError("relabel configuration for hashmod requires non-zero modulus")
    if action in _WITH_TARGET and not target:
        raise ConfigError(f"relabel configuration for {action} action requires 'target_label' value")
    if action in _WITH_TARGET:
        templated = action == "replace" and "$" in target
        if not (_is_template(target, legacy_names) if templated else is_label_name(target, legacy_names)):
            raise ConfigError(f"{_quoted(target)} is invalid 'target_label' for {action} action")
    if action in _WITHOUT_REPLACEMENT and replacement != _DEFAULT.replacement:
        raise ConfigError(f"'replacement' can not be set for {action} action")
    if action == "labelmap" and not _is_template(replacement, legacy_names):
        raise ConfigError(f"{_quoted(replacement)} is invalid 'replacement' for {action} action")
    others_default = (rule.modulus, rule.separator, replacement) == (
        _DEFAULT.modulus, _DEFAULT.separator, _DEFAULT.replacement
    )
    if action in ("dropequal", "keepequal") and not (others_default and rule.regex == _DEFAULT.regex):
        raise ConfigError(f"{action} action requires only 'source_labels' and `target_label`, and no other fields")
    if action in ("labeldrop", "labelkeep") and not (others_default and not rule.source_labels and not target):
        raise ConfigError(f"{action} action requires only 'regex', and no other fields")


def _is_template(text: str, legacy: bool) -> bool:
    """A label name that may refer to groups; where names are any text, any text."""
    if legacy:
        return re2.fullmatch(_LEGACY_TEMPLATE, text) is not None  # `re` would need exponential time
    return is_label_name(text, legacy)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
