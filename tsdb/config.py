"""The config file: schemas that each part owns, composed. The table of all keys is `all_keys()`."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from scraper.config import UNTOLD, GlobalConfig, ScrapeConfig, ScrapeConfigFile, complete
from tsdb.alerting.config import AlertingConfig
from tsdb.ingest.config import OtlpConfig
from tsdb.model import document, environment, settings
from tsdb.model.document import Document, Place
from tsdb.model.errors import ConfigError
from tsdb.model.key_table import Key, keys
from tsdb.model.settings import Section, Unbuilt, key
from tsdb.model.shown import tree, yaml_text
from tsdb.remote.config import RemoteReadConfig, RemoteWriteConfig
from tsdb.server.config import (
    DEFAULT_TIERS,
    QueryConfig,
    RuntimeConfig,
    ServerConfig,
    StorageConfig,
    TierConfig,
    TracingConfig,
)

_FILE_PATTERN = re.compile(r"[^*]*(\*[^/]*)?", re.DOTALL)
_MAX_SIZE = 64 << 20
"""Bytes of one file."""


class Config(Section, frozen=True, rename={"global_": "global"}):
    """The whole file."""

    global_: Annotated[
        GlobalConfig, key("What holds for all jobs.", reloadable=True, always=True)
    ] = UNTOLD
    runtime: Annotated[RuntimeConfig, key("Of Prometheus' process.", reloadable=True)] = RuntimeConfig()
    alerting: Annotated[
        AlertingConfig, key("Where alerts are sent.", reloadable=True, built=False, without="no alert is sent")
    ] = AlertingConfig()
    rule_files: Annotated[
        tuple[str, ...],
        key("Files of recording and alerting rules; the last part of a name may be a pattern.", reloadable=True,
            built=False, file=True, without="no rule is evaluated, no alert fires"),
    ] = ()
    scrape_config_files: Annotated[
        tuple[str, ...],
        key("More files with `scrape_configs`; the last part of a name may be a pattern. File names in them are "
            "relative to their own folder.", reloadable=True, file=True),
    ] = ()
    scrape_configs: Annotated[
        tuple[ScrapeConfig, ...], key("What is scraped: one entry per job.", reloadable=True)
    ] = ()
    storage: Annotated[StorageConfig, key("Where and how samples are kept.")] = StorageConfig()
    downsampling: Annotated[
        tuple[TierConfig, ...],
        key("Downsampling tiers: what is kept of samples beyond their own retention, at a coarser resolution, and what "
            "queries over long times read instead of them. `default`: windows of 1h for 30d and of 1d for 1y, and "
            "samples are kept for 7d unless `storage.tsdb.retention` says otherwise.",
            reloadable=True, words={"default": DEFAULT_TIERS}),
    ] = ()
    tracing: Annotated[
        TracingConfig | None, key("Where traces of our own requests are sent.", reloadable=True, built=False)
    ] = None
    remote_write: Annotated[
        tuple[RemoteWriteConfig, ...],
        key("Systems that samples are sent to.", reloadable=True, built=False, without="nothing is sent"),
    ] = ()
    remote_read: Annotated[
        tuple[RemoteReadConfig, ...],
        key("Systems that samples are read from.", reloadable=True, built=False, without="nothing is read"),
    ] = ()
    otlp: Annotated[
        OtlpConfig, key("How OpenTelemetry's names become labels.", reloadable=True, built=False)
    ] = OtlpConfig()
    query: Annotated[QueryConfig, key("Limits of queries.")] = QueryConfig()
    server: Annotated[ServerConfig, key("The HTTP server.")] = ServerConfig()

    def checked(self, place: Place) -> Config:
        for name in ("rule_files", "scrape_config_files"):
            what = name.removesuffix("_files").replace("_", " ")
            for index, file in enumerate(getattr(self, name)):
                if not _FILE_PATTERN.fullmatch(file):
                    raise place.error(f'invalid {what} file path "{file}"', name, index)
        known = set()
        for index, tier in enumerate(self.downsampling):
            if (tier.resolution, tier.match, tier.quantiles) in known:
                raise place.error(f"there is another tier with the resolution {tier.resolution} and the same match and "
                                  "quantiles: give it once", "downsampling", index)
            known.add((tier.resolution, tier.match, tier.quantiles))
        _check_names("scrape configs with job name", [job.job_name for job in self.scrape_configs],
                     place.at("scrape_configs"), "job_name")
        _check_names("remote write configs with job name", [remote.name for remote in self.remote_write],
                     place.at("remote_write"), "name")
        _check_names("remote read configs with job name", [remote.name for remote in self.remote_read],
                     place.at("remote_read"), "name")
        if self.global_.metric_name_validation_scheme == "legacy" and self.otlp.allows_any_name:
            raise place.error(f'OTLP translation strategy "{self.otlp.translation_strategy}" is not allowed when UTF8 '
                              "is disabled", "otlp", "translation_strategy")
        jobs = complete(self.global_, self.scrape_configs, place.at("scrape_configs"))
        return msgspec.structs.replace(self, scrape_configs=jobs)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a config file says."""

    config: Config
    warnings: tuple[str, ...] = ()
    """What works otherwise than the file says: keys that are not built yet, variables that are missing."""
    text: str = field(default="", repr=False)
    """The file's own text; it may hold secrets."""
    files: tuple[Path, ...] = ()
    """What was read: the file, and those of `scrape_config_files`."""


def load(path: Path, environ: Mapping[str, str] | None = None) -> Loaded:
    """Reads and checks a config file, and those it includes. File names in it are joined to its folder. `environ` is
    the process's own by default. Raises ConfigError."""
    text = _read(path)
    variables = os.environ if environ is None else environ
    parsed = document.parse(text, str(path))
    config, warnings = _made(parsed, str(path.parent), variables)
    files = [path]
    for index, pattern in enumerate(config.scrape_config_files):
        for name in sorted(glob.glob(pattern)):  # noqa: PTH207
            place = Place(parsed, ("scrape_config_files", index))
            config, more = _with_jobs_of(Path(name), config, place, variables)
            warnings += more
            files.append(Path(name))
    return Loaded(config, tuple(warnings), text.decode(errors="replace"), tuple(files))


def parse(text: str | bytes, name: str = "config", environ: Mapping[str, str] | None = None) -> Config:
    """The config of a YAML text; nothing is included, file names stay as they are. Raises ConfigError."""
    return _made(document.parse(text, name), "", os.environ if environ is None else environ)[0]


def shown(config: Config) -> str:
    """The config as /api/v1/status/config shows it: YAML in Prometheus' shape, with the defaults, without secrets. Jobs
    of `scrape_config_files` are not in it, as there, and our own sections only where they are not the default."""
    own = tuple(job for job in config.scrape_configs if not job.file)
    made = tree(msgspec.structs.replace(config, scrape_configs=own))
    for name, default in (("query", QueryConfig()), ("server", ServerConfig())):
        made[name] = _differences(made[name], tree(default))
    default_storage = tree(StorageConfig())
    made["storage"] = {name: _differences(value, default_storage.get(name, {}))
                       for name, value in made["storage"].items()}
    return yaml_text(_without_empty(made))


def shown_job(job: ScrapeConfig) -> str:
    """The config of one job as YAML, without secrets."""
    return yaml_text(tree(job))


def all_keys() -> list[Key]:
    """All keys of the config file: the one table that the reference page comes from."""
    return list(keys(Config, first=("global", "scrape_configs")))


def _made(parsed: Document, folder: str, environ: Mapping[str, str]) -> tuple[Config, list[str]]:
    warnings = environment.expand(parsed, environ, ("global", "external_labels"))
    config, unbuilt = settings.read(parsed, Config, folder)
    return config, [*map(str, unbuilt), *warnings]


def _with_jobs_of(path: Path, config: Config, place: Place, environ: Mapping[str, str]) -> tuple[Config, list[str]]:
    """The config with the jobs of an included file. Raises ConfigError."""
    parsed = document.parse(_read(path), str(path))
    warnings = environment.expand(parsed, environ, ("",))
    unbuilt: list[Unbuilt]
    made, unbuilt = settings.read(parsed, ScrapeConfigFile, str(path.parent))
    where = Place(parsed, ("scrape_configs",))
    jobs = complete(config.global_, made.scrape_configs, where)
    known = {job.job_name: job.file or place.document.name for job in config.scrape_configs}
    for index, job in enumerate(jobs):
        if job.job_name in known:
            raise where.error(f'found multiple scrape configs with job name "{job.job_name}", first found in '
                              f"{known[job.job_name]}", index, "job_name")
        known[job.job_name] = str(path)
    added = tuple(msgspec.structs.replace(job, file=str(path)) for job in jobs)
    return (msgspec.structs.replace(config, scrape_configs=config.scrape_configs + added),
            [*map(str, unbuilt), *warnings])


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_SIZE + 1)
    except OSError as problem:
        raise ConfigError(f"{path}: cannot read the config file: {problem.strerror}") from None
    if len(text) > _MAX_SIZE:
        raise ConfigError(f"{path}: the config file is larger than 64 MiB")
    return text


def _check_names(what: str, names: list[str], place: Place, key_name: str) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name and name in seen:
            raise place.error(f'found multiple {what} "{name}"', index, key_name)
        seen.add(name)


def _differences(made: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if default.get(name) != value}


def _without_empty(made: dict[str, Any]) -> dict[str, Any]:
    shorter = {name: _without_empty(value) if isinstance(value, dict) else value for name, value in made.items()}
    return {name: value for name, value in shorter.items() if value != {}}
