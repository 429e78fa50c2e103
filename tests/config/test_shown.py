"""The config as /api/v1/status/config shows it: text for text what the real Prometheus shows of the same file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.client import Client
from tests.conftest import Start
from tests.processes import free_port
from tsdb import config

JOBS = """
global:
  scrape_interval: 15s
  external_labels: {monitor: codelab, foo: bar, home: "$CONFIG_TEST", twice: "$${CONFIG_TEST}x"}
  body_size_limit: 15MB
  sample_limit: 1500
  query_log_file: ""
rule_files: [first.rules, my/*.rules]
scrape_config_files: ["included*.yml"]
scrape_configs:
- job_name: prometheus
  honor_labels: true
  static_configs: [{targets: [localhost:9090, localhost:9191], labels: {my: label, your: "1"}}, {targets: ["[::1]:1"]},
                   {targets: []}, {labels: {a: b}}, {}]
  file_sd_configs: [{files: ["foo/*.json", /a/b.yml], refresh_interval: 10m}]
  relabel_configs:
  - {source_labels: [job, __meta_dns_name], regex: "(.*)some-[regex]", target_label: job, replacement: "foo-${1}"}
  - {source_labels: [abc], target_label: cde}
  - {replacement: static, target_label: abc}
  - {source_labels: [a], regex: (.*), target_label: b}
  - {action: labelmap, regex: ""}
  - {source_labels: [a], regex: , target_label: b, replacement: , separator: }
  - {action: HashMod, modulus: 8, source_labels: [a, b], target_label: c, separator: "#"}
  metric_relabel_configs: [{action: drop, regex: "a.*", source_labels: [__name__]}]
  bearer_token: secret
  params: {z: [b, c], "é": ["1"], a: []}
- job_name: 測試
  scrape_failure_log_file: fail.log
  proxy_url: http://user:secret@proxy:1
  no_proxy: a
  proxy_connect_header: {H: [secret]}
  http_headers: {X-A: {values: [v], secrets: [secret], files: [f]}}
  tls_config: {ca_file: ca.pem, min_version: TLS12, server_name: n}
  fallback_scrape_protocol: PrometheusText0.0.4
  scrape_protocols: [PrometheusText0.0.4]
- job_name: "1:30"
  follow_redirects: false
  authorization: {credentials_file: cf}
  scrape_interval: 5s
  metric_name_validation_scheme: legacy
  metric_name_escaping_scheme: values
  body_size_limit: 1500B
  native_histogram_min_bucket_factor: 1.05
- job_name: basic
  basic_auth: {username: "n", password: secret}
  honor_timestamps: false
  enable_compression: off
  track_timestamps_staleness: on
  scheme: https
  metrics_path: /m
- job_name: oauth2
  oauth2: {client_id: "123", client_secret_file: sf, token_url: "http://a/t", scopes: [a], endpoint_params: {b: c},
           proxy_url: "http://a:secret@b"}
  enable_http2: false
  keep_dropped_targets: 3
  target_limit: 4
  label_limit: 5
  label_name_length_limit: 6
  label_value_length_limit: 7
"""

OTHERS = """
global: {metric_name_escaping_scheme: dots, rule_query_offset: 1m, scrape_timeout: 3s, evaluation_interval: 90m}
runtime: {gogc: 42}
storage:
  tsdb: {out_of_order_time_window: 30m}
  exemplars: {max_exemplars: 10}
otlp: {promote_resource_attributes: [a.b], keep_identifying_resource_attributes: true}
remote_write:
- url: http://user:secret@localhost:1/push
  name: "n"
  protobuf_message: io.prometheus.write.v2.Request
  write_relabel_configs: [{source_labels: [__name__], regex: "expensive.*", action: drop}]
  oauth2: {client_id: "123", client_secret: secret, token_url: "http://a/t"}
- url: http://localhost:2/push?a=b
  sigv4: {region: r, access_key: a, secret_key: secret}
- url: http://localhost:3/push
  headers: {a: b}
  remote_timeout: 5s
  send_exemplars: true
  queue_config: {capacity: 5, retry_on_http_429: true, sample_age_limit: 1h}
  metadata_config: {send: false}
remote_read:
- {url: http://localhost:1/read, read_recent: true, required_matchers: {job: special}, filter_external_labels: false}
alerting:
  alert_relabel_configs: [{regex: a, action: labeldrop}]
  alertmanagers:
  - scheme: https
    path_prefix: /x
    static_configs: [{targets: ["127.0.0.1:1"]}]
    file_sd_configs: [{files: [a.json]}]
    basic_auth: {username: u, password: secret}
    alert_relabel_configs: [{target_label: x}]
  - {timeout: 1s, follow_redirects: false}
"""

SCALARS = """
scrape_configs:
- job_name: a
  static_configs:
  - targets: [a:1]
    labels: {x: y, z: on, w: 010, d: 2001-01-01, e: 1e3, f: 0x10, g: ~, h: "~", i: 1_000, j: .5, k: =, m: "", o: Y,
             p: n, q: 1:30, r: "multi\\nline", s: "with: colon", t: "# hash", u: "- dash", v: " lead",
             aa: "long long long long long long long long long long long long long long long long long long long text",
             ab: "tab\\there", ac: "quote'\\"", ad: "é", ae: "\\u200b", af: "*x", ag: "{a}", ah: "%x", ai: "@x",
             aj: "`x", ak: "x: ", al: "trail ", am: "12e03", an: "1.5", ao: "-.inf", ap: ".NaN", aq: "null",
             ar: "true", as: "0b11", at: "0o7", au: "1_0", av: "+1", aw: "line\\n", ax: "\\U0001F600", ay: "a #b",
             az: "a: b", ba: "?", bb: "-", bc: "---", bd: "<<", be: "!x", bf: "&x", bg: "x,y", bh: "[x]",
             bi: "2001-01-01T00:00:00Z", bj: "1:2:3", bk: "12:30:45.5", bl: "No", bn: "Off", bo: "\\a", bp: "-",
             bq: ">", br: "|", bs: "a\\n\\nb\\n\\n", bt: " \\n", bu: "''", bv: "1.", bw: "e3", bx: "0xg",
             by: "08", bz: "-0"}
"""

FILES = {"jobs": JOBS, "others": OTHERS, "scalars": SCALARS, "nothing": "", "empty global": "global: {}",
         "null global": "global:", "no jobs": "global: {scrape_interval: 1m}\nscrape_configs: []"}
VARIABLE = "CONFIG_TEST"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shown")
    (made / "included.yml").write_text("scrape_configs: [{job_name: included}]")
    for name in ("ca.pem", "cf", "f", "sf"):
        (made / name).write_text("x")
    return made


@pytest.mark.peer
def test_text_for_text(folder: Path, peer: Callable[[str], Path], start: Start, tmp_path: Path) -> None:
    """Where a file cannot be applied (a certificate that is none), the real one shows the one before: none is such."""
    port = free_port()
    file = folder / "prometheus.yml"
    file.write_text("")
    argv = [peer("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle", "--log.level=error"]
    client: Client = start(argv, port=port, env={VARIABLE: "home"}).wait_ready().client
    for name, text in FILES.items():
        file.write_text(text.replace("ca_file: ca.pem, ", ""))
        assert client.request("POST", "/-/reload").status == 200, name
        theirs = client.get("/api/v1/status/config").json()["data"]["yaml"]
        ours = config.shown(config.load(file, {**os.environ, VARIABLE: "home"}).config)
        assert ours == theirs, name


@pytest.mark.parametrize("name", FILES)
def test_what_is_shown_can_be_read_and_says_no_secrets(name: str, folder: Path) -> None:
    """But for what Prometheus leaves out, too: an empty text and false, where the default is another."""
    file = folder / "prometheus.yml"
    text = FILES[name].replace("$", "")
    for left_out in (", filter_external_labels: false", ", replacement: , separator: "):
        text = text.replace(left_out, "")
    file.write_text(text)
    shown = config.shown(config.load(file, {}).config)
    for line in shown.splitlines():
        assert re.fullmatch(r"[ -]*((secret_key|client_secret): <secret>|(client_secret_file|secrets):.*)", line) or (
            "secret" not in line.replace("<secret>", "")
        )
    # Prometheus itself does not read this
    file.write_text("".join(line for line in shown.splitlines(keepends=True) if "outofordertimewindow" not in line))
    assert config.shown(config.load(file, {}).config) == shown


def test_our_own_sections_are_shown_where_they_differ() -> None:
    made = config.parse("server: {max_body_size: 1MiB}\nstorage: {tsdb: {retention: {time: 3d}}}\nquery: {timeout: 2m}")
    shown = yaml.safe_load(config.shown(made))
    assert shown["server"] == {"max_body_size": "1MiB"}
    assert shown["storage"] == {"tsdb": {"retention": {"time": "3d"}}}
    assert "query" not in shown


def test_discovery_that_is_not_built_is_shown_without_what_looks_like_a_secret() -> None:
    made = config.parse("""
scrape_configs:
- job_name: a
  ec2_sd_configs: [{region: r, access_key: k, secret_key: s1, bearer_token: s2, port: 1,
                    basic_auth: {username: u, password: s3}, proxy_url: 'http://u:s4@h'}]
""")
    shown = config.shown(made)
    assert not [secret for secret in ("s1", "s2", "s3", "s4") if secret in shown]
    assert yaml.safe_load(shown)["scrape_configs"][0]["ec2_sd_configs"][0]["port"] == 1


def test_one_job() -> None:
    made = config.parse("scrape_configs: [{job_name: a, basic_auth: {username: u, password: p}}]")
    assert yaml.safe_load(config.shown_job(made.scrape_configs[0]))["basic_auth"] == {
        "username": "u", "password": "<secret>",
    }


def test_what_came_from_the_environment_is_shown_as_it_is_written() -> None:
    made = config.parse(
        "scrape_configs: [{job_name: a, params: {token: ['${env:TOKEN}']}, sample_limit: '${env:LIMIT}'}]",
        environ={"TOKEN": "hidden", "LIMIT": "5"},
    )
    assert made.scrape_configs[0].params == {"token": ("hidden",)}
    shown = yaml.safe_load(config.shown(made))["scrape_configs"][0]
    assert shown["params"] == {"token": ["${env:TOKEN}"]} and shown["sample_limit"] == 5
