"""Blocks that come from elsewhere while the storage is open: staged, checked wholly, shown as a whole or not at all."""

from tsdb.storage.uploads.uploads import State, Status, Uploads, UploadStatistics

__all__ = ["State", "Status", "UploadStatistics", "Uploads"]
