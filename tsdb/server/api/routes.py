"""All routes of the server, a row each. docs/http-api.md is made from this table."""

from __future__ import annotations

from tsdb.server import notifications
from tsdb.server.api import (
    admin,
    completion,
    export,
    expressions,
    features,
    federate,
    lifecycle,
    lookups,
    metadata,
    openapi,
    queries,
    query_status,
    rules,
    runtime,
    search,
    self_metrics,
    status,
    targets,
    uploads,
    usage,
    write,
)
from tsdb.server.http.route import Parameter, Permission, Route

_TIMEOUT = Parameter("timeout", "duration", "How long the answer may take, at most `query.timeout`.")
_LIMIT = Parameter("limit", "integer", "Most series or names in the answer; 0, as without it: all. A warning tells.")
_LOOKBACK = Parameter("lookback_delta", "duration", "How far selectors look back, instead of `query.lookback_delta`.")
_RESOLUTION = Parameter(
    "max_source_resolution", "duration", "Reads the coarsest downsampling tier of at most this resolution, exact or "
    "not; `0s`: samples alone; `auto`, as without it: tiers where they give the same, or samples are gone.")
_STATS = Parameter("stats", "text", "Anything: adds timings and sample counts.")
_EXPLAIN = Parameter("explain", "boolean", "Adds the plan as a tree, with what each part read, gave and took.")
_QUERY = Parameter("query", "PromQL", "The expression.", required=True)
_START = Parameter("start", "time", "Only series with samples at or after this.")
_END = Parameter("end", "time", "Only series with samples at or before this.")
_MATCH = Parameter("match[]", "selector", "Only series that one of these selects; may be repeated.")
_REQUIRED_MATCH = Parameter("match[]", "selector", "Which series; may be repeated.", required=True)
_SEARCH = (
    Parameter("search[]", "text", "What to look for; may be repeated: any of them. Without it: all."),
    Parameter("fuzz_alg", "text", "`subsequence` (the default): the characters in their order; `jarowinkler`: the text "
              "within the name, or a similar one where `fuzz_threshold` is above 0."),
    Parameter("fuzz_threshold", "integer", "How well names must match, 0 (the default) to 100."),
    Parameter("case_sensitive", "boolean", "`false`: upper case is no difference."),
    Parameter("sort_by", "text", "`alpha`, or `score`: the best first."),
    Parameter("sort_dir", "text", "`asc` or `dsc`, with `sort_by=alpha`."),
    Parameter("include_score", "boolean", "Adds scores, 0 to 1."),
    Parameter("limit", "integer", "Most names; 100 where it is 0 or missing. `has_more` tells that there are more."),
    Parameter("batch_size", "integer", "Names in a line of the answer; 100 where it is 0 or missing."),
    Parameter("start", "time", "Only series with samples at or after this; an hour ago, where it is missing."),
    Parameter("end", "time", "Only series with samples at or before this; now, where it is missing."),
    _MATCH,
)
_POOL = Parameter("scrapePool", "text", "Name of the job.", required=True)

ROUTES: tuple[Route, ...] = (
    Route(("GET",), "/", Permission.PUBLIC, status.index, "This list.", needs_storage=False),
    Route(
        ("GET", "POST"), "/api/v1/query", Permission.READ, queries.query,
        "Evaluates an expression at one time.",
        (_QUERY, Parameter("time", "time", "When; now, where it is missing."), _TIMEOUT, _LIMIT, _LOOKBACK,
         _RESOLUTION, _STATS, _EXPLAIN),
    ),
    Route(
        ("GET", "POST"), "/api/v1/query_range", Permission.READ, queries.query_range,
        "Evaluates an expression at start, start + step, … up to end.",
        (
            _QUERY,
            Parameter("start", "time", "The first time.", required=True),
            Parameter("end", "time", "The last time, included.", required=True),
            Parameter("step", "duration", "From one time to the next; at most 11,000 steps.", required=True),
            _TIMEOUT, _LIMIT, _LOOKBACK, _RESOLUTION, _STATS, _EXPLAIN,
        ),
    ),
    Route(
        ("GET", "POST"), "/api/v1/query_exemplars", Permission.READ, expressions.query_exemplars,
        "Exemplars of the series of every selector in an expression, sorted by labels.", (_QUERY, _START, _END),
    ),
    Route(
        ("GET", "POST"), "/api/v1/format_query", Permission.READ, expressions.format_query,
        "The expression as a person would write it.", (_QUERY,),
    ),
    Route(
        ("GET", "POST"), "/api/v1/parse_query", Permission.READ, expressions.parse_query,
        "The tree of the expression.", (_QUERY,),
    ),
    Route(
        ("GET", "POST"), "/api/v1/labels", Permission.READ, lookups.label_names,
        "Names of labels.", (_START, _END, _MATCH, _LIMIT),
    ),
    Route(
        ("GET",), "/api/v1/label/{name}/values", Permission.READ, lookups.label_values,
        "Values of a label. A name that is not plain is written as it is or in Prometheus' escaping (`U__a_2e_b`).",
        (_START, _END, _MATCH, _LIMIT),
    ),
    Route(
        ("GET", "POST"), "/api/tsdb/v1/completion", Permission.READ, completion.completion,
        "What may stand at the cursor of a query, finished or not, the best first: metrics with type and help, "
        "functions and aggregations with signature and doc line, keywords, labels of the metric, their values, units. "
        "`candidates` have `label` (to be shown), `insert` (takes the place of the characters `from` to `to`), `kind` "
        "and `score`.",
        (
            Parameter("query", "PromQL", "The text, as far as it is written."),
            Parameter("cursor", "integer", "Characters (code points) before the cursor; all, where it is missing."),
            Parameter("limit", "integer", "Most candidates; 100 where it is missing, at most 1,000."),
            Parameter("start", "time", "Only series with samples at or after this; an hour ago, where it is missing."),
            _END,
        ),
    ),
    Route(
        ("GET", "POST"), "/api/v1/search/metric_names", Permission.READ, search.metric_names,
        "Names of metrics that match a text, as lines of JSON: `{\"results\":[{\"name\":…}]}`, at last "
        "`{\"status\":\"success\",\"has_more\":…}`. As in Prometheus' newest, without a feature flag.",
        (*_SEARCH, Parameter("include_metadata", "boolean", "Adds type, help and unit.")),
    ),
    Route(
        ("GET", "POST"), "/api/v1/search/label_names", Permission.READ, search.label_names,
        "Names of labels that match a text, likewise.", _SEARCH,
    ),
    Route(
        ("GET", "POST"), "/api/v1/search/label_values", Permission.READ, search.label_values,
        "Values of a label that match a text, likewise.",
        (Parameter("label", "text", "Which label.", required=True), *_SEARCH),
    ),
    Route(
        ("GET", "POST"), "/api/v1/series", Permission.READ, lookups.series,
        "Label sets of series.",
        (_REQUIRED_MATCH, _START, _END, _LIMIT),
    ),
    Route(
        ("GET",), "/api/v1/metadata", Permission.READ, metadata.metadata,
        "Type, unit and help of metrics: as the targets that are scraped now have them; of others, what came last "
        "by a scrape or remote_write.",
        (
            Parameter("metric", "text", "Only this metric family."),
            Parameter("limit", "integer", "Most metrics in the answer."),
            Parameter("limit_per_metric", "integer", "Most entries for one metric."),
        ),
    ),
    Route(
        ("DELETE",), "/api/v1/series", Permission.ADMIN, admin.drop_series,
        "Never built, as in Prometheus: answered with 500.",
    ),
    Route(("GET",), "/api/v1/scrape_pools", Permission.READ, targets.scrape_pools, "Names of the scrape jobs."),
    Route(
        ("GET",), "/api/v1/scrape_pools/config", Permission.READ, targets.scrape_pool_config,
        "The config of one scrape job, as YAML without secrets.", (_POOL,),
    ),
    Route(
        ("GET",), "/api/v1/targets", Permission.READ, targets.targets,
        "Targets that are scraped, and those that relabeling dropped.",
        (
            Parameter("state", "text", "`active`, `dropped` or `any`; all of them, where it is missing."),
            Parameter("scrapePool", "text", "Only targets of this job."),
        ),
    ),
    Route(
        ("GET",), "/api/v1/targets/metadata", Permission.READ, metadata.targets_metadata,
        "Type, unit and help of metrics, target by target.",
        (
            Parameter("match_target", "selector", "Only targets whose labels it selects."),
            Parameter("metric", "text", "Only this metric family."),
            Parameter("limit", "integer", "No further targets once there are so many entries."),
        ),
    ),
    Route(
        ("GET",), "/api/v1/targets/relabel_steps", Permission.READ, targets.relabel_steps,
        "What each relabeling rule of a job makes of the labels of a discovered target.",
        (_POOL, Parameter("labels", "JSON", "The labels, an object of texts.", required=True)),
    ),
    Route(
        ("GET",), "/api/v1/rules", Permission.READ, rules.rules,
        "Recording and alerting rules. There are none yet.",
        (
            Parameter("type", "text", "`alert` or `record`."),
            Parameter("rule_name[]", "text", "Only rules of this name; may be repeated."),
            Parameter("rule_group[]", "text", "Only groups of this name; may be repeated."),
            Parameter("file[]", "text", "Only groups of this file; may be repeated."),
            Parameter("match[]", "selector", "Only rules whose labels it selects; may be repeated."),
            Parameter("exclude_alerts", "boolean", "Leaves active alerts out."),
            Parameter("group_limit", "integer", "Most groups in the answer."),
            Parameter("group_next_token", "text", "From a cut answer: the next groups."),
        ),
    ),
    Route(("GET",), "/api/v1/alerts", Permission.READ, rules.alerts, "Active alerts. There are none yet."),
    Route(
        ("GET",), "/api/v1/alertmanagers", Permission.READ, rules.alertmanagers,
        "Alert managers that alerts are sent to. There are none yet.",
    ),
    Route(
        ("GET",), "/api/v1/status/buildinfo", Permission.READ, status.build_info,
        "The Prometheus version that is matched, and this server's own.", needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/status/config", Permission.READ, runtime.config,
        "The config in effect, as YAML without secrets, and without what flags say.",
    ),
    Route(("GET",), "/api/v1/status/flags", Permission.READ, runtime.flags, "Values of all flags."),
    Route(
        ("GET",), "/api/v1/status/runtimeinfo", Permission.READ, runtime.runtime_info,
        "The process: its start, the last reload, retention.",
    ),
    Route(
        ("GET",), "/api/v1/status/tsdb", Permission.READ, runtime.tsdb,
        "Sizes of the head, the metrics, label names and label pairs with the most series, and the metrics with the "
        "most series created and removed.",
        (Parameter("limit", "integer", "Rows of each table; 10 where it is missing, at most 10,000."),
         Parameter("match[]", "selector", "Counts only the series of the head that it finds; may be repeated.")),
    ),
    Route(
        ("GET",), "/api/v1/status/tsdb/blocks", Permission.READ, runtime.blocks,
        "What each block's meta.json says, the oldest first.",
    ),
    Route(
        ("GET",), "/api/v1/status/active_queries", Permission.READ, query_status.active_queries,
        "Queries that wait or run now, the oldest first, in the shape of VictoriaMetrics: ids, clients, times (ms), "
        "and what they have read and hold.", needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/status/top_queries", Permission.READ, query_status.top_queries,
        "The queries that were asked most often, and that took most time and memory, of the last 20,000 that took a "
        "millisecond or more, in the shape of VictoriaMetrics.",
        (
            Parameter("topN", "integer", "Rows of each table; 20 where it is missing, at most 10,000."),
            Parameter("maxLifetime", "duration", "Only queries that ended within this time; 10m where it is missing."),
        ),
        needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/status/metric_names_stats", Permission.READ, usage.metric_names_stats,
        "How many queries asked for each metric that is stored, when last, and who asked; metrics that none asked for "
        "have 0. In the shape of VictoriaMetrics, with `seriesCount` and `sources` of our own.",
        (
            Parameter("limit", "integer", "Most metrics in the answer, the least queried first, of these the ones with "
                      "most series; 1,000 where it is missing."),
            Parameter("le", "integer", "Only metrics with at most so many queries; 0: those that are never queried."),
            Parameter("match_pattern", "text", "Only metrics whose name this expression matches, anywhere in it."),
        ),
    ),
    Route(
        ("GET", "POST"), "/api/v1/admin/status/metric_names_stats/reset", Permission.ADMIN, usage.reset,
        "Forgets all of these counts, which begin anew. VictoriaMetrics' path.",
    ),
    Route(
        ("POST",), "/api/tsdb/v1/queries/{id}/cancel", Permission.ADMIN, query_status.cancel,
        "Ends a query that waits or runs, which is answered with 499; 404 where there is none of this id. Not in "
        "Prometheus.", needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/status/walreplay", Permission.READ, runtime.wal_replay,
        "Segments of the log that were replayed.", needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/status/self_metrics", Permission.READ, self_metrics.self_metrics,
        "The server's own metrics, as protobuf's JSON has them.",
        (Parameter("metric_name_pattern", "text", "Only families whose whole name matches this expression."),),
        needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/features", Permission.READ, features.list_features,
        "What this server can do, by Prometheus' names.",
    ),
    Route(
        ("GET",), "/api/v1/notifications", Permission.READ, notifications.notifications,
        "What is wrong with the server now.", needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/notifications/live", Permission.READ, notifications.notifications_live,
        "Notifications as they come and go, as server-sent events. 204 where too many clients listen.",
        needs_storage=False, compressed=False,
    ),
    Route(
        ("POST",), "/api/v1/write", Permission.WRITE, write.write,
        "Takes samples, native histograms, exemplars and metadata by Prometheus remote_write 1.0 and 2.0: protobuf "
        "compressed by snappy, the Content-Type says which. An answer to 2.0 has the headers "
        "`X-Prometheus-Remote-Write-Samples-Written`, `…-Histograms-Written` and `…-Exemplars-Written`. Start "
        "timestamps are kept.", compressed=False,
    ),
    Route(
        ("GET", "POST"), "/api/v1/export", Permission.READ, export.export,
        "Samples as they are, of any range, while they are read: what fails later than at once breaks off. "
        "VictoriaMetrics' path; docs/export.md describes the formats.",
        (
            _REQUIRED_MATCH,
            Parameter("start", "time", "Only samples at or after this; without it: all."),
            Parameter("end", "time", "Only samples at or before this; without it: all."),
            Parameter("format", "text", "`jsonl` (the default): JSON lines; `csv`, `openmetrics`, `parquet`."),
            Parameter("max_rows_per_line", "integer", "Most samples of a line of JSON; without it, as many as make 1 "
                      "MiB."),
            Parameter("time_format", "text", "Of CSV: `ms` (the default), `s`, `ns` or `rfc3339`."),
            Parameter("timeout", "duration", "How long the answer may take, at most `query.export_timeout`."),
        ),
    ),
    Route(
        ("POST",), "/api/v1/upload/block/{block}/start", Permission.WRITE, uploads.start,
        "Begins to take a block of history, whose meta.json is the body, or goes on with one. 409: it is there "
        "already, be it as a part of another. The API is Mimir's; the blocks are tsdb's, not Prometheus': `tsdb "
        "import` makes and uploads them.",
    ),
    Route(
        ("POST",), "/api/v1/upload/block/{block}/files", Permission.WRITE, uploads.files,
        "Takes a file of the block, or a part of one. `Content-Digest` (RFC 9530, `sha-256`) is checked where it is "
        "given.",
        (
            Parameter("path", "text", "`index` or `chunks`.", required=True),
            Parameter("offset", "integer", "Where the part begins: where the last one ended, or within what is there; "
                      "0, as without it: the file begins anew. Not in Mimir, which takes whole files."),
        ),
    ),
    Route(
        ("POST",), "/api/v1/upload/block/{block}/finish", Permission.WRITE, uploads.finish,
        "All has been sent: begins to look at every byte of the block, as `tsdb check data` does, and shows it to "
        "queries if it is in order.",
    ),
    Route(
        ("GET",), "/api/v1/upload/block/{block}/check", Permission.WRITE, uploads.check,
        "How far that is: `{\"result\":…}`, `uploading` (with the bytes of `files` that are there), `validating`, "
        "`complete` or `failed` (with an `error`); 404 where nothing is known of the block.",
    ),
    Route(
        ("POST", "PUT"), "/api/v1/admin/tsdb/delete_series", Permission.ADMIN, admin.delete_series,
        "Deletes samples of series, durably and at once; their room on disk is freed in the background. Only with "
        "`--web.enable-admin-api`.",
        (_REQUIRED_MATCH, _START, _END),
    ),
    Route(
        ("POST", "PUT"), "/api/v1/admin/tsdb/clean_tombstones", Permission.ADMIN, admin.clean_tombstones,
        "Frees the room of what was deleted, now. Only with `--web.enable-admin-api`.",
    ),
    Route(
        ("POST", "PUT"), "/api/v1/admin/tsdb/snapshot", Permission.ADMIN, admin.snapshot,
        "Copies the data to a folder in `<data>/snapshots`, whose name it answers; `tsdb restore` makes a data "
        "directory of it. Only with `--web.enable-admin-api`.",
        (Parameter("skip_head", "boolean", "Leaves out what is not in a block."),),
    ),
    Route(
        ("POST", "PUT"), "/api/v1/admin/tsdb/compact", Permission.ADMIN, admin.compact,
        "Writes everything in memory to blocks and compacts these until nothing is left to do; then answers. Not in "
        "Prometheus. Only with `--web.enable-admin-api`.",
    ),
    Route(
        ("GET",), "/federate", Permission.READ, federate.federate,
        "The newest samples of some series in the text format, with `global.external_labels`.",
        (Parameter("match[]", "selector", "Which series; may be repeated. Without it: none."),),
    ),
    Route(("GET",), "/metrics", Permission.READ, status.metrics, "The server's own metrics.", needs_storage=False),
    Route(
        ("GET", "HEAD"), "/-/healthy", Permission.PUBLIC, status.healthy,
        "200 as long as the process answers.", needs_storage=False, compressed=False,
    ),
    Route(
        ("GET", "HEAD"), "/-/ready", Permission.PUBLIC, status.ready,
        "200 once queries are answered, before and after that 503 with what is going on.",
        needs_storage=False, compressed=False,
    ),
    Route(
        ("POST", "PUT"), "/-/reload", Permission.ADMIN, lifecycle.reload,
        "Reads the config again. Answers when it is in effect, or with 500 and why it is not. Only with "
        "`--web.enable-lifecycle`.", needs_storage=False, compressed=False,
    ),
    Route(
        ("POST", "PUT"), "/-/quit", Permission.ADMIN, lifecycle.quit_server,
        "Stops the server. Only with `--web.enable-lifecycle`.", needs_storage=False, compressed=False,
    ),
    Route(("GET",), "/-/reload", Permission.PUBLIC, lifecycle.only_post, "405.", needs_storage=False),
    Route(("GET",), "/-/quit", Permission.PUBLIC, lifecycle.only_post, "405.", needs_storage=False),
    Route(
        ("GET",), "/openapi.yaml", Permission.PUBLIC, openapi.openapi,
        "All routes as an OpenAPI 3.1 document.", needs_storage=False,
    ),
    Route(
        ("GET",), "/api/v1/openapi.yaml", Permission.PUBLIC, openapi.openapi, "The same.", needs_storage=False,
    ),
    Route(("GET",), "/version", Permission.READ, runtime.version, "As buildinfo, bare.", needs_storage=False),
)

PAGES: tuple[Route, ...] = tuple(
    Route(("GET",), path, Permission.PUBLIC, status.to_index, "To the list of routes.", needs_storage=False)
    for path in (
        "/alertmanager-discovery", "/alerts", "/config", "/flags", "/graph", "/query", "/rules", "/service-discovery",
        "/status", "/targets", "/tsdb-status",
    )
)
"""Pages of Prometheus' UI, which links in alerts and bookmarks lead to. They are no part of the API."""
