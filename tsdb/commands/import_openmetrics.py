"""``tsdb import openmetrics``: the text formats of targets, with times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from tsdb.commands.import_target import files_argument, import_inputs, standard_input, target_options


@click.command()
@files_argument
@target_options
@click.option("--format", "format_", type=click.Choice(["openmetrics", "prometheus"]), default="openmetrics",
              show_default=True, help="prometheus: its text format, with times in milliseconds and without # EOF.")
@click.option("--skip-invalid", is_flag=True, help="Leaves out lines that are wrong, and counts them.")
def openmetrics(files: Sequence[Path], data: Path | None, url: str | None, format_: str, skip_invalid: bool) -> None:
    """Reads OpenMetrics text with times.

    Every sample has one, as for promtool tsdb create-blocks-from openmetrics; unlike there, samples may be in any
    order, and times are exact to the millisecond. A file ends with # EOF; it may be compressed (gzip, Zstandard); - is
    standard input. Exemplars are left out.

    \b
      tsdb import openmetrics history.om --data /var/lib/tsdb
      zcat *.txt.gz | tsdb import openmetrics - --format prometheus --url http://127.0.0.1:9090
    """
    from tsdb.imports.openmetrics import read
    from tsdb.imports.session import file_input
    from tsdb.ingest.exposition.formats import Format

    chosen = Format.TEXT if format_ == "prometheus" else Format.OPENMETRICS
    with standard_input(files) as found:
        inputs = [file_input(path, partial(read, path, format=chosen, skip_invalid=skip_invalid, name=name))
                  for name, path in found]
        import_inputs(inputs, format="openmetrics", data=data, url=url,
                      options={"format": format_, "skip_invalid": skip_invalid})
