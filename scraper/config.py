"""Config of scraping: the sections ``global`` and ``scrape_configs`` of a prometheus.yml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import msgspec
from msgspec import field

from scraper.discovery_config import DiscoveryConfig, encodable, order
from scraper.discovery_config import FileDiscovery as FileDiscovery
from scraper.discovery_config import StaticConfig as StaticConfig
from tsdb.model.document import Place
from tsdb.model.settings import Bytes, Duration, Section, key
from tsdb.relabel.config import RelabelConfig

Protocol = Literal["PrometheusProto", "OpenMetricsText0.0.1", "OpenMetricsText1.0.0", "PrometheusText0.0.4",
                   "PrometheusText1.0.0"]
NameValidation = Literal["", "utf8", "legacy"]
NameEscaping = Literal["", "allow-utf-8", "underscores", "dots", "values"]

PROTOCOLS: tuple[Protocol, ...] = ("OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0",
                                   "PrometheusText0.0.4")
"""What is asked for where neither job nor global section say it, best first."""
NATIVE_PROTOCOLS: tuple[Protocol, ...] = ("PrometheusProto", *PROTOCOLS)
"""The same where native histograms are wanted."""


class GlobalConfig(Section, frozen=True):
    """What holds for all jobs that do not say otherwise."""

    scrape_interval: Annotated[Duration, key("How often targets are scraped where a job says nothing.")] = Duration.of(
        "1m"
    )
    scrape_timeout: Annotated[
        Duration, key("How long a scrape may take, where a job says nothing. At most the interval.")
    ] = Duration.of("10s")
    scrape_protocols: Annotated[
        tuple[Protocol, ...], key("Formats that targets are asked for, best first.", filled=True)
    ] = ()
    evaluation_interval: Annotated[Duration, key("How often rules are evaluated.")] = Duration.of("1m")
    rule_query_offset: Annotated[Duration, key("How far in the past rules are evaluated.")] = Duration.of("0s")
    query_log_file: Annotated[str, key("File that queries are logged to.", file=True)] = ""
    scrape_failure_log_file: Annotated[str, key("File that failed scrapes are logged to.", file=True)] = ""
    external_labels: Annotated[
        dict[str, str],
        key("Labels that this server adds when it speaks to other systems. In values, `$NAME` and `${NAME}` are taken "
            "from the environment; `$$` is a `$`."),
    ] = field(default_factory=dict)
    body_size_limit: Annotated[Bytes, key("For jobs without this key.", unit="bytes")] = Bytes(0)
    sample_limit: Annotated[int, key("For jobs without this key.")] = 0
    target_limit: Annotated[int, key("For jobs without this key.")] = 0
    label_limit: Annotated[int, key("For jobs without this key.")] = 0
    label_name_length_limit: Annotated[int, key("For jobs without this key.")] = 0
    label_value_length_limit: Annotated[int, key("For jobs without this key.")] = 0
    keep_dropped_targets: Annotated[int, key("For jobs without this key.")] = 0
    metric_name_validation_scheme: Annotated[NameValidation, key("For jobs without this key.")] = ""
    metric_name_escaping_scheme: Annotated[NameEscaping, key("For jobs without this key.")] = ""
    scrape_native_histograms: Annotated[
        bool | None, key("For jobs without this key. Default: the feature `native-histograms`.")
    ] = None
    convert_classic_histograms_to_nhcb: Annotated[bool, key("For jobs without this key.")] = False
    always_scrape_classic_histograms: Annotated[bool, key("For jobs without this key.")] = False
    extra_scrape_metrics: Annotated[bool | None, key("For jobs without this key.")] = None

    def checked(self, place: Place) -> GlobalConfig:
        """As Prometheus' GlobalConfig.UnmarshalYAML; 0 is no interval there."""
        interval = self.scrape_interval or DEFAULTS.scrape_interval
        timeout = self.scrape_timeout or DEFAULTS.scrape_timeout
        if self.scrape_timeout > interval:
            if self.scrape_timeout != DEFAULTS.scrape_timeout:
                raise place.error("global scrape timeout greater than scrape interval", "scrape_timeout")
            timeout = interval
        for name, value in self.external_labels.items():
            if not _is_label_name(name, self.metric_name_validation_scheme == "legacy"):
                raise place.error(f'"{name}" is not a valid label name', "external_labels", name)
            if not encodable(value):
                raise place.error(f"{value!r} is not a valid label value", "external_labels", name)
        _check_protocols(self.scrape_protocols, place, "for global config")
        return msgspec.structs.replace(
            self, scrape_interval=interval, scrape_timeout=min(timeout, interval),
            scrape_protocols=self.scrape_protocols or PROTOCOLS,
            evaluation_interval=self.evaluation_interval or DEFAULTS.evaluation_interval,
        )


DEFAULTS = GlobalConfig(scrape_protocols=PROTOCOLS)
UNTOLD = msgspec.structs.replace(
    DEFAULTS, metric_name_validation_scheme="utf8", metric_name_escaping_scheme="allow-utf-8"
)
"""The section of a file that has none, as Prometheus completes it."""


class ScrapeConfig(DiscoveryConfig, frozen=True, kw_only=True):
    """One job: targets, how they are scraped, and what happens to their labels."""

    job_name: Annotated[str, key("Name of the job, the value of its targets' label `job`. Unique.", always=True)]
    honor_labels: Annotated[
        bool,
        key("Where a scraped label is the target's too: true keeps the scraped one, false renames it `exported_…`."),
    ] = False
    honor_timestamps: Annotated[
        bool, key("Take the time of a sample from the target where it gives one.", empty=False, always=True)
    ] = True
    track_timestamps_staleness: Annotated[
        bool, key("Mark series with times of their own as stale, too, when they are gone.", always=True)
    ] = False
    params: Annotated[dict[str, tuple[str, ...]], key("Parameters of the URL.")] = field(default_factory=dict)
    scrape_interval: Annotated[Duration | None, key("How often, instead of `global.scrape_interval`.")] = None
    scrape_timeout: Annotated[Duration | None, key("How long a scrape may take, at most the interval.")] = None
    scrape_protocols: Annotated[
        tuple[Protocol, ...], key("Formats that targets are asked for, best first.", filled=True)
    ] = ()
    fallback_scrape_protocol: Annotated[
        Protocol | None, key("Format of answers whose Content-Type is missing or unknown.")
    ] = None
    scrape_native_histograms: Annotated[
        bool | None, key("Take native histograms. Only `PrometheusProto` has them; `scrape_protocols` begin with it.")
    ] = None
    always_scrape_classic_histograms: Annotated[
        bool | None, key("Take the classic histogram beside a native one, or one that it was converted to, too.")
    ] = None
    convert_classic_histograms_to_nhcb: Annotated[
        bool | None, key("Make native histograms with custom buckets of classic ones.")
    ] = None
    scrape_failure_log_file: Annotated[str, key("File that failed scrapes are logged to.", file=True)] = ""
    metrics_path: Annotated[str, key("Path of the metrics on each target.")] = "/metrics"
    scheme: Annotated[Literal["http", "https"], key("Protocol of the targets.")] = "http"
    enable_compression: Annotated[bool, key("Ask for gzip.", empty=False, always=True)] = True
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
    native_histogram_bucket_limit: Annotated[
        int, key("Most buckets of a native histogram: one with more is made coarser; where that does not help, the "
                 "scrape fails. 0: no limit.")
    ] = 0
    native_histogram_min_bucket_factor: Annotated[
        float, key("Least growth from bucket to bucket of a native histogram: a finer one is made coarser.")
    ] = 0.0
    keep_dropped_targets: Annotated[
        int | None, key("How many targets that relabeling dropped are kept for display. 0: all.")
    ] = None
    metric_name_validation_scheme: Annotated[NameValidation, key("`utf8`: any name; `legacy`: plain ones.")] = ""
    metric_name_escaping_scheme: Annotated[NameEscaping, key("How targets are asked to escape names.")] = ""
    extra_scrape_metrics: Annotated[
        bool | None, key("Write `scrape_timeout_seconds`, `scrape_sample_limit`, `scrape_body_size_bytes`, too.")
    ] = None
    relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose targets and rewrite their labels.")
    ] = ()
    metric_relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose series and rewrite their labels.")
    ] = ()

    file: str = ""
    """The file of `scrape_config_files` that has the job; empty: the config file itself. Not a key."""

    def interval(self, base: GlobalConfig) -> Duration:
        return self.scrape_interval or base.scrape_interval

    def timeout(self, base: GlobalConfig) -> Duration:
        """Prometheus' rule: the global timeout where a job names none, cut to the job's interval."""
        return self.scrape_timeout or min(base.scrape_timeout, self.interval(base))

    def effective(self, base: GlobalConfig) -> Self:
        """With what `base` says where the job says nothing. For limits 0 is nothing, as in Prometheus."""
        validation = self.metric_name_validation_scheme or base.metric_name_validation_scheme or "utf8"
        escaping = self.metric_name_escaping_scheme
        if not escaping and not self.metric_name_validation_scheme:
            escaping = base.metric_name_escaping_scheme
        limits = {name: getattr(self, name) or getattr(base, name) for name in _FROM_GLOBAL}
        choices = {name: getattr(base, name) if getattr(self, name) is None else getattr(self, name)
                   for name in _CHOICES_FROM_GLOBAL}
        protocols = self.scrape_protocols or base.scrape_protocols or PROTOCOLS
        if choices["scrape_native_histograms"] and not self.scrape_protocols and protocols == PROTOCOLS:
            protocols = NATIVE_PROTOCOLS
        return msgspec.structs.replace(
            self, scrape_interval=self.interval(base), scrape_timeout=self.timeout(base), scrape_protocols=protocols,
            metric_name_validation_scheme=validation,
            metric_name_escaping_scheme=escaping or ("underscores" if validation == "legacy" else "allow-utf-8"),
            **limits, **choices,
        )

    @classmethod
    def shown_order(cls) -> Sequence[str]:
        return order(cls, before="relabel_configs")

    def checked(self, place: Place) -> Self:
        if not self.job_name:
            raise place.error("job_name is empty", "job_name")
        if not encodable(self.job_name):
            raise place.error("job_name is not valid UTF-8", "job_name")
        _check_protocols(self.scrape_protocols, place, f'for scrape config with job name "{self.job_name}"')
        made = super().checked(place)
        if not self.relabel_configs:
            made.check_targets(place)
        return made


_FROM_GLOBAL = ("body_size_limit", "sample_limit", "target_limit", "label_limit", "label_name_length_limit",
                "label_value_length_limit", "keep_dropped_targets", "scrape_failure_log_file")
_CHOICES_FROM_GLOBAL = ("scrape_native_histograms", "convert_classic_histograms_to_nhcb",
                        "always_scrape_classic_histograms", "extra_scrape_metrics")


class ScrapeConfigFile(Section, frozen=True):
    """A file of ``scrape_config_files``."""

    scrape_configs: Annotated[tuple[ScrapeConfig, ...], key("What is scraped: one entry per job.")] = ()


def complete(base: GlobalConfig, jobs: Sequence[ScrapeConfig], place: Place) -> tuple[ScrapeConfig, ...]:
    """The jobs of one file with what `base` says; `place` is their list. Raises ConfigError."""
    made = []
    for index, job in enumerate(jobs):
        where = f'for scrape config with job name "{job.job_name}"'
        if job.timeout(base) > job.interval(base):
            raise place.error(f"scrape timeout greater than scrape interval {where}", index, "scrape_timeout")
        effective = job.effective(base)
        scheme = effective.metric_name_validation_scheme
        if scheme == "legacy" and effective.metric_name_escaping_scheme == "allow-utf-8":
            raise place.error("utf8 metric names requested but validation scheme is not set to UTF8", index)
        made.append(effective)
    return tuple(made)


def _check_protocols(protocols: tuple[Protocol, ...], place: Place, where: str) -> None:
    for index, protocol in enumerate(protocols):
        if protocol in protocols[:index]:
            raise place.error(f"duplicated protocol in scrape_protocols, got [{' '.join(protocols)}] {where}",
                              "scrape_protocols", index)


def _is_label_name(name: str, legacy: bool) -> bool:
    if legacy:
        return name.isascii() and name.isidentifier()
    return bool(name) and encodable(name)
