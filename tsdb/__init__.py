"""tsdb: a Prometheus-compatible time-series database, as a server and as a library.

::

    import tsdb

    with tsdb.open("data/") as db:
        db.append({"__name__": "temperature", "room": "lab"}, [1764000000.0, 1764000015.0], [20.5, 20.6])
        result = db.query_range("avg_over_time(temperature[1m])", 1764000000, 1764000060, "15s")
        result.labels, result.timestamps, result.values

Names are loaded when they are first used, so that ``tsdb --help`` does not wait for numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsdb import promql
    from tsdb.embedded import Database, DownsamplingTier, SeriesExemplars, SeriesLimits, StoredExemplar, open
    from tsdb.model.batch import Metadata
    from tsdb.model.native_histograms import NativeHistogram
    from tsdb.result import Result

__version__ = "0.1.0"
__all__ = ["Database", "DownsamplingTier", "Metadata", "NativeHistogram", "Result", "SeriesExemplars", "SeriesLimits",
           "StoredExemplar", "__version__", "open", "promql"]

_HOME = {"Database": "tsdb.embedded", "open": "tsdb.embedded", "Metadata": "tsdb.model.batch",
         "NativeHistogram": "tsdb.model.native_histograms", "Result": "tsdb.result",
         "SeriesExemplars": "tsdb.embedded", "DownsamplingTier": "tsdb.embedded", "SeriesLimits": "tsdb.embedded",
         "StoredExemplar": "tsdb.embedded"}


def __getattr__(name: str) -> Any:
    if name == "promql":
        return import_module("tsdb.promql")
    if name not in _HOME:
        raise AttributeError(f"module 'tsdb' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
