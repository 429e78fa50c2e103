"""/api/v1/features: what this server can do, in the groups and names of Prometheus' own list."""

from __future__ import annotations

from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.functions import FUNCTIONS
from tsdb.server.http.answer import Answer, success_sorted
from tsdb.server.http.route import Request
from tsdb.server.services import Services

_OPERATORS = (
    "+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "=~", "!~", "and", "or", "unless", "atan2", "@",
)
_KEYWORDS = (
    "anchored", "at_modifier", "bool", "by", "duration_expr", "fill", "fill_left", "fill_right", "group_left",
    "group_right", "ignoring", "negative_offset", "offset", "on", "smoothed", "without",
)
_API = (
    "exclude_alerts", "label_values_match", "openapi_3.1", "query_stats", "query_warnings", "time_range_labels",
    "time_range_series",
)
_DISCOVERY = (
    "azure", "consul", "digitalocean", "dns", "docker", "ec2", "eureka", "file", "gce", "http", "kubernetes", "linode",
    "marathon", "nomad", "openstack", "static",
)
_BUILT_DISCOVERY = frozenset(("file", "static"))


def features(services: Services) -> dict[str, dict[str, bool]]:
    options = services.options
    exemplars = services.config.storage.max_exemplars > 0
    return {
        "api": dict.fromkeys(_API, True) | {
            "admin": options.enable_admin_api,
            "lifecycle": options.enable_lifecycle,
            "otlp_write_receiver": False,
            "remote_write_receiver": True,
        },
        "prometheus": {
            "agent_mode": False,
            "auto_reload_config": "auto-reload-config" in options.features,
            "exemplar_storage": exemplars,
        },
        "promql": dict.fromkeys(_KEYWORDS, True) | {
            "delayed_name_removal": "promql-delayed-name-removal" in options.features,
            "per_step_stats": True,
        },
        "promql_functions": dict.fromkeys(FUNCTIONS, True),
        "promql_operators": dict.fromkeys((*_OPERATORS, *AGGREGATIONS), True),
        "rules": {"concurrent_rule_eval": False, "keep_firing_for": False, "query_offset": False},
        "scrape": {
            "extra_scrape_metrics": "extra-scrape-metrics" in options.features,
            "start_timestamp_zero_ingestion": False,
            "type_and_unit_labels": False,
        },
        "service_discovery_providers": {name: name in _BUILT_DISCOVERY for name in _DISCOVERY},
        "tsdb": {"delayed_compaction": False, "exemplar_storage": exemplars, "native_histograms": True},
        "ui": {"ui_v2": False, "ui_v3": False},
    }


async def list_features(services: Services, request: Request) -> Answer:
    return success_sorted(features(services), escape=False)
