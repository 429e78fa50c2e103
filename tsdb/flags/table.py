"""All flags of ``tsdb serve`` that Prometheus has, a row each: those of 3.5, of newer versions, and hidden ones.

The command line, /api/v1/status/flags and docs/configuration.md are made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass

from tsdb.flags.values import (
    ADDRESS,
    BOOL,
    DURATION,
    FILE,
    FOLDER,
    GO_DURATION,
    INTEGER,
    NUMBER,
    REGEX,
    RETENTION,
    SIZE,
    TEXT,
    URL,
    Kind,
    choice,
)

REMOTE_WRITE_MESSAGES = ("prometheus.WriteRequest", "io.prometheus.write.v2.Request")


@dataclass(frozen=True, slots=True)
class Flag:
    """A row of the table."""

    name: str
    """Without the dashes."""
    kind: Kind
    default: str
    """Text that `kind` reads; of repeated flags, separated by commas; empty: none."""
    doc: str
    """What it does here, or where it is not acted on, what it does in Prometheus."""
    acted: bool = False
    """Not acted on: accepted, with a warning in the log."""
    repeated: bool = False
    hidden: bool = False
    """Not in ``--help``."""

    @property
    def is_bool(self) -> bool:
        return self.kind is BOOL


def _acted(name: str, kind: Kind, default: str, doc: str, *, repeated: bool = False) -> Flag:
    return Flag(name, kind, default, doc, acted=True, repeated=repeated)


def _warned(name: str, kind: Kind, default: str, doc: str) -> Flag:
    return Flag(name, kind, default, doc)


def _hidden(name: str, kind: Kind, default: str, doc: str) -> Flag:
    return Flag(name, kind, default, doc, hidden=True)


_COMPRESSION = choice("snappy", "zstd")

FLAGS: tuple[Flag, ...] = (
    _acted("config.file", FILE, "", "Config file, YAML: a prometheus.yml. Without it everything has its default."),
    _acted("config.auto-reload-interval", DURATION, "30s",
           "How often the config file is looked at for changes, with `--enable-feature=auto-reload-config`."),
    _acted("web.listen-address", ADDRESS, "127.0.0.1:9090",
           "Address to serve on; port 0 takes a free one. May be repeated.", repeated=True),
    _acted("web.config.file", FILE, "", "Prometheus' web configuration: TLS, client certificates, basic auth."),
    _acted("web.read-timeout", DURATION, "5m",
           "How long a client may take to send a request; idle connections are closed after it. 0: no limit."),
    _acted("web.max-connections", INTEGER, "512",
           "Most connections at once on all addresses; further ones wait. 0: no limit."),
    _acted("web.max-notifications-subscribers", INTEGER, "16", "Most clients of /api/v1/notifications/live."),
    _acted("web.external-url", URL, "",
           "URL under which others reach the server. Its path is the default of --web.route-prefix."),
    _acted("web.route-prefix", TEXT, "", "Prefix of all routes. By default the path of --web.external-url."),
    _warned("web.local-assets", FOLDER, "", "Folder of Debian's Prometheus for its web pages."),
    _warned("web.user-assets", FOLDER, "", "Folder that is served at /user."),
    _acted("web.enable-lifecycle", BOOL, "false", "Allows POST /-/reload and /-/quit."),
    _acted("web.enable-admin-api", BOOL, "false", "Allows /api/v1/admin."),
    _acted("web.enable-remote-write-receiver", BOOL, "false", "No effect: /api/v1/write is always there."),
    _acted("web.remote-write-receiver.accepted-protobuf-messages", choice(*REMOTE_WRITE_MESSAGES),
           ",".join(REMOTE_WRITE_MESSAGES), "Messages that /api/v1/write takes. May be repeated.", repeated=True),
    _warned("web.enable-otlp-receiver", BOOL, "false", "Takes samples by OTLP."),
    _warned("web.console.templates", FOLDER, "consoles", "Folder of console templates."),
    _warned("web.console.libraries", FOLDER, "console_libraries", "Folder of console libraries."),
    _acted("web.page-title", TEXT, "Prometheus Time Series Collection and Processing Server", "Title of web pages."),
    _acted("web.cors.origin", REGEX, ".*",
           "Origins whose pages may read answers; matched as a whole, as in `https?://(a|b)\\.com`."),
    _acted("storage.tsdb.path", FOLDER, "data", "Data directory, made if it is missing."),
    _hidden("storage.tsdb.min-block-duration", DURATION, "2h", "Shortest block."),
    _hidden("storage.tsdb.max-block-duration", DURATION, "", "Longest block."),
    _hidden("storage.tsdb.max-block-chunk-segment-size", SIZE, "0B", "Largest file of chunks in a block."),
    _hidden("storage.tsdb.wal-segment-size", SIZE, "0B", "Size of the log's segments."),
    _acted("storage.tsdb.retention.time", RETENTION, "",
           "How long samples are kept. 0: 15d, or for ever with --storage.tsdb.retention.size."),
    _acted("storage.tsdb.retention.size", SIZE, "", "How much the data may take on disk, as in 512MB; 0: no limit."),
    Flag("storage.tsdb.retention", RETENTION, "", "The old name of --storage.tsdb.retention.time, gone in 3.0.",
         acted=True, hidden=True),
    _warned("storage.tsdb.no-lockfile", BOOL, "false", "Makes no lock file in the data directory."),
    _hidden("storage.tsdb.allow-overlapping-compaction", BOOL, "true", "Merges overlapping blocks."),
    _hidden("storage.tsdb.allow-overlapping-blocks", BOOL, "false", "Had no effect since 2.39."),
    _hidden("storage.tsdb.wal-compression", BOOL, "true", "Compresses the log."),
    _hidden("storage.tsdb.wal-compression-type", _COMPRESSION, "snappy", "How the log is compressed."),
    _warned("storage.tsdb.head-chunks-write-queue-size", INTEGER, "0", "Queue of chunks to be written."),
    _hidden("storage.tsdb.samples-per-chunk", INTEGER, "120", "Samples that a chunk is made for."),
    _hidden("storage.tsdb.delayed-compaction.max-percent", INTEGER, "10", "Longest delay of a compaction."),
    _warned("storage.tsdb.delay-compact-file.path", FILE, "", "Blocks that are not in this file are not compacted."),
    _hidden("storage.tsdb.block-reload-interval", DURATION, "1m", "How often new blocks are looked for."),
    _warned("storage.agent.path", FOLDER, "data-agent/", "Data directory of an agent."),
    _hidden("storage.agent.wal-segment-size", SIZE, "0B", "Size of an agent's log segments."),
    _warned("storage.agent.wal-compression", BOOL, "true", "Compresses an agent's log."),
    _hidden("storage.agent.wal-compression-type", _COMPRESSION, "snappy", "How an agent's log is compressed."),
    _hidden("storage.agent.wal-truncate-frequency", DURATION, "0s", "How often an agent's log is cut."),
    _warned("storage.agent.retention.min-time", DURATION, "0s", "Least age at which an agent drops samples."),
    _warned("storage.agent.retention.max-time", DURATION, "0s", "Age at which an agent drops samples in any case."),
    _warned("storage.agent.no-lockfile", BOOL, "false", "Makes no lock file in an agent's directory."),
    _warned("storage.remote.flush-deadline", DURATION, "1m", "How long remote_write may take at a stop or reload."),
    _warned("storage.remote.read-sample-limit", INTEGER, "50000000", "Most samples in an answer of remote_read."),
    _warned("storage.remote.read-concurrent-limit", INTEGER, "10", "Most remote_reads at once."),
    _warned("storage.remote.read-max-bytes-in-frame", INTEGER, "1048576", "Frame of a streamed remote_read."),
    _warned("rules.alert.for-outage-tolerance", DURATION, "1h", "Longest outage after which `for` is restored."),
    _warned("rules.alert.for-grace-period", DURATION, "10m", "Least time between an alert and its restored `for`."),
    _warned("rules.alert.resend-delay", DURATION, "1m", "How often an alert is sent again."),
    _warned("rules.max-concurrent-evals", INTEGER, "4", "Most rules evaluated at once."),
    _hidden("scrape.adjust-timestamps", BOOL, "true", "Aligns times of scrapes to their schedule."),
    _hidden("scrape.timestamp-tolerance", GO_DURATION, "2ms", "By how much times of scrapes are aligned."),
    _hidden("scrape.discovery-reload-interval", DURATION, "5s", "How often changed targets are applied."),
    _warned("alertmanager.notification-queue-capacity", INTEGER, "10000", "Alerts that may wait."),
    _warned("alertmanager.notification-batch-size", INTEGER, "256", "Most alerts sent at once."),
    _warned("alertmanager.drain-notification-queue-on-shutdown", BOOL, "true", "Sends waiting alerts at a stop."),
    _hidden("alertmanager.timeout", DURATION, "", "Had no effect since 2.25."),
    _acted("query.lookback-delta", DURATION, "5m", "How far a selector looks back for the newest sample."),
    _acted("query.timeout", DURATION, "2m", "How long a query may take, its wait in the queue included."),
    _acted("query.max-concurrency", INTEGER, "",
           "How many queries run at once; others wait. Without it: by the number of cores."),
    _acted("query.max-samples", INTEGER, "50000000", "Most samples that one query may hold in memory."),
    _acted("enable-feature", TEXT, "", "Names of features, separated by commas. May be repeated.", repeated=True),
    _warned("auto-gomaxprocs", BOOL, "true", "Sets Go's threads by the container's CPU quota."),
    _warned("auto-gomemlimit", BOOL, "true", "Sets Go's memory limit by the container's."),
    _warned("auto-gomemlimit.ratio", NUMBER, "0.9", "Share of the memory that Go may use."),
    _warned("agent", BOOL, "false", "Agent mode: scrapes and sends on, without queries."),
    _acted("log.level", choice("debug", "info", "warn", "error"), "info",
           "Least level of the log lines on standard error."),
    _acted("log.format", choice("logfmt", "json"), "logfmt", "Form of the log lines."),
)

GONE = frozenset({
    "storage.tsdb.retention", "storage.tsdb.allow-overlapping-blocks", "alertmanager.timeout", "web.local-assets",
})
"""Rows that the current Prometheus does not have: taken, but shown by /api/v1/status/flags only if they are given."""
