"""Which columns of a table are what: options that the commands for tables have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from tsdb.model.errors import ConfigError

if TYPE_CHECKING:
    from tsdb.imports.csv_columns import Columns

Command = TypeVar("Command", bound=Callable[..., object])

_OPTIONS = (
    click.option("--time", "time_", default="", metavar="COLUMN[:FORM]",
                 help="FORM is unix_s, unix_ms, unix_us, unix_ns, rfc3339, or as for strptime, in UTC unless it has "
                      "%z.  [default: timestamp, with RFC 3339 or milliseconds]"),
    click.option("--metric", "metrics", multiple=True, metavar="NAME=COLUMN",
                 help="A column with values of the metric NAME; can be given several times."),
    click.option("--value-column", default="", metavar="COLUMN",
                 help="Values of metrics that --name-column names.  [default: value]"),
    click.option("--name-column", default="", metavar="COLUMN", help="Names of metrics.  [default: __name__]"),
    click.option("--label", "labels", multiple=True, metavar="NAME=COLUMN",
                 help="A column with values of the label NAME; can be given several times."),
    click.option("--labels-from-rest", is_flag=True, help="All other columns are labels, with their own names."),
    click.option("--add-label", "constants", multiple=True, metavar="NAME=VALUE", help="A label of all series."),
)


def column_options(command: Command) -> Command:
    """Adds them, for `columns_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def columns_of(time: str, metrics: Sequence[str], value_column: str, name_column: str, labels: Sequence[str],
               labels_from_rest: bool, constants: Sequence[str], *, header: bool = True, delimiter: str = ",",
               ) -> Columns:
    """What they say. Raises ConfigError."""
    from tsdb.imports.csv_columns import Columns, time_column
    from tsdb.model.labels import METRIC_NAME

    values = [_pair(each, "--metric") for each in metrics]
    if value_column and values:
        raise ConfigError("--value-column is for files that name their metrics: give it or --metric")
    named = [_pair(each, "--label") for each in labels]
    if name_column:
        named.insert(0, (METRIC_NAME, name_column))
    column, form = time_column(time)
    return Columns(column, form, tuple(values) or ((("", value_column),) if value_column else ()), tuple(named),
                   labels_from_rest, dict(_pair(each, "--add-label") for each in constants), header, delimiter)


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, other = text.partition("=")
    if not equals or not name or not other:
        raise ConfigError(f'{flag} "{text}": expected {"NAME=VALUE" if flag == "--add-label" else "NAME=COLUMN"}')
    return name, other
