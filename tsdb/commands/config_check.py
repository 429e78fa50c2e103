"""What is looked at in a config beyond reading it: the files that it names, and the targets that are in them.

As promtool does it; what would stop the real server later on, and promtool does not look at, is a warning.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

from scraper.config import ScrapeConfig
from scraper.discovery_config import DiscoveryConfig, FileDiscovery, StaticConfig
from scraper.settings import JobSettings
from scraper.target import NoTarget, make_target
from tsdb import config
from tsdb.config import Loaded
from tsdb.model import document, settings
from tsdb.model.errors import ConfigError
from tsdb.net.config import HttpClientConfig, TlsConfig
from tsdb.relabel.rules import Relabeling


class Level(Enum):
    SUCCESS = "SUCCESS"
    WARNING = "WARNING"


Finding = tuple[Level, str]


def read(file: Path, agent: bool) -> Loaded:
    """The config of a file. Raises ConfigError."""
    loaded = config.load(file)
    made = loaded.config
    forbidden = {"alerting": made.alerting.alertmanagers or made.alerting.alert_relabel_configs,
                 "rule_files": made.rule_files, "remote_read": made.remote_read}
    for name, value in forbidden.items():
        if agent and value:
            raise ConfigError(f"{file}: field {name} is not allowed in agent mode")
    return loaded


def findings(loaded: Loaded, syntax_only: bool) -> Iterator[Finding]:
    """What there is to say of a config that could be read. Raises ConfigError."""
    made = loaded.config
    yield from ((Level.WARNING, text) for text in loaded.warnings)
    if not syntax_only:
        yield from _rule_files(made.rule_files)
    for job in made.scrape_configs:
        if not syntax_only:
            yield from _client_files(job, f'scrape job "{job.job_name}"')
            yield from _file_targets(job, f'scrape job "{job.job_name}"', loaded)
        _check_targets(job, job.static_configs, loaded, job.file or str(loaded.files[0]))
    for manager in made.alerting.alertmanagers:
        if not syntax_only:
            yield from _client_files(manager, "alertmanagers")
            yield from _file_targets(manager, "alertmanagers", None)
    for remote in (*made.remote_write, *made.remote_read):
        if not syntax_only:
            yield from ((Level.WARNING, text) for _, text in _client_files(remote, "remote_write or remote_read"))


def lint_findings(loaded: Loaded, wanted: set[str], lookback_ms: int) -> Iterator[str]:
    """What is allowed and yet hardly meant."""
    for job in loaded.config.scrape_configs:
        interval = job.interval(loaded.config.global_)
        if wanted & {"all", "too-long-scrape-interval"} and 0 < lookback_ms <= interval:
            yield ("too long scrape interval found, data point will be marked as stale - job: "
                   f"{job.job_name}, interval: {interval}")


def _rule_files(patterns: Sequence[str]) -> Iterator[Finding]:
    count = 0
    for pattern in patterns:
        found = glob.glob(pattern)  # noqa: PTH207
        count += len(found)
        if not found and "*" not in pattern:
            raise ConfigError(f'"{pattern}" does not point to an existing file')
    if count:
        yield Level.SUCCESS, f"{count} rule files found"


def _client_files(client: HttpClientConfig, whose: str) -> Iterator[Finding]:
    """Promtool looks for those of authorization and of our certificate; Prometheus stops where the others are missing,
    or fails its requests."""
    authorization, tls = client.authorization, client.tls_config
    if authorization is not None:
        _check_exists("authorization credentials or bearer token file", authorization.credentials_file)
    _check_exists("client cert file", tls.cert_file)
    _check_exists("client key file", tls.key_file)
    named = {"tls_config.ca_file": tls.ca_file}
    if client.basic_auth is not None:
        named["basic_auth.username_file"] = client.basic_auth.username_file
        named["basic_auth.password_file"] = client.basic_auth.password_file
    if client.oauth2 is not None:
        named["oauth2.client_secret_file"] = client.oauth2.client_secret_file
        named |= _tls_files("oauth2.tls_config", client.oauth2.tls_config)
    for header, values in client.http_headers.items():
        named |= {f"http_headers.{header}.files[{index}]": file for index, file in enumerate(values.files)}
    for key, file in named.items():
        if file and not os.path.exists(file):  # noqa: PTH110
            yield Level.WARNING, f'{whose}: {key}: "{file}" does not exist'


def _tls_files(prefix: str, tls: TlsConfig) -> Mapping[str, str]:
    return {f"{prefix}.{name}": getattr(tls, name) for name in ("ca_file", "cert_file", "key_file")}


def _check_exists(what: str, file: str) -> None:
    try:
        if file:
            os.stat(file)  # noqa: PTH116
    except OSError as problem:
        reason = (problem.strerror or "").lower()
        raise ConfigError(f'error checking {what} "{file}": stat {file}: {reason}') from None


def _file_targets(section: DiscoveryConfig, whose: str, loaded: Loaded | None) -> Iterator[Finding]:
    """Targets that files name; those of a job are checked as its own ones are."""
    for discovery in section.file_sd_configs:
        for name, groups in _groups(discovery):
            if groups is None:
                yield Level.WARNING, f'file "{name}" for file_sd in {whose} does not exist'
            elif loaded is not None and isinstance(section, ScrapeConfig):
                _check_targets(section, groups, loaded, name)


def _groups(discovery: FileDiscovery) -> Iterator[tuple[str, tuple[StaticConfig, ...] | None]]:
    """The groups of each file; None where there is none. Raises ConfigError."""
    for pattern in discovery.files:
        found = sorted(glob.glob(pattern))  # noqa: PTH207
        if not found:
            yield pattern, None
        for name in found:
            try:
                parsed = document.parse(Path(name).read_bytes(), name)
            except OSError as problem:
                raise ConfigError(f'checking SD file "{name}": {problem.strerror}') from None
            yield name, settings.build(parsed, tuple[StaticConfig, ...]) if parsed.value is not None else ()


def _check_targets(job: ScrapeConfig, groups: Sequence[StaticConfig], loaded: Loaded, file: str) -> None:
    """Raises ConfigError for a target that could not be scraped after relabeling."""
    if not groups:
        return
    running = JobSettings.of(loaded.config.global_, job, Path(), frozenset())
    relabeling = Relabeling(job.relabel_configs, legacy_names=job.metric_name_validation_scheme == "legacy")
    for number, group in enumerate(groups):
        for index, target in enumerate(group.targets):
            try:
                make_target(running, relabeling, {"__address__": target}, group.labels)
            except NoTarget as problem:
                what = f'job "{job.job_name}": instance {index} in group {number}'
                raise ConfigError(f"{file}: {what}: {problem}") from None
