"""``tsdb backup``: copies of all data in a folder or a bucket."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsdb.commands.tables import amount, size, table
from tsdb.model.errors import DirectoryLocked, StorageError, TsdbError

if TYPE_CHECKING:
    from tsdb.backup import Store
    from tsdb.wal.files import FileSystem

OWN = ".backup"
"""Ends the names of snapshots that are only for a backup."""
DAMAGED = 1
"""Exit code where `--verify` finds damage."""


@click.command()
@click.argument("destination", metavar="DESTINATION")
@click.option("--url", metavar="URL", help="A server that runs on this machine with --web.enable-admin-api, as in "
              "http://127.0.0.1:9090; name and password may stand in it.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
              help="The data directory of a server that does not run. With --url: where the server's is.")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Afterwards remove all backups but the newest N.")
@click.option("--reread", is_flag=True, help="Read files, too, that an earlier backup knows.")
@click.option("--list", "listed", is_flag=True, help="Show which backups there are.")
@click.option("--verify", "verified", is_flag=True, help="Read all backups, and compare every byte with its checksum.")
@click.option("--backup", "name", metavar="NAME", help="With --verify: only this one.")
@click.option("--endpoint", metavar="URL", help="Of a store that is not Amazon's.  [default: $AWS_ENDPOINT_URL]")
@click.option("--region", metavar="REGION", help="[default: $AWS_REGION, or us-east-1]")
def backup(destination: str, url: str | None, data: Path | None, keep: int | None, reread: bool, listed: bool,
           verified: bool, name: str | None, endpoint: str | None, region: str | None) -> None:
    """Copies all data to DESTINATION, a folder or a bucket: s3://BUCKET/PREFIX.

    What is there already is not copied again, so that a backup every hour costs what is new. What was interrupted goes
    on from where it was when it is run again. Credentials of a bucket come from the environment, as AWS' own tools
    have them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.

    \b
      tsdb backup /mnt/backup --data /var/lib/tsdb             no server runs
      tsdb backup s3://metrics/tsdb --url http://127.0.0.1:9090 --keep 30
      tsdb backup s3://metrics/tsdb --list
      tsdb backup s3://metrics/tsdb --verify
      tsdb restore s3://metrics/tsdb /var/lib/tsdb             the newest one
    """
    from tsdb import kernels

    if (listed or verified) and (url or data or keep or reread or (listed and verified)):
        raise click.UsageError("--list and --verify stand alone")
    if name is not None and not verified:
        raise click.UsageError("--backup belongs to --verify; tsdb restore has it, too")
    if not (listed or verified) and url is None and data is None:
        raise click.UsageError("give --url of a server that runs, or --data of one that does not")
    store = store_of(destination, endpoint, region)
    kernels.warm_up(data)
    if listed:
        _list(store)
    elif verified:
        _verify(store, name)
    else:
        _back_up(store, url, data, reread)
        if keep is not None:
            _forget(store, keep)


def store_of(place: str, endpoint: str | None, region: str | None) -> Store:
    """The folder or bucket of that name. Raises StorageError."""
    from tsdb.backup import BucketStore, FolderStore
    from tsdb.storage.directory import FORMAT_NAME
    from tsdb.wal.files import LocalFileSystem

    if "://" in place:
        return BucketStore(place, endpoint=endpoint, region=region)
    if (Path(place) / FORMAT_NAME).exists():
        raise StorageError(f"{place} is a data directory or a snapshot: give another folder for backups")
    return FolderStore(LocalFileSystem(), Path(place))


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Called with bytes done and in all: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    with Progress(TextColumn(what), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
                  TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _back_up(store: Store, url: str | None, data: Path | None, reread: bool) -> None:
    from tsdb.backup import back_up
    from tsdb.model.times import time_text
    from tsdb.wal.files import LocalFileSystem

    fs = LocalFileSystem()
    taken = _snapshot(url, data)
    _remove_left(fs, taken.parent)
    snapshot = taken.with_name(taken.name + OWN)
    fs.rename(taken, snapshot)
    lock = fs.lock(snapshot)
    try:
        with progress_bar(f"copying to {store.place()}") as progress:
            made, copied = back_up(fs, snapshot, store, str(snapshot.parent.parent), reread=reread, progress=progress)
    except OSError as problem:
        raise StorageError(f"no backup was made: {problem}; run it again to go on") from problem
    finally:
        lock.release()
        _remove(fs, snapshot)
    of = "no samples" if made.mint is None or made.maxt is None else (
        f"{made.samples} samples in {made.blocks} blocks, from {time_text(made.mint)} to {time_text(made.maxt)}")
    click.echo(f"{store.place()}: backup {made.name}: {of}; {size(copied)} of {size(made.size)} were new")


def _remove_left(fs: FileSystem, folder: Path) -> None:
    """Removes snapshots of backups that were killed."""
    for name in fs.listdir(folder):
        if name.endswith(OWN):
            try:
                fs.lock(folder / name).release()
            except DirectoryLocked:  # its backup runs
                continue
            _remove(fs, folder / name)


def _remove(fs: FileSystem, snapshot: Path) -> None:
    from tsdb.storage.block.layout import TEMPORARY

    leaving = snapshot.with_name(snapshot.name + TEMPORARY)  # what is left of it, the server removes
    fs.rename(snapshot, leaving)
    shutil.rmtree(leaving)


def _snapshot(url: str | None, data: Path | None) -> Path:
    """Takes one, which is to be removed; where it is."""
    from tsdb.commands.ask import ask
    from tsdb.commands.snapshot import snapshot_of_directory, snapshot_of_server
    from tsdb.storage.upkeep.snapshots import FOLDER

    if url is None:
        try:
            return snapshot_of_directory(data or Path(), skip_head=False)
        except DirectoryLocked as problem:
            raise DirectoryLocked(f"{str(problem).partition('; of a server')[0]}; of a server that runs: "
                                  "tsdb backup --url URL") from None
    if data is None:
        data = Path(ask(url, "/api/v1/status/flags", {}, 30.0)["storage.tsdb.path"])
    if not data.is_absolute():
        data = data.absolute()
    if not data.is_dir():
        raise TsdbError(f"the server keeps its data in {data}, which is not on this machine or elsewhere: run this on "
                        "the server's machine, and say with --data where the directory is")
    taken = data / FOLDER / snapshot_of_server(url, skip_head=False)
    if not taken.is_dir():
        raise TsdbError(f"the server has taken a snapshot, but there is no {taken}: say with --data where its data "
                        "directory is")
    return taken


def _list(store: Store) -> None:
    from tsdb.backup import backups, read_manifest
    from tsdb.model.times import time_text

    rows = []
    for each in backups(store):
        try:
            found = read_manifest(store, each)
        except StorageError as problem:
            click.echo(f"DAMAGE  {problem}", err=True)
            continue
        times = ["", ""] if found.mint is None or found.maxt is None else [time_text(found.mint),
                                                                          time_text(found.maxt)]
        rows.append([each.name, size(found.size), str(found.blocks), amount(found.samples), *times])
    if not rows:
        click.echo(f"{store.place()}: no backups")
        return
    click.echo(table(["backup", "size", "blocks", "samples", "from", "to"], rows, "lrrrll"))


def _verify(store: Store, name: str | None) -> None:
    from tsdb.backup import backups, newest, verify

    every = backups(store) if name is None else [newest(store, name)]
    if not every:
        raise StorageError(f"{store.place()} has no backups: is it the right place?")
    with progress_bar(f"reading {store.place()}") as progress:
        wrong = verify(store, every, progress)
    for line in wrong:
        click.echo(f"DAMAGE  {line}", err=True)
    if wrong:
        click.echo("Remove what is damaged, and the next backup with --reread copies it anew where the server still "
                   "has it.", err=True)
        sys.exit(DAMAGED)
    click.echo(f"{store.place()}: no damage found, in {len(every)} backups")


def _forget(store: Store, keep: int) -> None:
    from tsdb.backup import forget

    gone, freed = forget(store, keep)
    if gone or freed:
        click.echo(f"{store.place()}: {gone} older backups were removed, {size(freed)} of files went with them")

