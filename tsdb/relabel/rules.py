"""Relabeling as Prometheus does it (model/relabel/relabel.go): each rule is compiled once into a function.

For each new series with metric_relabel_configs a `Relabeling` is called once: at a start, for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from tsdb.model.errors import ConfigError
from tsdb.model.replacement import Replacement
from tsdb.relabel.config import RelabelConfig
from tsdb.relabel.regex import Memo, Regex
from tsdb.relabel.validate import is_label_name, validate

Step = Callable[[dict[str, str]], bool]
"""Changes labels; False drops them."""


class Relabeling:
    """Rules, applied in order. Raises ConfigError for a rule that Prometheus refuses.

    Threads may share one. With `legacy_names` label names are plain ones, else any text that is not empty. As in
    Prometheus, ``labelmap`` checks no name that it makes: it may be empty, which the caller has to refuse.
    """

    def __init__(self, rules: Sequence[RelabelConfig], *, legacy_names: bool = False) -> None:
        self._rules = list(rules)
        self._steps: list[Step] = []
        for number, rule in enumerate(rules, 1):
            try:
                validate(rule, legacy_names=legacy_names)
                self._steps.append(_COMPILERS[rule.action](rule, legacy_names))
            except ConfigError as problem:
                raise ConfigError(f"relabeling rule {number}: {problem}") from None
        self._in_order = any(rule.action == "labelmap" for rule in rules)
        """Where labelmap gives two labels one name the last wins, and names are sorted."""

    def apply(self, labels: Mapping[str, str]) -> dict[str, str] | None:
        """The labels after all rules; None: dropped. Empty values are no labels."""
        current = self._begin(labels)
        for step in self._steps:
            if not step(current):
                return None
        return current

    def steps(self, labels: Mapping[str, str]) -> list[tuple[RelabelConfig, dict[str, str], bool]]:
        """After each rule, the labels and whether they are kept: none, and not, from the rule on that drops them."""
        current, kept, made = self._begin(labels), True, []
        for rule, step in zip(self._rules, self._steps, strict=True):
            kept = kept and step(current)
            made.append((rule, dict(current) if kept else {}, kept))
        return made

    def _begin(self, labels: Mapping[str, str]) -> dict[str, str]:
        current = dict(sorted(labels.items())) if self._in_order else dict(labels)
        if "" in current.values():
            current = {name: value for name, value in current.items() if value}
        return current


def _source(rule: RelabelConfig) -> Callable[[dict[str, str]], str]:
    """What the rule looks at."""
    names, separator = rule.source_labels, rule.separator
    if not names:
        return lambda labels: ""
    if len(names) == 1:
        name = names[0]
        return lambda labels: labels.get(name, "")
    return lambda labels: separator.join([labels.get(name, "") for name in names])


def _set(labels: dict[str, str], name: str, value: str) -> None:
    """Last in order, as in Prometheus' builder, where what is set comes behind what was there."""
    labels.pop(name, None)
    if value:
        labels[name] = value


def _keep(rule: RelabelConfig, legacy_names: bool) -> Step:
    matches, source = Regex(rule.regex).matches, _source(rule)
    if len(rule.source_labels) == 1:  # the most frequent rule of all
        name = rule.source_labels[0]
        return lambda labels: matches(labels.get(name, ""))
    return lambda labels: matches(source(labels))


def _drop(rule: RelabelConfig, legacy_names: bool) -> Step:
    matches, source = Regex(rule.regex).matches, _source(rule)
    if len(rule.source_labels) == 1:
        name = rule.source_labels[0]
        return lambda labels: not matches(labels.get(name, ""))
    return lambda labels: not matches(source(labels))


def _keepequal(rule: RelabelConfig, legacy_names: bool) -> Step:
    source, target = _source(rule), rule.target_label
    return lambda labels: labels.get(target, "") == source(labels)


def _dropequal(rule: RelabelConfig, legacy_names: bool) -> Step:
    source, target = _source(rule), rule.target_label
    return lambda labels: labels.get(target, "") != source(labels)


def _replace(rule: RelabelConfig, legacy_names: bool) -> Step:
    regex, source = Regex(rule.regex), _source(rule)
    target = Replacement(rule.target_label, regex.names, regex.group_count)
    replacement = Replacement(rule.replacement, regex.names, regex.group_count)

    def result(value: str) -> tuple[str, str] | None:
        """The label that is set, and its value."""
        groups = regex.groups(value)
        if groups is None:
            return None
        name = target.expand(groups)
        return (name, replacement.expand(groups)) if is_label_name(name, legacy_names) else None

    made = Memo(result).__getitem__ if regex.slow else result

    def replace(labels: dict[str, str]) -> bool:
        found = made(source(labels))
        if found is not None:
            _set(labels, *found)
        return True

    name = target.constant
    if name is None or not is_label_name(name, legacy_names):
        return replace
    if not rule.source_labels and (found := result("")) is not None:
        value = found[1]

        def assign(labels: dict[str, str]) -> bool:
            _set(labels, name, value)
            return True

        return assign
    if rule.regex == "(.*)" and rule.replacement in ("$1", "${1}"):

        def copy(labels: dict[str, str]) -> bool:
            _set(labels, name, source(labels))
            return True

        return copy
    return replace


def _lowercase(rule: RelabelConfig, legacy_names: bool) -> Step:
    return _mapped(rule, lower)


def _uppercase(rule: RelabelConfig, legacy_names: bool) -> Step:
    return _mapped(rule, upper)


def _hashmod(rule: RelabelConfig, legacy_names: bool) -> Step:
    modulus = rule.modulus

    def bucket(value: str) -> str:
        digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
        return str(int.from_bytes(digest[8:], "big") % modulus)

    return _mapped(rule, bucket)


def _mapped(rule: RelabelConfig, function: Callable[[str], str]) -> Step:
    source, target = _source(rule), rule.target_label

    def mapped(labels: dict[str, str]) -> bool:
        _set(labels, target, function(source(labels)))
        return True

    return mapped


def _labelmap(rule: RelabelConfig, legacy_names: bool) -> Step:
    regex = Regex(rule.regex)
    replacement = Replacement(rule.replacement, regex.names, regex.group_count)

    def renamed(name: str) -> str | None:
        return regex.substitute(name, replacement.expand) if regex.matches(name) else None

    new_name = Memo(renamed)

    def labelmap(labels: dict[str, str]) -> bool:
        for name, value in list(labels.items()):
            new = new_name[name]
            if new is not None:
                _set(labels, new, value)
        return True

    return labelmap


def _labeldrop(rule: RelabelConfig, legacy_names: bool) -> Step:
    return _names(Regex(rule.regex).matches, dropped=True)


def _labelkeep(rule: RelabelConfig, legacy_names: bool) -> Step:
    return _names(Regex(rule.regex).matches, dropped=False)


def _names(matches: Callable[[str], bool], dropped: bool) -> Step:
    def names(labels: dict[str, str]) -> bool:
        for name in [name for name in labels if matches(name) is dropped]:
            del labels[name]
        return True

    return names


def lower(text: str) -> str:
    """As Go's strings.ToLower: character by character, so that no final sigma is special."""
    return text.lower() if text.isascii() else "".join(map(_lower, text))


def upper(text: str) -> str:
    """As Go's strings.ToUpper: character by character, one for one: ß stays."""
    return text.upper() if text.isascii() else "".join(map(_upper, text))


def _lower(char: str) -> str:
    return char.lower()[0]  # only İ has two: i and a dot above, of which Go takes the first


def _upper(char: str) -> str:
    """Where Unicode's full mapping has several characters, its simple one is the title case's, if that is one."""
    for made in (char.upper(), char.title()):
        if len(made) == 1:
            return made
    return char


_COMPILERS: Mapping[str, Callable[[RelabelConfig, bool], Step]] = {
    "replace": _replace,
    "lowercase": _lowercase,
    "uppercase": _uppercase,
    "keep": _keep,
    "drop": _drop,
    "keepequal": _keepequal,
    "dropequal": _dropequal,
    "hashmod": _hashmod,
    "labelmap": _labelmap,
    "labeldrop": _labeldrop,
    "labelkeep": _labelkeep,
}
