"""``tsdb check config``: what it says, and exit codes as promtool's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tsdb.cli import cli

FILES = {
    "good.yml": "scrape_configs: [{job_name: a, static_configs: [{targets: ['a:1']}]}]",
    "unknown.yml": "scrape_configs: [{job_nam: a}]",
    "no_rules.yml": "rule_files: [none.yml]",
    "rules.yml": "rule_files: ['none*.yml', 'group.rules']",
    "group.rules": "groups: [{name: a, rules: [{record: x, expr: y}]}]",
    "no_token.yml": "scrape_configs: [{job_name: a, bearer_token_file: none}]",
    "no_ca.yml": "scrape_configs: [{job_name: a, tls_config: {ca_file: none}}]",
    "no_cert.yml": "scrape_configs: [{job_name: a, tls_config: {cert_file: none, key_file: good.yml}}]",
    "no_sd.yml": "scrape_configs: [{job_name: a, file_sd_configs: [{files: [none.yml, 'none*.json']}]}]",
    "sd.yml": "scrape_configs: [{job_name: a, file_sd_configs: [{files: [targets.json]}]}]",
    "targets.json": '[{"targets": ["a:1", "b:2"], "labels": {"x": "y"}}]',
    "sd_url.yml": "scrape_configs: [{job_name: a, file_sd_configs: [{files: [url.yaml]}]}]",
    "url.yaml": "- targets: ['a:1', 'http://b']",
    "sd_key.yml": "scrape_configs: [{job_name: a, file_sd_configs: [{files: [key.yaml]}]}]",
    "key.yaml": "- target: ['a:1']",
    "alert_sd.yml": "alerting: {alertmanagers: [{file_sd_configs: [{files: [key.yaml]}]}]}",
    "long.yml": "scrape_configs: [{job_name: a, scrape_interval: 5m}]",
    "include.yml": "scrape_config_files: [unknown.yml]",
    "agent.yml": "rule_files: [none.yml]",
    "dropped.yml": "scrape_configs: [{job_name: a, static_configs: [{targets: ['']}], "
                   "relabel_configs: [{action: drop}]}]",
}

CASES = [
    (["good.yml"], 0, "good.yml is a valid config file"),
    (["unknown.yml"], 1, 'unknown.yml:1:19: unknown key "scrape_configs[0].job_nam": did you mean "job_name"?'),
    (["good.yml", "unknown.yml"], 1, "good.yml is a valid config file"),
    (["none.yml"], 1, "cannot read the config file: No such file"),
    (["no_rules.yml"], 1, "does not point to an existing file"),
    (["--syntax-only", "no_rules.yml"], 0, "rule_files: not built yet: no rule is evaluated"),
    (["rules.yml"], 0, "1 rule files found"),
    (["no_token.yml"], 1, "error checking authorization credentials or bearer token file"),
    (["--syntax-only", "no_token.yml"], 0, "valid"),
    (["no_ca.yml"], 0, 'WARNING: scrape job "a": tls_config.ca_file: "'),
    (["no_cert.yml"], 1, "error checking client cert file"),
    (["no_sd.yml"], 0, 'for file_sd in scrape job "a" does not exist'),
    (["sd.yml"], 0, "valid"),
    (["sd_url.yml"], 1, 'url.yaml: job "a": instance 1 in group 0: "http://b" is not a valid hostname'),
    (["sd_key.yml"], 1, 'key.yaml:1:3: unknown key "[0].target": did you mean "targets"?'),
    (["alert_sd.yml"], 1, 'did you mean "targets"?'),
    (["long.yml"], 0, "valid"),
    (["--lint=all", "long.yml"], 0, "too long scrape interval found"),
    (["--lint=too-long-scrape-interval", "--lint-fatal", "long.yml"], 3, "job: a, interval: 5m"),
    (["--lint=none", "--lint-fatal", "long.yml"], 0, "valid"),
    (["--lint=all", "--lint-fatal", "--query.lookback-delta=6m", "long.yml"], 0, "valid"),
    (["--lint=nothing", "good.yml"], 0, 'unknown lint option: "nothing"'),
    (["include.yml"], 1, 'unknown.yml:1:19: unknown key'),
    (["--agent", "agent.yml"], 1, "field rule_files is not allowed in agent mode"),
    (["--agent", "good.yml"], 0, "valid"),
    (["dropped.yml"], 0, "valid"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("check")
    for name, text in FILES.items():
        (made / name).write_text(text)
    return made


def check(folder: Path, arguments: list[str]) -> Result:
    files = [str(folder / argument) if argument.endswith(".yml") else argument for argument in arguments]
    return CliRunner().invoke(cli, ["check", "config", *files])


@pytest.mark.parametrize(("arguments", "code", "says"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_says_and_exits(arguments: list[str], code: int, says: str, folder: Path) -> None:
    done = check(folder, arguments)
    assert (done.exit_code, says in done.output) == (code, True), done.output


@pytest.mark.peer
def test_exits_as_promtool(folder: Path, peer: Callable[[str], Path]) -> None:
    promtool = peer("promtool")
    for arguments, code, _ in CASES:
        done = subprocess.run([promtool, "check", "config", *arguments], capture_output=True, cwd=folder, timeout=60)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)


def test_no_files_is_wrong_use() -> None:
    done = CliRunner().invoke(cli, ["check", "config"])
    assert done.exit_code == 2 and "Missing argument" in done.output
