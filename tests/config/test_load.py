"""Files: what they include, how names in them are meant, what is not built yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest

from tsdb import config
from tsdb.model import document, settings
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Section, key


def test_names_of_files_are_joined_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "c.yml").write_text("""
global: {scrape_failure_log_file: fail.log}
rule_files: [rules/*.yml, /absolute/a.yml]
scrape_configs:
- job_name: a
  tls_config: {ca_file: ./tls/../ca.pem, cert_file: a, key_file: b}
  basic_auth: {username: u, password_file: pw}
  file_sd_configs: [{files: [sd/*.json]}]
  http_headers: {A: {files: [h]}}
- {job_name: b, bearer_token_file: tok}
- {job_name: c, oauth2: {client_id: a, token_url: b, client_secret_file: s}}
remote_write: [{url: "http://a", tls_config: {ca_file: x}}]
""")
    for name, prefix in (("etc/c.yml", "etc/"), (str(folder / "c.yml"), f"{folder}/")):
        made = config.load(Path(name)).config
        first, second, third = made.scrape_configs
        assert made.rule_files == (f"{prefix}rules/*.yml", "/absolute/a.yml")
        assert first.tls_config.ca_file == f"{prefix}ca.pem"
        assert first.scrape_failure_log_file == f"{prefix}fail.log"
        assert first.file_sd_configs[0].files == (f"{prefix}sd/*.json",)
        assert first.http_headers["A"].files == (f"{prefix}h",)
        assert second.authorization is not None and second.authorization.credentials_file == f"{prefix}tok"
        assert third.oauth2 is not None and third.oauth2.client_secret_file == f"{prefix}s"
        assert made.remote_write[0].tls_config.ca_file == f"{prefix}x"


@pytest.fixture
def included(tmp_path: Path) -> Path:
    more = tmp_path / "more"
    more.mkdir()
    (more / "1.yml").write_text("scrape_configs: [{job_name: b, bearer_token_file: tok, kuma_sd_configs: [{}]}]")
    (more / "2.yml").write_text("scrape_configs: [{job_name: c, scrape_interval: 5s}]")
    (more / "3.yml").write_text("")
    file = tmp_path / "c.yml"
    file.write_text("global: {scrape_interval: 7s}\nscrape_config_files: [more/*.yml, none.yml]\n"
                    "scrape_configs: [{job_name: a}]")
    return file


def test_included_files(included: Path) -> None:
    loaded = config.load(included)
    jobs = loaded.config.scrape_configs
    more = included.parent / "more"
    assert [(job.job_name, job.scrape_interval) for job in jobs] == [("a", 7000), ("b", 7000), ("c", 5000)]
    assert jobs[1].authorization is not None and jobs[1].authorization.credentials_file == str(more / "tok")
    assert [job.file for job in jobs] == ["", str(more / "1.yml"), str(more / "2.yml")]
    assert loaded.files == (included, *(more / f"{number}.yml" for number in (1, 2, 3)))
    assert [text for text in loaded.warnings if text.startswith(f"{more / '1.yml'}:1:")]
    assert "job_name: a" in config.shown(loaded.config) and "job_name: b" not in config.shown(loaded.config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scrape_configs: [{job_name: a}]", 'found multiple scrape configs with job name "a", first found in'),
        ("scrape_configs: [{job_name: b, scrape_timeout: 9s}]", "scrape timeout greater than scrape interval"),
        ("global: {}", 'unknown key "global": known here: scrape_configs'),
        ("scrape_configs: [", "did not find expected"),
    ],
)
def test_what_is_wrong_in_an_included_file(text: str, message: str, included: Path) -> None:
    file = included.parent / "more" / "2.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        config.load(included)
    assert str(raised.value).startswith(f"{file}:") and message in str(raised.value)


def test_keys_that_are_not_built_are_named_once(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("""
rule_files: [a.yml]
remote_write:
- url: http://a
  write_relabel_configs: [{target_label: x}]
scrape_configs:
- {job_name: a, consul_sd_configs: [{server: x}]}
- {job_name: b, consul_sd_configs: [{server: x}]}
- {job_name: c, consul_sd_configs: []}
otlp: {translation_strategy: UnderscoreEscapingWithSuffixes}
""")
    assert config.load(file).warnings == (
        f"{file}:2:1: rule_files: not built yet: no rule is evaluated, no alert fires",
        f"{file}:3:1: remote_write: not built yet: nothing is sent",
        f"{file}:7:17 and 1 more: scrape_configs[].consul_sd_configs: not built yet: no targets come from it",
    )


class Fence(Section, frozen=True):
    height: Annotated[int, key("Of the fence.", built=False, protects=True)] = 0


def test_keys_that_protect_and_are_not_built_are_errors() -> None:
    with pytest.raises(ConfigError, match=r"^config:1:\d+: .*not built yet, and ignoring it would not be safe"):
        settings.build(document.parse("height: 5", "config"), Fence)


def test_what_the_global_section_says_holds_where_a_job_says_nothing() -> None:
    made = config.parse("""
global: {scrape_interval: 5s, sample_limit: 7, body_size_limit: 1MB, scrape_protocols: [PrometheusProto],
         metric_name_validation_scheme: legacy, metric_name_escaping_scheme: dots, extra_scrape_metrics: true}
scrape_configs:
- {job_name: a}
- {job_name: b, sample_limit: 3, scrape_protocols: [PrometheusText0.0.4], extra_scrape_metrics: false}
""")
    first, second = made.scrape_configs
    assert (first.scrape_timeout, first.sample_limit, first.body_size_limit) == (5000, 7, 1 << 20)
    assert (first.scrape_protocols, first.extra_scrape_metrics) == (("PrometheusProto",), True)
    assert (first.metric_name_validation_scheme, first.metric_name_escaping_scheme) == ("legacy", "dots")
    assert (second.sample_limit, second.extra_scrape_metrics) == (3, False)
    assert second.scrape_protocols == ("PrometheusText0.0.4",)


def test_who_has_no_config_file_needs_no_yaml() -> None:
    code = "import sys, tsdb.config; tsdb.config.Config(); print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(("text", "problem"), [
    ("storage: {tsdb: {retention: {percentage: 101}}}", r"^config:1:\d+: percentage must be a number from 0 to 100"),
    ("storage: {retention_rules: [{match: up}]}", r'^config:1:\d+: .*the key "keep" is missing'),
    ("storage: {retention_rules: [{match: '{job=', keep: 2d}]}", r"^config:1:30: match: 1:6: parse error"),
    ("storage: {retention_rules: [{match: '{job=~\"(\"}', keep: 2d}]}", r"^config:1:30: match: .*parse error"),
    ("storage: {retention_rules: [{match: '{}', keep: 2d}]}", r"^config:1:30: match: .*at least one non-empty matcher"),
    ("storage: {retention_rules: [{match: 'up[5m]', keep: 2d}]}", r"^config:1:30: match: .*parse error"),
    ("storage: {retention_rules: [{match: up, keep: soon}]}", r'^config:1:\d+: .*keep: .*"soon"'),
])
def test_mistakes_in_retention(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config.parse(text)


def test_rules_of_retention() -> None:
    found = config.parse('storage: {retention_rules: [{match: \'up{job="a"}\', keep: 2d}, {match: up, keep: 0s}]}')
    assert [(rule.match, int(rule.keep)) for rule in found.storage.retention_rules] == [
        ('up{job="a"}', 2 * 86_400_000), ("up", 0)]
