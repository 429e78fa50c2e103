"""Config of the server, of queries and of storage as the file names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import field

from tsdb.model.document import Place
from tsdb.model.errors import ParseError
from tsdb.model.settings import Bytes, Duration, Section, key
from tsdb.net.config import RESERVED_HEADERS, TlsConfig

MOST_LABEL_LIMITS = 100
_YEAR_S = 365 * 86_400.0


class ServerConfig(Section, frozen=True):
    """The HTTP server."""

    listen: Annotated[str, key("Address and port to serve on, several with commas; port 0 takes a free one.")] = (
        "127.0.0.1:9090"
    )
    max_body_size: Annotated[
        Bytes, key("Largest request body as it is sent.", unit="bytes", reloadable=True)
    ] = Bytes.of("64MiB")
    max_decompressed_size: Annotated[
        Bytes, key("Largest remote_write request, decompressed.", unit="bytes", reloadable=True)
    ] = Bytes.of("32MiB")
    max_bodies_size: Annotated[
        Bytes,
        key(
            "How much bodies under way, and what they decompress to, may take together. Above it requests are "
            "answered with 503, to be sent again.",
            unit="bytes",
        ),
    ] = Bytes.of("256MiB")
    read_timeout: Annotated[
        Duration, key("How long a client may take to send a request. 0: no limit.", reloadable=True)
    ] = Duration.of("5m")
    max_uploads: Annotated[
        int, key("How many blocks may be uploaded at a time, as `tsdb import --url` does. 0: none are taken.",
                 reloadable=True)
    ] = 4
    max_upload_size: Annotated[
        Bytes, key("Largest block that is uploaded.", unit="bytes", reloadable=True)
    ] = Bytes.of("8GiB")
    shutdown_timeout: Annotated[Duration, key("How long requests under way may go on when the server stops.")] = (
        Duration.of("10s")
    )

    @property
    def read_seconds(self) -> float:
        """`read_timeout`; 0 there means no limit."""
        return self.read_timeout.seconds or _YEAR_S


class QueryConfig(Section, frozen=True):
    """Limits of queries."""

    timeout: Annotated[
        Duration, key("How long a query may take, its wait in the queue included.", reloadable=True)
    ] = Duration.of("2m")
    max_samples: Annotated[
        int, key("Most samples that one query may hold in memory.", unit="samples", reloadable=True)
    ] = 50_000_000
    max_series: Annotated[
        int, key("Most series that the selectors of one query may find, all together. 0: no limit.", unit="series",
                 reloadable=True)
    ] = 0
    max_points: Annotated[
        int, key("Most steps of a range query, from its start to its end. 0: no limit.", unit="steps", reloadable=True)
    ] = 11_000
    max_memory: Annotated[
        Bytes,
        key("Most memory that one query may take for what it computes and answers; what would take more is refused "
            "before it does. 0: so much that `max_concurrency` of them take half of the machine's memory, or of the "
            "container's, but 1 GiB at least.", unit="bytes", reloadable=True),
    ] = Bytes(0)
    usage_memory: Annotated[
        Bytes,
        key("How much memory the counts of queries by metric may take, which /api/v1/status/metric_names_stats shows: "
            "about 700 bytes for a metric that one dashboard asks for, 400 for each other. 0: queries are not counted.",
            unit="bytes"),
    ] = Bytes.of("32MiB")
    max_concurrency: Annotated[int, key("How many queries run at once; others wait. 0: by the number of cores.")] = 0
    max_concurrent_exports: Annotated[
        int, key("How many exports run at once; others are answered with 503. 0: no limit.", reloadable=True)
    ] = 2
    export_timeout: Annotated[
        Duration, key("How long an export may take. 0: no limit.", reloadable=True)
    ] = Duration.of("1d")
    lookback_delta: Annotated[
        Duration, key("How far a selector looks back for the newest sample.", reloadable=True)
    ] = Duration.of("5m")
    use_start_timestamps: Annotated[
        bool,
        key("Whether `rate`, `irate`, `increase` and `resets` use since when samples have been counting, where that is "
            "known, and `start_timestamp` gives it. The feature `use-start-timestamps` switches it on, too."),
    ] = False


class WalConfig(Section, frozen=True):
    """The write-ahead log."""

    sync: Annotated[
        Literal["commit", "interval", "os"],
        key(
            "When a write is acknowledged: after it is synced to disk (`commit`); after it is written, with a sync at "
            "intervals (`interval`); after it is written (`os`). A killed process loses nothing in any of them, a "
            "power cut nothing in `commit`."
        ),
    ] = "interval"


DEFAULT_RETENTION_MS = 15 * 86_400_000
DEFAULT_LATE_WINDOW_MS = 30 * 60_000
"""0 in Prometheus."""


class RetentionConfig(Section, frozen=True):
    """How much is kept. What is older, or more, is deleted in whole blocks (two hours to 31 days), the oldest first."""

    time: Annotated[
        Duration,
        key("How long samples are kept. 0: 15 days, or for ever where there is a limit of size or percentage."),
    ] = Duration(0)
    size: Annotated[Bytes, key("How much they may take on disk. 0: no limit.", unit="bytes")] = Bytes(0)
    percentage: Annotated[
        float, key("How much of the disk they may take, percent; holds instead of `size`. 0: no limit.")
    ] = 0.0

    @property
    def time_ms(self) -> int:
        """How long samples are kept, in ms; 0: for ever. As Prometheus decides it of its flags."""
        return int(self.time) if self.time or self.size or self.percentage else DEFAULT_RETENTION_MS

    def checked(self, place: Place) -> RetentionConfig:
        if not 0 <= self.percentage <= 100:
            raise place.error("percentage must be a number from 0 to 100", "percentage")
        return self


class TsdbConfig(Section, frozen=True):
    """The database."""

    path: Annotated[str, key("Data directory, relative to the working directory.")] = "data"
    out_of_order_time_window: Annotated[
        Duration | None,
        key("How much older than the newest sample of all those may be that come out of order, as when an agent sends "
            "again what it could not send before. 0: none are taken. Without it: 30m.", reloadable=True),
    ] = None
    retention: Annotated[RetentionConfig, key("How much is kept.", reloadable=True)] = RetentionConfig()

    def shown_form(self, made: Mapping[str, Any]) -> Mapping[str, Any]:
        """Prometheus shows the window twice."""
        window = self.out_of_order_time_window
        return {"outofordertimewindow": int(window), **made} if window and made else made

    @property
    def late_window_ms(self) -> int:
        """`out_of_order_time_window`, ms."""
        window = self.out_of_order_time_window
        return DEFAULT_LATE_WINDOW_MS if window is None else int(window)


class RetentionRuleConfig(Section, frozen=True):
    """Series that are kept for another time than all others."""

    match: Annotated[str, key('Selector of the series, as in queries: `{job="debug"}`.')]
    keep: Annotated[Duration, key("How long they are kept, shorter or longer than `tsdb.retention.time`. 0: for ever.")]

    def checked(self, place: Place) -> RetentionRuleConfig:
        from tsdb.promql.syntax.parser import parse_selector

        try:
            parse_selector(self.match)
        except ParseError as problem:
            raise place.error(f"match: {problem}", "match") from None
        return self


class TierConfig(Section, frozen=True):
    """A downsampling tier: aggregates of all samples within windows of a length."""

    resolution: Annotated[Duration, key("How long its windows are: `5m`, `1h`, `1d`.")]
    retention: Annotated[Duration, key("How long they are kept, longer than `resolution`. 0: for ever.")]
    match: Annotated[
        str, key('Selector of the series that it is for, as in queries: `{job="node"}`. Without it: all series.')
    ] = ""
    quantiles: Annotated[
        tuple[float, ...],
        key("Quantiles of the samples of each window that are kept beside count, sum, min, max and the like, 0 to 1: "
            "`[0.5, 0.95, 0.99]`."),
    ] = ()

    def checked(self, place: Place) -> TierConfig:
        from tsdb.promql.syntax.parser import parse_selector

        if self.resolution <= 0:
            raise place.error("resolution must be greater than 0, as in 5m or 1h", "resolution")
        if 0 < self.retention <= self.resolution:
            raise place.error(f"retention must be longer than the resolution ({self.resolution}), or 0: for ever",
                              "retention")
        for index, quantile in enumerate(self.quantiles):
            if not 0 <= quantile <= 1:
                raise place.error("a quantile must be a number from 0 to 1", "quantiles", index)
        if self.match:
            try:
                parse_selector(self.match)
            except ParseError as problem:
                raise place.error(f"match: {problem}", "match") from None
        return self


DEFAULT_TIERS = (
    TierConfig(resolution=Duration.of("1h"), retention=Duration.of("30d")),
    TierConfig(resolution=Duration.of("1d"), retention=Duration.of("1y")),
)
"""`downsampling: default`."""
DEFAULT_TIERS_RETENTION = Duration.of("7d")
"""How long samples are kept with these, where nothing else says so."""

DEFAULT_MAX_EXEMPLARS = 100_000
"""Prometheus', where its exemplar storage is enabled."""


class ExemplarsConfig(Section, frozen=True):
    """Exemplars, such as traces that samples are examples of."""

    max_exemplars: Annotated[
        int,
        key("How many are kept, of all series together: the newest. Each takes about 100 bytes of memory and its "
            "labels. 0 or less: none are.", least=None),
    ] = 0


class LimitsConfig(Section, frozen=True):
    """Limits on series in the head: those that had a sample within the last one to three hours. A new series over a
    limit is refused, with its samples; those that are there go on. 0: no limit."""

    max_series: Annotated[int, key("Most series.", unit="series")] = 0
    max_series_per_metric: Annotated[int, key("Most series of one metric.", unit="series")] = 0
    max_series_per_job: Annotated[
        int, key("Most series with the same label `job`; those without are not counted.", unit="series")
    ] = 0
    max_label_values: Annotated[
        dict[str, int],
        key("Most values of a label, by its name: `{user_id: 100}`. `\"*\"` is for all labels that are not named, "
            "`__name__` among them.", unit="values"),
    ] = field(default_factory=dict)

    def checked(self, place: Place) -> LimitsConfig:
        if len(self.max_label_values) > MOST_LABEL_LIMITS:
            raise place.error(f"max_label_values: {MOST_LABEL_LIMITS} labels at most", "max_label_values")
        if "" in self.max_label_values:
            raise place.error("max_label_values: a label has a name", "max_label_values", "")
        return self


class StorageConfig(Section, frozen=True):
    """Where and how samples are kept."""

    wal: Annotated[WalConfig, key("The write-ahead log.")] = WalConfig()
    tsdb: Annotated[TsdbConfig, key("The database.")] = TsdbConfig()
    retention_rules: Annotated[
        tuple[RetentionRuleConfig, ...],
        key("Series that are kept shorter or longer than others. The first rule that a series matches holds for it.",
            reloadable=True),
    ] = ()
    limits: Annotated[
        LimitsConfig,
        key("Limits on series in the head. A new series over one of them is refused, with its samples; those that are "
            "there go on. 0: no limit.", reloadable=True),
    ] = LimitsConfig()
    exemplars: Annotated[
        ExemplarsConfig | None,
        key("Exemplars. Without this section 100,000 are kept.", reloadable=True),
    ] = None

    @property
    def max_exemplars(self) -> int:
        return DEFAULT_MAX_EXEMPLARS if self.exemplars is None else max(self.exemplars.max_exemplars, 0)


class RuntimeConfig(Section, frozen=True):
    """Of Prometheus' process."""

    gogc: Annotated[int, key("Taken for compatibility: there is no Go here.", least=None)] = 75


class TracingConfig(Section, frozen=True):
    """Where traces of our own requests are sent."""

    client_type: Annotated[Literal["grpc", "http"], key("Protocol.")] = "grpc"
    endpoint: Annotated[str, key("Where to, `host:port`.")] = ""
    sampling_fraction: Annotated[float, key("Which part of all requests is traced, 0 to 1.")] = 0.0
    insecure: Annotated[bool, key("Without TLS.")] = False
    tls_config: Annotated[TlsConfig, key("TLS.")] = TlsConfig()
    headers: Annotated[dict[str, str], key("More headers.")] = field(default_factory=dict)
    compression: Annotated[Literal["", "gzip"], key("`gzip` compresses.")] = ""
    timeout: Annotated[Duration, key("How long a request may take.")] = Duration(0)

    def checked(self, place: Place) -> TracingConfig:
        for name in self.headers:
            if name.lower() == "authorization":
                raise place.error("custom authorization header configuration is not yet supported", "headers", name)
            if name.lower() in RESERVED_HEADERS:
                raise place.error(f"{name} is a reserved header. It must not be changed", "headers", name)
        if not self.endpoint:
            raise place.error("tracing endpoint must be set", "endpoint")
        return self
