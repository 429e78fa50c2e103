"""Rule files: what is taken, and where mistakes are told to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsdb.model.errors import ConfigError
from tsdb.model.settings import Duration
from tsdb.rules import load, load_text

WHOLE = """
groups:
- name: jobs
  interval: 30s
  query_offset: 1m
  limit: 10
  labels: {team: a, level: 1}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
    labels: {team: b}
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 1m
    labels: {severity: page}
    annotations: {summary: "{{ $labels.instance }} is down"}
- name: nothing
"""


def test_every_key() -> None:
    jobs, nothing = load_text(WHOLE, "rules.yml").groups
    assert (jobs.interval, jobs.query_offset, jobs.limit) == (Duration.of("30s"), Duration.of("1m"), 10)
    recorded, alert = jobs.rules
    assert recorded.name == "job:up:sum" and jobs.labels_of(recorded) == {"team": "b", "level": "1"}
    assert (alert.for_, alert.keep_firing_for) == (Duration.of("5m"), Duration.of("1m"))
    assert alert.annotations == {"summary": "{{ $labels.instance }} is down"}
    assert nothing.rules == () and nothing.query_offset is None and nothing.interval == 0


@pytest.mark.parametrize(("text", "message"), [
    ("groups: [{name: ''}]", "r:1:11: Groupname must not be empty"),
    ("groups:\n- name: a\n- name: a", 'r:3:3: groupname: "a" is repeated in the same file'),
    ("groups:\n- name: a\n  rules:\n  - expr: up", "r:4:5: one of 'record' or 'alert' must be set"),
    ("groups:\n- name: a\n  rules:\n  - record: x\n    alert: y\n    expr: up",
     "r:5:5: only one of 'record' and 'alert' must be set"),
    ("groups:\n- name: a\n  rules:\n  - record: x", "r:4:5: rule \"x\": field 'expr' must be set in rule"),
    ("groups:\n- name: a\n  rules:\n  - record: x\n    expr: sum(", 'r:5:5: rule "x": could not parse expression'),
    ("groups:\n- name: a\n  rules:\n  - record: x\n    expr: up\n    for: 1m",
     "r:6:5: invalid field 'for' in recording rule"),
    ("groups:\n- name: a\n  rules:\n  - record: x\n    expr: up\n    annotations: {a: b}",
     "r:6:5: invalid field 'annotations' in recording rule"),
    ("groups:\n- name: a\n  rules:\n  - record: x{y=\"1\"}\n    expr: up", "r:4:5: braces present"),
    ("groups:\n- name: a\n  labels: {__name__: b}", "r:3:12: invalid label name: __name__"),
    ("groups:\n- name: a\n  interval: 1x", "r:3:3: groups[0].interval: "),
    ("groups:\n- name: a\n  rule: []", 'r:3:3: unknown key "groups[0].rule": did you mean "rules"?'),
    ("groups: [", "r:2:1: did not find expected node content"),
])
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_text(text, "r")
    assert str(found.value).startswith(message)


def test_an_empty_file_has_no_groups(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    assert load(tmp_path / "r").groups == ()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none")
