"""The config in effect: the file's, with what the flags say on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tsdb import flags as flag_table
from tsdb.config import Config
from tsdb.flags import Flags
from tsdb.model.settings import Bytes, Duration, Section
from tsdb.server.config import DEFAULT_TIERS, DEFAULT_TIERS_RETENTION

if TYPE_CHECKING:
    from tsdb.server.config import StorageConfig
    from tsdb.storage.head.limits import SeriesLimits
    from tsdb.storage.tiers.rule import TierRule
    from tsdb.storage.upkeep.retention import Retention

S = TypeVar("S", bound=Section)


def effective(config: Config, flags: Flags) -> Config:
    """The config; a key that a flag was given for has the flag's value."""
    tsdb = config.storage.tsdb
    retention = _with(
        tsdb.retention, time=_if_given(Duration, flags.retention_ms), size=_if_given(Bytes, flags.retention_bytes)
    )
    explicit = retention.time or retention.size or retention.percentage
    if config.downsampling is DEFAULT_TIERS and not explicit:
        retention = _with(retention, time=DEFAULT_TIERS_RETENTION)
    tsdb = _with(tsdb, path=_if_given(str, flags.storage_path), retention=retention)
    query = _with(
        config.query,
        timeout=_if_given(Duration, flags.query_timeout_ms),
        max_samples=flags.query_max_samples,
        max_concurrency=flags.query_max_concurrency,
        lookback_delta=_if_given(Duration, flags.lookback_delta_ms),
    )
    server = _with(
        config.server,
        listen=",".join(flags.listen_addresses) or None,
        read_timeout=_if_given(Duration, flags.read_timeout_ms),
    )
    return _with(config, storage=_with(config.storage, tsdb=tsdb), query=query, server=server)


def retention(storage: StorageConfig) -> Retention:
    """What is kept, as storage takes it."""
    from tsdb.promql.syntax.parser import parse_selector
    from tsdb.storage.upkeep.retention import Retention, RetentionRule

    limits = storage.tsdb.retention
    rules = tuple(RetentionRule(parse_selector(rule.match), int(rule.keep)) for rule in storage.retention_rules)
    return Retention(limits.time_ms, int(limits.size), limits.percentage, rules)


def tiers(config: Config) -> tuple[TierRule, ...]:
    """Downsampling tiers, as storage takes them."""
    from tsdb.promql.syntax.parser import parse_selector
    from tsdb.storage.tiers.rule import TierRule

    return tuple(TierRule(int(tier.resolution), int(tier.retention), parse_selector(tier.match) if tier.match else (),
                          tier.quantiles) for tier in config.downsampling)


def series_limits(storage: StorageConfig) -> SeriesLimits:
    """Limits on series, as storage takes them."""
    from tsdb.storage.head.limits import SeriesLimits

    limits = storage.limits
    return SeriesLimits(limits.max_series, limits.max_series_per_metric, limits.max_series_per_job,
                        limits.max_label_values)


def addresses(config: Config) -> list[str]:
    """Where the server listens: `server.listen` may name several, separated by commas."""
    return [address.strip() for address in config.server.listen.split(",")]


def shown(config: Config, flags: Flags, concurrency: int) -> dict[str, str]:
    """All flags with the values that hold, for /api/v1/status/flags. `config` is the one in effect."""
    return flag_table.shown(
        flags,
        listen=",".join(addresses(config)),
        data=config.storage.tsdb.path,
        lookback_ms=config.query.lookback_delta,
        timeout_ms=config.query.timeout,
        read_timeout_ms=config.server.read_timeout,
        concurrency=concurrency,
        max_samples=config.query.max_samples,
        retention_ms=config.storage.tsdb.retention.time_ms,
        retention_bytes=config.storage.tsdb.retention.size,
    )


def _if_given(type_: type[Any], value: object) -> Any:
    return None if value is None else type_(value)


def _with(section: S, **values: Any) -> S:
    """The section with those values that are not None."""
    given = {name: value for name, value in values.items() if value is not None}
    return msgspec.structs.replace(section, **given) if given else section
