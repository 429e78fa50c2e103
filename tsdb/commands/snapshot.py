"""``tsdb snapshot`` and ``tsdb restore``: copies of all data, and data directories made of them."""

from __future__ import annotations

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
    click.echo(snapshot_of_server(url, skip_head=skip_head) if url is not None
               else snapshot_of_directory(data or Path(), skip_head=skip_head))


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--backup", "name", metavar="NAME", help="Which backup.  [default: the newest]")
@click.option("--endpoint", metavar="URL", help="Of a store that is not Amazon's.  [default: $AWS_ENDPOINT_URL]")
@click.option("--region", metavar="REGION", help="[default: $AWS_REGION, or us-east-1]")
def restore(source: str, target: Path, name: str | None, endpoint: str | None, region: str | None) -> None:
    """Makes the data directory DIR of a snapshot, or of a backup in a folder or a bucket.

    Every byte is verified before DIR is a data directory; SOURCE stays as it is. DIR must be new, or empty; a
    restore of a backup that was interrupted goes on from where it was. Then start a server on it: tsdb serve --data DIR

    \b
      tsdb restore /var/lib/tsdb/snapshots/20261123T120000Z-2be650b6d019eb54 /var/lib/other
      tsdb restore /mnt/backup /var/lib/tsdb
      tsdb restore s3://metrics/tsdb /var/lib/tsdb --backup 20261124T120000.123Z
    """
    from tsdb import kernels
    from tsdb.backup.manifest import BACKUPS

    kernels.warm_up(None)
    if "://" in source or (Path(source) / BACKUPS).is_dir():
        _restore_backup(source, target, name, endpoint, region)
    elif name is not None:
        raise StorageError(f"{source} has no backups, of which --backup could name one")
    else:
        _restore_snapshot(Path(source), target)


def _restore_backup(source: str, target: Path, name: str | None, endpoint: str | None, region: str | None) -> None:
    from tsdb.backup import newest, read_manifest
    from tsdb.backup import restore as restore_files
    from tsdb.commands.backup import progress_bar, store_of
    from tsdb.model.times import time_text
    from tsdb.wal.files import LocalFileSystem

    store = store_of(source, endpoint, region)
    manifest = read_manifest(store, newest(store, name))
    try:
        with progress_bar(f"restoring {manifest.name}") as progress:
            restore_files(LocalFileSystem(), store, manifest, target, progress)
    except OSError as problem:
        raise StorageError(f"{source} could not be restored: {problem}: {target} is no data directory yet; run it "
                           "again to go on") from problem
    of = "no samples" if manifest.mint is None or manifest.maxt is None else (
        f"{manifest.samples} samples in {manifest.blocks} blocks, from {time_text(manifest.mint)} to "
        f"{time_text(manifest.maxt)}")
    click.echo(f"{target}: restored the backup {manifest.name}: {of}")


def _restore_snapshot(snapshot: Path, target: Path) -> None:
    from tsdb.commands.backup import progress_bar
    from tsdb.model.times import time_text
    from tsdb.storage.upkeep.restoring import restore as restore_snapshot
    from tsdb.wal.files import LocalFileSystem

    try:
        with progress_bar(f"restoring {snapshot.name}") as progress:
            blocks = restore_snapshot(LocalFileSystem(), snapshot, target, progress)
    except OSError as problem:
        raise StorageError(f"{snapshot} could not be restored: {problem}: nothing was left in {target}") from problem
    if not blocks:
        click.echo(f"{target}: restored; the snapshot has no samples")
        return
    samples = sum(block.stats.samples for block in blocks)
    mint, maxt = time_text(min(block.mint for block in blocks)), time_text(max(block.maxt for block in blocks))
    click.echo(f"{target}: restored {samples} samples in {len(blocks)} blocks, from {mint} to {maxt}")


def snapshot_of_directory(data: Path, *, skip_head: bool) -> Path:
    """The folder of a new snapshot. Raises StorageError, DirectoryLocked."""
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
        return data / FOLDER / storage.snapshot(skip_head=skip_head)
    except OSError as problem:
        raise StorageError(f"no snapshot could be taken: {problem}: look at the disk, nothing was left on it") from None
    finally:
        storage.close()


def snapshot_of_server(url: str, *, skip_head: bool) -> str:
    """The name of a new snapshot, in the server's folder of snapshots. Raises TsdbError."""
    from tsdb.commands.ask import ask

    wanted = {"skip_head": [str(skip_head).lower()]}
    try:
        return str(ask(url, "/api/v1/admin/tsdb/snapshot", wanted, WAIT_S, method="POST")["name"])
    except TsdbError as problem:
        if str(problem).endswith("admin APIs disabled"):
            raise TsdbError(f"{problem}: start it with --web.enable-admin-api") from None
        raise

