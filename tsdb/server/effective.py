"""The config in effect: the file's, with what the flags say on top."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from tsdb import flags as flag_table
from tsdb.config import Config
from tsdb.flags import Flags
from tsdb.model.settings import Bytes, Duration, Section

S = TypeVar("S", bound=Section)


def effective(config: Config, flags: Flags) -> Config:
    """The config; a key that a flag was given for has the flag's value."""
    tsdb = config.storage.tsdb
    retention = _with(
        tsdb.retention, time=_if_given(Duration, flags.retention_ms), size=_if_given(Bytes, flags.retention_bytes)
    )
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
