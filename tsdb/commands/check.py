"""``tsdb check``: files are looked at and nothing is changed. Exit codes are promtool's."""

from __future__ import annotations

from pathlib import Path

import click

from tsdb.commands.check_data import data
from tsdb.commands.check_web import web_config

FAILURE, LINT = 1, 3
"""Exit codes: something is wrong; lint found something and is fatal."""
LINTS = ("all", "duplicate-rules", "none", "too-long-scrape-interval")


@click.group()
def check() -> None:
    """Checks files without running anything."""


check.add_command(web_config)
check.add_command(data)


@check.command("config")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--syntax-only", is_flag=True, help="Look at the files alone, not at those that they name.")
@click.option("--agent", is_flag=True, help="Check for the agent, which has no rules and no alerts.")
@click.option("--lint", default="duplicate-rules", show_default=True, metavar="|".join(LINTS),
              help="What else to look for; several with commas.")
@click.option("--lint-fatal/--no-lint-fatal", default=False, help="Exit with 3 where lint finds something.")
@click.option("--query.lookback-delta", "lookback", default="5m", show_default=True, metavar="DURATION",
              help="Lookback of the server, for lint.")
@click.option("--enable-feature", multiple=True, hidden=True, help="Taken for compatibility with promtool.")
@click.option("--extended/--no-extended", hidden=True, help="Taken for compatibility with promtool.")
@click.option("--ignore-unknown-fields/--no-ignore-unknown-fields", hidden=True,
              help="Taken for compatibility with promtool.")
def check_config(
    files: tuple[Path, ...], syntax_only: bool, agent: bool, lint: str, lint_fatal: bool,
    lookback: str, **_: object,
) -> None:
    """Checks config files: keys, values, and the files that they name.

    Exit code 0: all are fine; 1: one is not; 3: lint found something, with --lint-fatal. Keys that are not built yet
    are warnings, or errors where ignoring them would not be safe.
    """
    from tsdb.model.durations import parse_duration

    wanted = set(lint.split(","))
    for name in sorted(wanted - set(LINTS)):
        click.echo(f'WARNING: unknown lint option: "{name}"', err=True)
    try:
        lookback_ms = parse_duration(lookback)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    codes = {_checked(file, syntax_only, agent, wanted, lookback_ms) for file in files}
    click.get_current_context().exit(FAILURE if FAILURE in codes else LINT if LINT in codes and lint_fatal else 0)


def _checked(file: Path, syntax_only: bool, agent: bool, lints: set[str], lookback_ms: int) -> int:
    """Says what is wrong with a file; 0, FAILURE or LINT."""
    from tsdb.commands.config_check import Level, findings, lint_findings, read
    from tsdb.model.errors import ConfigError

    click.echo(f"Checking {file}")
    try:
        loaded = read(file, agent)
        for level, text in findings(loaded, syntax_only):
            click.echo(f"  {level.value}: {text}", err=level is not Level.SUCCESS)
    except ConfigError as problem:
        click.echo(f"  FAILED: {problem}", err=True)
        return FAILURE
    click.echo(f"  SUCCESS: {file} is a valid config file")
    linted = [] if syntax_only else list(lint_findings(loaded, lints, lookback_ms))
    for text in linted:
        click.echo(f"  FAILED: {text}", err=True)
    return LINT if linted else 0
