"""``tsdb import parquet``: tables of samples in Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from tsdb.commands.import_columns import column_options, columns_of
from tsdb.commands.import_target import files_argument, import_inputs, standard_input, target_options


@click.command("parquet")
@files_argument
@target_options
@column_options
def parquet(files: Sequence[Path], data: Path | None, url: str | None, time_: str, metrics: Sequence[str],
            value_column: str, name_column: str, labels: Sequence[str], labels_from_rest: bool,
            constants: Sequence[str]) -> None:
    """Reads Parquet.

    What tsdb export parquet writes needs no options, and comes back to the bit. Of other files, options say which
    column is what, as for tsdb import csv. A null is no sample, or a label that the series does not have. Columns with
    times need no FORM; numbers and texts may. Needs pyarrow: pip install 'tsdb-server[arrow]'.

    \b
      tsdb import parquet export.parquet --data /var/lib/tsdb
      tsdb import parquet weather.parquet --time date --metric temperature_celsius=temp --label city=Station \\
        --url http://127.0.0.1:9090
    """
    from tsdb.imports.parquet import read
    from tsdb.imports.session import file_input

    columns = columns_of(time_, metrics, value_column, name_column, labels, labels_from_rest, constants)
    with standard_input(files) as found:
        inputs = [file_input(path, partial(read, path, columns=columns, name=name)) for name, path in found]
        import_inputs(inputs, format="parquet", data=data, url=url, options={"columns": repr(columns)})
