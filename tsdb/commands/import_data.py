"""``tsdb import``: samples of the past, from elsewhere or computed."""

from __future__ import annotations

import click

from tsdb.commands.import_rules import rules


@click.group("import")
def import_data() -> None:
    """Brings in samples of the past."""


import_data.add_command(rules)
