"""``tsdb check web-config``: files of --web.config.file, as promtool checks them."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("web-config")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
def web_config(files: tuple[Path, ...]) -> None:
    """Checks web configurations, with the certificates they name. Exit code 1 if one is wrong."""
    from tsdb.model.errors import ConfigError
    from tsdb.server.http.web_config import load

    wrong = False
    for file in files:
        try:
            load(file)
            click.echo(f"{file} SUCCESS", err=True)
        except ConfigError as problem:
            wrong = True
            click.echo(f"{file} FAILED: {problem}", err=True)
    sys.exit(1 if wrong else 0)
