"""``tsdb import jsonl``: JSON lines, as VictoriaMetrics exports them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from tsdb.commands.import_target import files_argument, import_inputs, standard_input, target_options


@click.command()
@files_argument
@target_options
@click.option("--skip-invalid", is_flag=True, help="Leaves out lines that are wrong, and counts them.")
def jsonl(files: Sequence[Path], data: Path | None, url: str | None, skip_invalid: bool) -> None:
    """Reads JSON lines, as VictoriaMetrics exports them.

    Of its /api/v1/export or of tsdb export jsonl. A line is {"metric":{"__name__":"up","job":"api"},"values":[1,0.5],
    "timestamps":[1795392000000,1795392015000]}, with times in milliseconds; keys of ours for stale markers, native
    histograms and start times: docs/import.md. A file may be compressed (gzip, Zstandard); - is standard input.

    \b
      tsdb import jsonl export.jsonl --data /var/lib/tsdb
      curl -s 'http://victoria:8428/api/v1/export?match[]={job="api"}' | tsdb import jsonl - --url http://127.0.0.1:9090
    """
    from tsdb.imports.jsonl import read
    from tsdb.imports.session import file_input

    with standard_input(files) as found:
        inputs = [file_input(path, partial(read, path, skip_invalid=skip_invalid, name=name)) for name, path in found]
        import_inputs(inputs, format="jsonl", data=data, url=url, options={"skip_invalid": skip_invalid})
