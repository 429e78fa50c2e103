"""The config file: what is read, and what is refused with which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsdb import config
from tsdb.model.document import parse as parse_yaml
from tsdb.model.durations import format_duration, parse_duration
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Bytes
from tsdb.server.config import QueryConfig


def test_everything_has_a_default() -> None:
    made = config.parse("")
    assert made == config.Config()
    assert made.server.listen == "127.0.0.1:9090"
    assert made.storage.tsdb.path == "data"
    assert made.query.timeout.seconds == 120


def test_a_file() -> None:
    made = config.parse("""
global:
  scrape_interval: 15s
  external_labels: {zone: on, version: 1.10, empty: }
scrape_configs:
- job_name: 1:30
  scrape_interval: 30s
  static_configs:
  - targets: [a:1, "b:2"]
    labels: {env: prod}
- job_name: other
query: {max_samples: 1000, timeout: }
server: {max_body_size: 32MiB}
""")
    assert made.global_.external_labels == {"zone": "on", "version": "1.10", "empty": ""}
    first, other = made.scrape_configs
    assert first.job_name == "1:30"
    assert first.static_configs[0].targets == ("a:1", "b:2")
    assert (first.interval(made.global_), first.timeout(made.global_)) == (30_000, 10_000)
    assert (other.interval(made.global_), other.timeout(made.global_)) == (15_000, 10_000)
    assert made.query == QueryConfig(max_samples=1000)
    assert made.server.max_body_size == 32 << 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("global: {scrape_intervall: 5s}",
         '1:10: unknown key "global.scrape_intervall": did you mean "scrape_interval"?'),
        ("foo: 1", '1:1: unknown key "foo": known here: alerting, downsampling, global, otlp, query, remote_read,'),
        ("global:\n  scrape_interval: 5", '2:3: global.scrape_interval: not a valid duration string: "5"'),
        ("global:\n  scrape_interval: 5 s", '2:3: global.scrape_interval: not a valid duration string: "5 s"'),
        ("query: {}\nquery: {}", '2:1: the key "query" stands twice in the same mapping: remove one'),
        ("storage: {wal: {sync: never}}", "1:17: storage.wal.sync: must be commit or interval or os"),
        ("query: {max_samples: many}", "1:9: query.max_samples: expected an integer, got text"),
        ("server: [", "did not find expected node content"),
        ("- 1", "1:1: expected a mapping, got a list"),
        ("scrape_configs: [{}]", '1:18: scrape_configs[0]: the key "job_name" is missing'),
        ("scrape_configs: [{job_name: a}, {job_name: a}]", 'found multiple scrape configs with job name "a"'),
        ("scrape_configs: [{job_name: ''}]", "job_name is empty"),
        ("scrape_configs: [{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}]",
         "scrape timeout greater than scrape interval for scrape config with job name"),
        ("scrape_configs: [{job_name: a, static_configs: [{targets: ['http://a:1']}]}]",
         '1:60: "http://a:1" is not a valid hostname: give host:port'),
        ("scrape_configs: [{job_name: a, scheme: ftp}]", "scrape_configs[0].scheme: must be http or https"),
        ("server: {max_body_size: 5x}", 'not a valid size: "5x"'),
        ("a: !!python/object/apply:os.system [ls]", 'unknown key "a"'),
        ("? [a]\n: b", "1:3: a key must be plain text"),
        ("a: &x [*x]", "too deep or too large"),
        ("\x00", "config"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.parse(text, "config")
    assert str(raised.value).startswith("config")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("global: {scrape_intervall: 1s}", 'did you mean "scrape_interval"?'),
        ("scrape_configs: [{job_name: a, targets: [a:1]}]", "it belongs into scrape_configs[].static_configs[]"),
        ("scrape_interval: 5s", "it belongs into global or scrape_configs[]"),
        ("scrape_configs: [{job_name: a, static_config: []}]", 'did you mean "static_configs"?'),
        ("scrape_configs: [{job_name: a, relabel_configs: [{foo: 1}]}]", "known here: action, modulus, regex"),
        ("scrape_config: []", 'did you mean "scrape_configs"?'),
        ("storage: {retention: {time: 5d}}", "it belongs into storage.tsdb"),
    ],
)
def test_unknown_keys_are_told_where_to_go(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        config.parse(text)


MERGES = """
x: &x {a: 1, b: 1}
y: &y {b: 2, c: 2, <<: *x}
one: {<<: *x, b: 3}
other: {b: 3, <<: *x}
several: {<<: [*x, *y], d: 4}
again: {<<: *x, <<: *y}
inner: {<<: {a: 5}, e: &list [1, 2], f: *list}
text: {"<<": a}
"""


def test_merges_and_anchors() -> None:
    """What stands beside the merge key wins, wherever it stands, and the first of several."""
    made = parse_yaml(MERGES, "x").value
    assert made["y"] == {"b": 2, "c": 2, "a": 1}
    assert made["one"] == made["other"] == {"a": 1, "b": 3}
    assert made["several"] == {"a": 1, "b": 1, "c": 2, "d": 4}
    assert made["again"] == {"a": 1, "b": 1, "c": 2}
    assert made["inner"] == {"a": 5, "e": [1, 2], "f": [1, 2]}
    assert made["text"] == {"<<": "a"}


@pytest.mark.parametrize("text", ["a: &a {<<: *a}", "a: &a {b: {<<: *a}}", "a: &a [*a]"])
def test_what_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x:1:\d+: too deep or too large"):
        parse_yaml(text, "x")


def test_aliases_of_aliases_do_not_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsdb.model.document._MAX_NODES", 1000)
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="too deep or too large"):
        parse_yaml("\n".join(lines), "x")


def test_a_key_without_a_value_has_its_default_but_for_rules() -> None:
    """In a relabeling rule an empty key is an empty text, as in Prometheus: another meaning there could select more."""
    job = config.parse("""
scrape_configs:
- job_name: a
  metrics_path:
  honor_timestamps:
  relabel_configs: [{source_labels: [a], regex: , separator: , replacement: , target_label: b}]
""").scrape_configs[0]
    rule = job.relabel_configs[0]
    assert (rule.regex, rule.separator, rule.replacement) == ("", "", "")
    assert (job.metrics_path, job.honor_timestamps) == ("/metrics", False)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config file: No such file or directory"):
        config.load(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", "on"), ("yes", "yes"), ("1:30", "1:30"), ("010", 10), ("0o10", 8), ("1e3", 1000.0), ("true", True),
     ("~", None), ("'5'", "5"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"), ("-5", -5), (".5", 0.5), ("=", "="),
     ("<<", "<<")],
)
def test_scalars(text: str, value: object) -> None:
    made = parse_yaml(text, "x").value
    assert made == value and type(made) is type(value)


@given(st.integers(0, 9 * 10**12))
def test_durations_print_back(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("1KB", 1024), ("1.5MiB", 1572864), ("512B", 512), ("1MB512KB", 1572864), ("1KiB1B", 1025), ("0", 0),
     ("2TB", 2 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert Bytes.of(text) == size
    assert Bytes.of(str(Bytes(size))) == size


def test_every_key_is_described() -> None:
    table = config.all_keys()
    assert table and not [key.name for key in table if not key.doc]
