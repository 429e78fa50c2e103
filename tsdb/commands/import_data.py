"""``tsdb import``: samples of the past, from elsewhere or computed."""

from __future__ import annotations

import click

from tsdb.commands.import_csv import csv
from tsdb.commands.import_jsonl import jsonl
from tsdb.commands.import_openmetrics import openmetrics
from tsdb.commands.import_parquet import parquet
from tsdb.commands.import_prometheus import prometheus
from tsdb.commands.import_remote_write import remote_write
from tsdb.commands.import_rules import rules


@click.group("import")
def import_data() -> None:
    """Brings in samples of the past.

    They become blocks: of a data directory that no server has open (--data DIR), or of a server that runs (--url URL).
    Samples may have any age and order. The same import again adds nothing, and one that was interrupted goes on.
    """


import_data.add_command(csv)
import_data.add_command(jsonl)
import_data.add_command(openmetrics)
import_data.add_command(parquet)
import_data.add_command(prometheus)
import_data.add_command(remote_write)
import_data.add_command(rules)
