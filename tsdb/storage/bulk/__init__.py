"""Blocks out of any amount of samples of any age and order, in bounded memory: for imports.

::

    writer = BulkWriter(fs, blocks, secret)
    for batch in read(path, secret):       # `tsdb.imports`: generators of batches of history
        writer.add(batch)
    metas = writer.finish(identity)        # blocks are in the folder `blocks`, durably, one by one
"""

from tsdb.storage.bulk.writer import BulkWriter

__all__ = ["BulkWriter"]
