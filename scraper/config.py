"""Config of scraping: the sections ``global`` and ``scrape_configs`` of a prometheus.yml."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from tsdb.model.document import Document
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Bytes, Duration, Section, key
from tsdb.net.config import HttpClientConfig
from tsdb.relabel.config import RelabelConfig

Protocol = Literal["PrometheusProto", "OpenMetricsText0.0.1", "OpenMetricsText1.0.0", "PrometheusText0.0.4",
                   "PrometheusText1.0.0"]
NameValidation = Literal["", "utf8", "legacy"]
NameEscaping = Literal["", "allow-utf-8", "underscores", "dots", "values"]

PROTOCOLS: tuple[Protocol, ...] = ("OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0",
                                   "PrometheusText0.0.4")
"""What is asked for where neither job nor global section say it, best first."""


class GlobalConfig(Section, frozen=True):
    scrape_interval: Annotated[Duration, key("How often targets are scraped where a job says nothing.")] = Duration.of(
        "1m"
    )
    scrape_timeout: Annotated[Duration, key("How long a scrape may take, where a job says nothing.")] = (
        Duration.of("10s")
    )
    scrape_protocols: Annotated[tuple[Protocol, ...], key("Formats that targets are asked for, best first.")] = ()
    evaluation_interval: Annotated[Duration, key("How often rules are evaluated.")] = Duration.of("1m")
    rule_query_offset: Annotated[Duration, key("How far in the past rules are evaluated.")] = Duration.of("0s")
    query_log_file: Annotated[str, key("File that queries are logged to.")] = ""
    scrape_failure_log_file: Annotated[str, key("File that failed scrapes are logged to.")] = ""
    body_size_limit: Annotated[Bytes, key("As of a job.", unit="bytes")] = Bytes(0)
    sample_limit: Annotated[int, key("As of a job.")] = 0
    target_limit: Annotated[int, key("As of a job.")] = 0
    label_limit: Annotated[int, key("As of a job.")] = 0
    label_name_length_limit: Annotated[int, key("As of a job.")] = 0
    label_value_length_limit: Annotated[int, key("As of a job.")] = 0
    keep_dropped_targets: Annotated[int, key("As of a job.")] = 0
    metric_name_validation_scheme: Annotated[NameValidation, key("As of a job.")] = ""
    metric_name_escaping_scheme: Annotated[NameEscaping, key("As of a job.")] = ""
    scrape_native_histograms: Annotated[bool | None, key("As of a job.")] = None
    convert_classic_histograms_to_nhcb: Annotated[bool, key("As of a job.")] = False
    always_scrape_classic_histograms: Annotated[bool, key("As of a job.")] = False
    extra_scrape_metrics: Annotated[bool | None, key("As of a job.")] = None
    external_labels: Annotated[
        dict[str, str], key("Labels that this server adds when it speaks to other systems.")
    ] = field(default_factory=dict)


class StaticConfig(Section, frozen=True):
    targets: Annotated[tuple[str, ...], key("`host:port` of each target.")] = ()
    labels: Annotated[dict[str, str], key("Labels given to all series of these targets.")] = field(default_factory=dict)


class FileDiscovery(Section, frozen=True):
    files: Annotated[tuple[str, ...], key("JSON or YAML files of target groups; the last part may be a pattern.")] = ()
    refresh_interval: Annotated[Duration, key("How often they are read where no change was noticed.")] = (
        Duration.of("5m")
    )


class ScrapeConfig(HttpClientConfig, frozen=True, kw_only=True):
    job_name: Annotated[str, key("Name of the job, the value of its targets' label `job`. Unique.")]
    scrape_interval: Annotated[Duration | None, key("How often, instead of `global.scrape_interval`.")] = None
    scrape_timeout: Annotated[Duration | None, key("How long a scrape may take, at most the interval.")] = None
    scrape_protocols: Annotated[tuple[Protocol, ...], key("Formats that targets are asked for, best first.")] = ()
    fallback_scrape_protocol: Annotated[
        Protocol | None, key("Format of answers whose Content-Type is missing or unknown.")
    ] = None
    metrics_path: Annotated[str, key("Path of the metrics on each target.")] = "/metrics"
    scheme: Annotated[Literal["http", "https"], key("Protocol of the targets.")] = "http"
    params: Annotated[dict[str, tuple[str, ...]], key("Parameters of the URL.")] = field(default_factory=dict)
    honor_labels: Annotated[
        bool,
        key("Where a scraped label is the target's too: true keeps the scraped one, false renames it `exported_…`."),
    ] = False
    honor_timestamps: Annotated[bool, key("Take the time of a sample from the target where it gives one.")] = True
    track_timestamps_staleness: Annotated[
        bool, key("Mark series with times of their own as stale, too, when they are gone.")
    ] = False
    enable_compression: Annotated[bool, key("Ask for gzip.")] = True
    scrape_failure_log_file: Annotated[str, key("File that failed scrapes are logged to.")] = ""
    body_size_limit: Annotated[
        Bytes | None, key("Largest answer, decompressed; a larger one fails the scrape. 0: no limit.", unit="bytes")
    ] = None
    sample_limit: Annotated[
        int | None, key("Most samples after relabeling; more fail the scrape. 0: no limit.")
    ] = None
    target_limit: Annotated[int | None, key("Most targets after relabeling; more fail the job. 0: no limit.")] = None
    label_limit: Annotated[int | None, key("Most labels of a series; more fail the scrape. 0: no limit.")] = None
    label_name_length_limit: Annotated[
        int | None, key("Longest label name, bytes; a longer one fails the scrape. 0: no limit.")
    ] = None
    label_value_length_limit: Annotated[
        int | None, key("Longest label value, bytes; a longer one fails the scrape. 0: no limit.")
    ] = None
    keep_dropped_targets: Annotated[
        int | None, key("How many targets that relabeling dropped are kept for display. 0: all.")
    ] = None
    metric_name_validation_scheme: Annotated[NameValidation, key("`utf8`: any name; `legacy`: plain ones.")] = ""
    metric_name_escaping_scheme: Annotated[NameEscaping, key("How targets are asked to escape names.")] = ""
    native_histogram_bucket_limit: Annotated[int, key("Most buckets of a native histogram. 0: no limit.")] = 0
    native_histogram_min_bucket_factor: Annotated[float, key("Least growth from bucket to bucket.")] = 0.0
    scrape_native_histograms: Annotated[bool | None, key("Take native histograms.")] = None
    convert_classic_histograms_to_nhcb: Annotated[bool | None, key("Make native ones of classic histograms.")] = None
    always_scrape_classic_histograms: Annotated[bool | None, key("Take classic ones beside native ones.")] = None
    extra_scrape_metrics: Annotated[
        bool | None, key("Write `scrape_timeout_seconds`, `scrape_sample_limit`, `scrape_body_size_bytes`, too.")
    ] = None
    static_configs: Annotated[tuple[StaticConfig, ...], key("Targets by name.")] = ()
    file_sd_configs: Annotated[tuple[FileDiscovery, ...], key("Targets from files that are watched.")] = ()
    relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose targets and rewrite their labels.")
    ] = ()
    metric_relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose series and rewrite their labels.")
    ] = ()

    def interval(self, base: GlobalConfig) -> Duration:
        return self.scrape_interval or base.scrape_interval

    def timeout(self, base: GlobalConfig) -> Duration:
        """Prometheus' rule: the global timeout where a job names none, cut to the job's interval."""
        return self.scrape_timeout or min(base.scrape_timeout, self.interval(base))


def check(document: Document, base: GlobalConfig, jobs: tuple[ScrapeConfig, ...]) -> None:
    """What the types do not say. Raises ConfigError."""
    if not base.scrape_interval:
        raise ConfigError(f"{document.place(('global', 'scrape_interval'))}: the interval must be longer than 0")
    seen: set[str] = set()
    for index, job in enumerate(jobs):
        path = ("scrape_configs", index)
        if not job.job_name:
            raise ConfigError(f"{document.place((*path, 'job_name'))}: job_name is empty")
        if job.job_name in seen:
            raise ConfigError(
                f'{document.place((*path, "job_name"))}: found multiple scrape configs with job name "{job.job_name}"'
            )
        seen.add(job.job_name)
        if job.timeout(base) > job.interval(base):
            raise ConfigError(
                f'{document.place((*path, "scrape_timeout"))}: scrape timeout greater than scrape interval for scrape '
                f'config with job name "{job.job_name}"'
            )
        for number, group in enumerate(job.static_configs):
            for at, target in enumerate(group.targets):
                if "/" in target or not target:
                    place = document.place((*path, "static_configs", number, "targets", at))
                    raise ConfigError(f'{place}: "{target}" is not a valid target: give host:port, no scheme, no path')
