"""Relabeling: a table of cases, checked against the real Prometheus too, and a slow obvious twin."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import re2
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.processes import free_port, wait_until
from tests.relabel.cases import CASES, WRONG, Case, replace
from tsdb.model.errors import ConfigError
from tsdb.relabel.config import Action, RelabelConfig
from tsdb.relabel.rules import Relabeling


def rules(plain: Any) -> list[RelabelConfig]:
    return msgspec.convert(plain, list[RelabelConfig])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    relabeling = Relabeling(rules(case.rules))
    before = dict(case.labels)
    assert relabeling.apply(case.labels) == case.expected
    assert relabeling.apply(case.labels) == case.expected, "again, remembered"
    assert case.labels == before, "the input is not changed"
    steps = relabeling.steps(case.labels)
    assert [rule for rule, _, _ in steps] == rules(case.rules)
    if steps:
        assert steps[-1][1:] == ((case.expected, True) if case.expected is not None else ({}, False))


@pytest.mark.peer
def test_prometheus_agrees_with_the_table(peer: Callable[[str], Path], start: Start, tmp_path: Path) -> None:
    jobs = [{
        "job_name": case.name,
        "static_configs": [{"targets": ["127.0.0.1:1"], "labels": case.labels}],
        "relabel_configs": list(case.rules),
    } for case in CASES]
    config = {"global": {"scrape_interval": "1h", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config, allow_unicode=True))
    port = free_port()
    server = start(
        [peer("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], port,
    ).wait_ready()

    def found() -> dict[str, dict[str, str] | None]:
        data = server.client.data("targets")
        active = {target["scrapePool"]: target["labels"] for target in data["activeTargets"]}
        dropped = {target["scrapePool"]: None for target in data["droppedTargets"]}
        return {**active, **dropped}

    wait_until(lambda: len(found()) == len(CASES), "all targets are discovered")
    given = found()
    for case in CASES:
        theirs = given[case.name]
        if theirs is not None:
            theirs = {name: value for name, value in theirs.items() if name not in ("job", "instance")}
        ours = case.expected
        if ours is not None:
            ours = {name: value for name, value in ours.items() if not name.startswith("__")}
        assert theirs == ours, case.name


@pytest.mark.parametrize(("rule", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_rule(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^relabeling rule 2: {re.escape(message)}$"):
        Relabeling(rules([replace("a", None, "b"), rule]))


@pytest.mark.parametrize("regex", ["(", "a{2,1}", "(?=x)", r"\C", "x**", "[b-a]", "*"])
def test_wrong_regex(regex: str) -> None:
    with pytest.raises(ConfigError, match=f'"{re.escape(regex)}" is not a regular expression: '):
        Relabeling(rules([replace("a", regex, "b")]))


@pytest.mark.peer
def test_prometheus_refuses_the_same(peer: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    for rule, message in WRONG:
        path.write_text(yaml.safe_dump({"scrape_configs": [{"job_name": "x", "relabel_configs": [rule]}]}))
        ran = subprocess.run([peer("promtool"), "check", "config", path], capture_output=True, text=True, check=False)
        assert ran.returncode != 0
        assert message in ran.stderr


LEGACY = [("label", True), ("label${1}", True), ("${1}", True), ("$1", True), ("asd$2asd", True), ("_${1}_", True),
          ("foo${bar}foo", True), ("-label", False), ("${", False), ("$", False), ("${}", False), ("foo${", False),
          ("-foo${1}bar-", False), ("0${3}", False), ("a" * 5000 + "-$1", False)]


@pytest.mark.parametrize(("target", "valid"), LEGACY, ids=lambda value: str(value)[:20])
def test_plain_names(target: str, valid: bool) -> None:
    rule = rules([replace("a", "(.)(.*)", target)])
    Relabeling(rule)
    if valid:
        Relabeling(rule, legacy_names=True)
    else:
        with pytest.raises(ConfigError, match="is invalid 'target_label' for replace action"):
            Relabeling(rule, legacy_names=True)


def test_a_name_that_is_not_plain_is_not_set() -> None:
    rule = rules([replace("a", "(.*)", "$1", "x")])
    assert Relabeling(rule).apply({"a": "b c"}) == {"a": "b c", "b c": "x"}
    assert Relabeling(rule, legacy_names=True).apply({"a": "b c"}) == {"a": "b c"}


def twin(rule: RelabelConfig, labels: dict[str, str]) -> dict[str, str] | None:
    """One rule, said as plainly as it can be."""
    value = rule.separator.join(labels.get(name, "") for name in rule.source_labels)
    options = re2.Options()
    options.log_errors = False
    pattern = re2.compile(f"^(?s:{rule.regex})$", options)
    made = dict(labels)
    match rule.action:
        case "keep" | "drop":
            return made if (pattern.search(value) is not None) == (rule.action == "keep") else None
        case "keepequal" | "dropequal":
            return made if (labels.get(rule.target_label, "") == value) == (rule.action == "keepequal") else None
        case "replace":
            found = pattern.search(value)
            if found is not None and (target := expand(rule.target_label, found)):
                made[target] = expand(rule.replacement, found)
        case "hashmod":
            made[rule.target_label] = str(int(hashlib.md5(value.encode()).hexdigest()[16:], 16) % rule.modulus)
        case "labelmap":
            for name in sorted(labels):
                if (found := pattern.search(name)) is not None:
                    made[expand(rule.replacement, found)] = labels[name]
        case "labeldrop" | "labelkeep":
            matching = {name for name in labels if pattern.search(name) is not None}
            made = {name: labels[name] for name in labels if (name in matching) == (rule.action == "labelkeep")}
        case "lowercase" | "uppercase":
            made[rule.target_label] = value.lower() if rule.action == "lowercase" else value.upper()
    return {name: value for name, value in made.items() if value}


def expand(template: str, found: Any) -> str:
    groups: Mapping[str, str] = {str(number): found.group(number) or "" for number in range(found.re.groups + 1)}
    return re.sub(r"\$\{([0-9]+)\}|\$([0-9]+)", lambda group: groups.get(group[1] or group[2], ""), template)


NAMES = st.sampled_from(["a", "ab", "b", "__tmp"])
REGEXES = st.lists(
    st.sampled_from(["a", "b", "ab", ".*", ".+", "(.*)", "(.+)", "|", r"\.", ".", "(a|b)", "(?:", ")", "(", "^", "$",
                     "ä", "[ab]", "?", "\n", "(?i)"]), max_size=5,
).map("".join)
VALUES = st.text("ab.ä\nA", max_size=4)
TEMPLATES = st.sampled_from(["$1", "${1}", "x$1", "x", "", "$0", "$2$1", "$3"])


def valid(rule: RelabelConfig) -> bool:
    try:
        Relabeling([rule])
    except ConfigError:
        return False
    return True


@st.composite
def any_rule(draw: st.DrawFn) -> RelabelConfig:
    action = draw(st.sampled_from(get_args(Action)))
    plain: dict[str, Any] = {"action": action}
    if action not in ("labelmap", "labeldrop", "labelkeep"):
        plain["source_labels"] = draw(st.lists(NAMES, max_size=3))
    if action in ("replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep"):
        plain["regex"] = draw(REGEXES)
    if action in ("replace", "labelmap"):
        plain["replacement"] = draw(TEMPLATES)
    if action in ("replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"):
        plain["target_label"] = draw(TEMPLATES if action == "replace" else NAMES)
    if action == "hashmod":
        plain["modulus"] = draw(st.integers(1, 2**64 - 1))
    return msgspec.convert(plain, RelabelConfig)


@given(st.lists(any_rule().filter(valid), min_size=1, max_size=4), st.dictionaries(NAMES, VALUES))
@example(rules([replace("a", ".+a.+", "x", "y")]), {"a": "aba"})
@example(rules([{"action": "labelmap", "regex": "a|ab", "replacement": "c$0"}]), {"b": "1", "a": "2", "ab": "3"})
def test_twin(some: list[RelabelConfig], labels: dict[str, str]) -> None:
    # else a match may be a part of the name: the table has that
    assume(not any(rule.action == "labelmap" and ")" in rule.regex for rule in some))
    expected: dict[str, str] | None = {name: value for name, value in labels.items() if value}
    for rule in some:
        if expected is not None:
            expected = twin(rule, expected)
    assert Relabeling(some).apply(labels) == expected
