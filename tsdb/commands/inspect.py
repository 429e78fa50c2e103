"""``tsdb inspect``: what is inside of the files of a data directory. Nothing is changed."""

from __future__ import annotations

import click

from tsdb.commands.inspect_block import block
from tsdb.commands.inspect_chunk import chunk
from tsdb.commands.inspect_wal import wal


@click.group()
def inspect() -> None:
    """Shows what is inside of blocks, the log, and files of sealed chunks.

    Nothing is changed, and a server may run meanwhile. Tables go well through grep, sort and less; with --json, each
    listing is one JSON document a line, and everything else is one document.

    \b
      tsdb inspect block data/blocks/01JD3…      what takes the room in a block
      tsdb inspect wal data                      what is in the log
      tsdb inspect chunk data/chunks/*.chunks    sealed chunks of the last hours

    docs/storage-tools.md explains the output; `tsdb check data` says whether anything is wrong.
    """


inspect.add_command(block)
inspect.add_command(wal)
inspect.add_command(chunk)
