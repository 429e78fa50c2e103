"""``tsdb import csv``: tables of samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from tsdb.commands.import_columns import column_options, columns_of
from tsdb.commands.import_target import files_argument, import_inputs, standard_input, target_options
from tsdb.model.errors import ConfigError


@click.command("csv")
@files_argument
@target_options
@column_options
@click.option("--no-header", is_flag=True, help="The first line is a row: columns are given by numbers, from 1 on.")
@click.option("--delimiter", default=",", show_default=True, metavar="CHARACTER", help="\\t is a tab.")
@click.option("--skip-invalid", is_flag=True, help="Leaves out rows that are wrong, and counts them.")
def csv(files: Sequence[Path], data: Path | None, url: str | None, time_: str, metrics: Sequence[str],
        value_column: str, name_column: str, labels: Sequence[str], labels_from_rest: bool, constants: Sequence[str],
        no_header: bool, delimiter: str, skip_invalid: bool) -> None:
    """Reads CSV, by columns.

    What tsdb export csv writes needs no options: timestamp, value, __name__, and a column for each label. A value that
    is empty is none, a label that is empty a series does not have. A file may be compressed (gzip, Zstandard); - is
    standard input.

    \b
      tsdb import csv export.csv --data /var/lib/tsdb
      tsdb import csv weather.csv --time date:%Y-%m-%d --metric temperature_celsius=temp --metric rain_mm=rain \\
        --label city=Station --url http://127.0.0.1:9090
      tsdb import csv ticks.csv --no-header --time 1:unix_ns --metric ask=2 --metric bid=3 --label market=4
    """
    from tsdb.imports.csv import read
    from tsdb.imports.session import file_input

    columns = columns_of(time_, metrics, value_column, name_column, labels, labels_from_rest, constants,
                         header=not no_header, delimiter=_character(delimiter))
    with standard_input(files) as found:
        inputs = [file_input(path, partial(read, path, columns=columns, skip_invalid=skip_invalid, name=name))
                  for name, path in found]
        import_inputs(inputs, format="csv", data=data, url=url,
                      options={"columns": repr(columns), "skip_invalid": skip_invalid})


def _character(text: str) -> str:
    found = "\t" if text == "\\t" else text
    if len(found) != 1 or not found.isascii() or found in '"\n\r':
        raise ConfigError(f'--delimiter "{text}": expected one ASCII character, or \\t')
    return found
