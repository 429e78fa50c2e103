"""Backups: snapshots copied to a folder or a bucket, sharing what they have in common, and back.

::

    <destination>/files/<path>.<sha256>         files of snapshots, each stored once under its content
                 /backups/<time>.<sha256>       a manifest for each backup: its files, docs/formats.md

No object is ever changed. A file that is there is whole, so that what was interrupted goes on; a manifest is written
last, so that a backup is there as a whole or not at all.
"""

from tsdb.backup.backing_up import back_up, forget
from tsdb.backup.backups import Stored, backups, newest, read_manifest
from tsdb.backup.bucket_store import BucketStore
from tsdb.backup.folder_store import FolderStore
from tsdb.backup.manifest import FileEntry, Manifest
from tsdb.backup.restoring import restore
from tsdb.backup.store import Store
from tsdb.backup.verifying import verify

__all__ = ["BucketStore", "FileEntry", "FolderStore", "Manifest", "Store", "Stored", "back_up", "backups", "forget",
           "newest", "read_manifest", "restore", "verify"]
