"""``tsdb import prometheus``: data directories of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tsdb.commands.import_target import import_inputs, target_options


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...",
                type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--skip-damaged", is_flag=True, help="Leave out what is damaged, and say what it was.  [default: end]")
@target_options
def prometheus(paths: Sequence[Path], skip_damaged: bool, data: Path | None, url: str | None) -> None:
    """Brings in data directories of Prometheus, or single blocks: all that it would answer queries from.

    Blocks and the log, with native histograms, without what was deleted. Stop that Prometheus first, or take a snapshot
    of it (POST /api/v1/admin/tsdb/snapshot): else its newest minutes may be missing. Blocks of Thanos and of Mimir are
    blocks of Prometheus, too. What was interrupted goes on behind the last block that was read; the same import again
    adds nothing.

    \b
      tsdb import prometheus /var/lib/prometheus --data /var/lib/tsdb
      tsdb import prometheus /var/lib/prometheus/snapshots/20261124T101500Z-5c1d --url http://127.0.0.1:9090
    """
    from tsdb.imports.prometheus import inputs
    from tsdb.prometheus_data.notes import Notes

    notes = Notes(skip_damaged)
    found = [each for path in paths for each in inputs(path, notes)]
    import_inputs(found, format="prometheus", options={"skip_damaged": skip_damaged}, data=data, url=url)
    for line in notes.messages():
        click.echo(line, err=True)
