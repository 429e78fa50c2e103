"""The write-ahead log: what was acknowledged survives, whatever happens to the process or the power.

How it is used (all of it is thread-safe; arrays are described in `records` and `replay`)::

    fs = LocalFileSystem()                                   # wal.files: all file access goes through such an object
    lock = fs.lock(data)                                     # DirectoryLocked; storage takes it, the log does not
    log = Wal.open(fs, data / "wal", WalOptions(sync="interval"))      # read_only=True: replay beside a running server
    found = log.replay(handler)                              # a ReplayHandler; must come before the first append
    log.append(series=SeriesColumns(refs, keys, offsets, lengths),     # one commit, one write call, all or nothing:
               samples=SampleColumns(refs, ts, values), metadata=rows)  # Unavailable, and nothing of it is logged
    log.sync()                                               # durable now, whatever the mode
    log.close()

Order of a replay: `handler.series` and `handler.metadata` of the checkpoint; `handler.after_checkpoint(sections)`,
where storage scans its sealed chunk files and returns the border (ms) before which every sample is sealed, or None;
then the records of the segments in the order of their commits, with `handler.progress(done, total)` in bytes.
A record whose samples all lie before the border is skipped without being decoded. A series may come twice with the
same ref, and refs of samples may be unknown (older than the checkpoint, or their series lost by damage): skip those.

Truncation, in this order::

    through = log.covered_segment(border)  # begins a new segment, too; 0: no segment holds only samples before border
    if through:                            # the sealed chunks of these samples are durable by now
        log.write_checkpoint(through, series_in_pieces, metadata, sections={...})  # snapshot taken after line one
        log.drop_through(through)          # refuses what no checkpoint stands for

Where a commit could not be logged, `append` raises Unavailable and can be called again at any time; once the disk is
well again it works by itself. The formats are in docs/formats.md, the crash model in tests/wal/test_crash_model.py.
"""

from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.files import File, FileSystem, LocalFileSystem, Lock, Mapping, read_file, write_all, write_file_atomically
from tsdb.wal.log import Wal
from tsdb.wal.options import Sync, WalOptions, WalStatistics
from tsdb.wal.records import SampleColumns, SeriesColumns, StartColumns, TombstoneColumns
from tsdb.wal.replay import Replayed, ReplayHandler, SegmentState

__all__ = [
    "ExemplarColumns",
    "File",
    "FileSystem",
    "LocalFileSystem",
    "Lock",
    "Mapping",
    "ReplayHandler",
    "Replayed",
    "SampleColumns",
    "SegmentState",
    "SeriesColumns",
    "StartColumns",
    "Sync",
    "TombstoneColumns",
    "Wal",
    "WalOptions",
    "WalStatistics",
    "read_file",
    "write_all",
    "write_file_atomically",
]
