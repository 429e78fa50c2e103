"""Every option, key, route and own metric is documented: the pages are what the tables give."""

from __future__ import annotations

import click
import pytest

from tests.server.conftest import Running
from tools import reference
from tsdb import config
from tsdb.cli import cli
from tsdb.server import metrics
from tsdb.server.api.routes import ROUTES


@pytest.mark.parametrize("name", reference.PAGES)
def test_pages_are_up_to_date(name: str) -> None:
    page = reference.DOCS / name
    assert page.read_text() == reference.PAGES[name](), "run: python -m tools.reference"


def test_options_and_keys() -> None:
    text = reference.configuration()
    for command in [cli, *cli.commands.values()]:
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                continue  # in the command's own text
            assert f"`{parameter.opts[-1]}" in text and getattr(parameter, "help", None), parameter.name
    for key in config.all_keys():
        assert f"| `{key.name}` |" in text


def test_routes() -> None:
    text = reference.http_api()
    for route in ROUTES:
        assert f"{', '.join(route.methods)} {route.path}\n" in text


def test_metrics(running: Running) -> None:
    running.client.get("/api/v1/labels")
    documented = {name for name, *_ in metrics.reference()}
    shown = {
        line.split()[2]
        for line in running.client.get("/metrics").body.decode().splitlines()
        if line.startswith("# TYPE ") and line.split()[2].startswith(("prometheus_", "tsdb_"))
    }
    assert shown and shown <= documented
