"""Moved: `tsdb.testing.memory_storage`."""

from tsdb.testing.memory_storage import (
    Labels,
    MemoryCapture,
    MemorySelected,
    MemoryStorage,
    MemorySymbols,
    labels_of,
    matches,
    series_set,
)

__all__ = ["Labels", "MemoryCapture", "MemorySelected", "MemoryStorage", "MemorySymbols", "labels_of", "matches",
           "series_set"]
