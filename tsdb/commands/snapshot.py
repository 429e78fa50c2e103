"""``tsdb snapshot`` and ``tsdb restore``: copies of all data, and data directories made of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from tsdb.model.errors import DirectoryLocked, StorageError, TsdbError

WAIT_S = 3600.0
"""How long a server may take."""


@click.command()
@click.option("--url", metavar="URL", help="A server that runs with --web.enable-admin-api, as in "
              "http://127.0.0.1:9090; name and password may stand in it.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
              help="The data directory of a server that does not run.")
@click.option("--skip-head", is_flag=True, help="Leave out the newest samples, those that are not in blocks yet.")
def snapshot(url: str | None, data: Path | None, skip_head: bool) -> None:
    """Copies all data to a folder of its own, DIR/snapshots/NAME, at one moment.

    The copy is there as a whole or not at all. It shares its files with the original, so that it takes little room at
    first, and is no copy yet for the day when the disk fails: take it elsewhere with any tool that copies folders.

    \b
      tsdb snapshot --url http://127.0.0.1:9090    of a server that runs
      tsdb snapshot --data /var/lib/tsdb           of one that does not
      tsdb restore /var/lib/tsdb/snapshots/20261123T120000Z-2be650b6d019eb54 /var/lib/other
    """
    if (url is None) == (data is None):
        raise click.UsageError("give --url of a server that runs, or --data of one that does not")
    click.echo(_of_server(url, skip_head) if url is not None else _of_directory(data or Path(), skip_head))


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path), metavar="SNAPSHOT")
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR")
def restore(snapshot: Path, target: Path) -> None:
    """Makes the data directory DIR of a snapshot.

    Every byte of the snapshot is verified before anything is written; the snapshot stays as it is. DIR must be new, or
    empty. Then start a server on it: tsdb serve --data DIR
    """
    from tsdb import kernels
    from tsdb.model.times import time_text
    from tsdb.storage.upkeep.restoring import restore as restore_snapshot
    from tsdb.wal.files import LocalFileSystem

    kernels.warm_up(None)
    progress, finish = _progress(f"restoring {snapshot.name}")
    try:
        blocks = restore_snapshot(LocalFileSystem(), snapshot, target, progress)
    except OSError as problem:
        raise StorageError(f"{snapshot} could not be restored: {problem}: nothing was left in {target}") from problem
    finally:
        finish()
    if not blocks:
        click.echo(f"{target}: restored; the snapshot has no samples")
        return
    samples = sum(block.stats.samples for block in blocks)
    mint, maxt = time_text(min(block.mint for block in blocks)), time_text(max(block.maxt for block in blocks))
    click.echo(f"{target}: restored {samples} samples in {len(blocks)} blocks, from {mint} to {maxt}")


def _of_directory(data: Path, skip_head: bool) -> str:
    from tsdb import kernels
    from tsdb.storage import Storage
    from tsdb.storage.directory import FORMAT_NAME
    from tsdb.storage.upkeep.snapshots import FOLDER

    if not (data / FORMAT_NAME).exists():
        raise StorageError(f"{data} is not a data directory of tsdb: it has no file {FORMAT_NAME}")
    kernels.warm_up(data)
    try:
        storage = Storage.open(data)
    except DirectoryLocked as problem:
        raise DirectoryLocked(f"{problem}; of a server that runs: tsdb snapshot --url URL") from None
    try:
        return str(data / FOLDER / storage.snapshot(skip_head=skip_head))
    except OSError as problem:
        raise StorageError(f"no snapshot could be taken: {problem}: look at the disk, nothing was left on it") from None
    finally:
        storage.close()


def _of_server(url: str, skip_head: bool) -> str:
    from tsdb.commands.ask import ask

    wanted = {"skip_head": [str(skip_head).lower()]}
    try:
        return str(ask(url, "/api/v1/admin/tsdb/snapshot", wanted, WAIT_S, method="POST")["name"])
    except TsdbError as problem:
        if str(problem).endswith("admin APIs disabled"):
            raise TsdbError(f"{problem}: start it with --web.enable-admin-api") from None
        raise


def _progress(what: str) -> tuple[Callable[[int, int], None], Callable[[], None]]:
    """(progress, finish): a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda *_: None, lambda: None
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=Console(stderr=True),
                   transient=True)
    task = bar.add_task("", total=None)
    bar.start()
    return lambda done, total: bar.update(task, completed=done, total=total), bar.stop
