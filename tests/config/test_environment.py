"""Values from the environment: our form anywhere, Prometheus' in external labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsdb import config
from tsdb.model.environment import shell_expanded
from tsdb.model.errors import ConfigError

VARIABLES = {"NAME": "value", "EMPTY": "", "NUMBER": "5", "TIME": "7s", "YES": "true", "DOLLAR": "$NAME ${env:NAME}",
             "YAML": "{a: b}", "PASSWORD": "hunter2"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${env:NAME}", "value"),
        ("a ${env:NAME}-${env:NUMBER} b", "a value-5 b"),
        ("${env:NONE:-other}", "other"),
        ("${env:NONE:-}", ""),
        ("${env:EMPTY}", ""),
        ("${env:EMPTY:-other}", "other"),
        ("${env:DOLLAR}", "$NAME ${env:NAME}"),
        ("${env:YAML}", "{a: b}"),
        ("$NAME ${NAME} ${1} $1 $$", "$NAME ${NAME} ${1} $1 $$"),
    ],
)
def test_our_form(written: str, meant: str) -> None:
    made = config.parse(f"scrape_configs: [{{job_name: a, metrics_path: '{written}'}}]", environ=VARIABLES)
    assert made.scrape_configs[0].metrics_path == meant


def test_keys_of_any_type() -> None:
    made = config.parse("""
scrape_configs:
- job_name: a
  scrape_interval: ${env:TIME}
  scrape_timeout: ${env:TIME}
  sample_limit: ${env:NUMBER}
  honor_labels: ${env:YES}
  basic_auth: {username: "${env:NAME}", password: "${env:PASSWORD}"}
  relabel_configs: [{target_label: a, replacement: "${1}${env:NAME}"}]
""", environ=VARIABLES)
    job = made.scrape_configs[0]
    assert (job.scrape_interval, job.sample_limit, job.honor_labels) == (7000, 5, True)
    assert job.basic_auth is not None and job.basic_auth.password == "hunter2"
    assert job.relabel_configs[0].replacement == "${1}value"
    assert "hunter2" not in repr(made) + config.shown(made)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server: {listen: '${env:NONE}'}", "c.yml:1:10: the environment has no NONE: set it, or write"),
        ("server: {listen: '${env:a-b}'}", 'c.yml:1:10: "${env:a-b}" is not ${env:NAME} or'),
        ("server: {listen: '${env:NAME'}", 'c.yml:1:10: "${env:NAME" is not ${env:NAME} or'),
        ("query: {timeout: '${env:PASSWORD}'}", 'c.yml:1:9: query.timeout: "${env:PASSWORD}" is no duration'),
        ("query: {timeout: '${env:EMPTY}'}", 'c.yml:1:9: query.timeout: "${env:EMPTY}" is no duration'),
        ("server: {max_body_size: '${env:PASSWORD}'}", '"${env:PASSWORD}" is no size'),
        ("query: {max_samples: '${env:PASSWORD}'}", "expected an integer, got text"),
        ("storage: {wal: {sync: '${env:PASSWORD}'}}", "must be commit or interval or os"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    """Without what the variable holds: it may be a secret."""
    with pytest.raises(ConfigError) as raised:
        config.parse(text, "c.yml", environ=VARIABLES)
    assert message in str(raised.value) and "hunter2" not in str(raised.value)


def test_names_of_keys_are_not_expanded() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        config.parse('"${env:NAME}": 1', environ={"NAME": "global"})


@pytest.mark.parametrize(
    ("written", "meant", "missing"),
    [
        ("$NAME", "value", []), ("${NAME}", "value", []), ("a$NAME.b", "avalue.b", []), ("$NAMEX", "", ["NAMEX"]),
        ("$$NAME", "$NAME", []), ("$$$$", "$$", []), ("${NONE}x", "x", ["NONE"]), ("${EMPTY}", "", ["EMPTY"]),
        ("$", "$", []), ("$ a", "$ a", []), ("100%$", "100%$", []), ("$1x", "x", ["1"]), ("$-", "", ["-"]),
        ("${}a", "a", []), ("${NAME", "NAME", []), ("${$}", "$", []), ("${a b}", "", ["a b"]), ("é$é", "é$é", []),
    ],
)
def test_shell_form(written: str, meant: str, missing: list[str]) -> None:
    """As Go's os.Expand."""
    asked: list[str] = []

    def lookup(name: str) -> str:
        if not VARIABLES.get(name):
            asked.append(name)
        return VARIABLES.get(name, "")

    assert (shell_expanded(written, lookup), asked) == (meant, missing)


def test_external_labels(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("global:\n  external_labels:\n    a: $NAME\n    b: ${NONE}\n    c: ${env:NAME}\n    d: $DOLLAR")
    loaded = config.load(file, VARIABLES)
    labels = loaded.config.global_.external_labels
    assert labels == {"a": "value", "b": "", "c": "value", "d": "$NAME ${env:NAME}"}
    assert loaded.warnings == (f'{file}:4:5: the environment variable "NONE" is empty or missing',)
