"""Storage: the head, its index and its files, behind `Storage`. Depends on tsdb.wal, tsdb.model and tsdb.kernels."""

from tsdb.storage.options import StorageOptions
from tsdb.storage.statistics import StorageStatistics
from tsdb.storage.storage import Storage

__all__ = ["Storage", "StorageOptions", "StorageStatistics"]
