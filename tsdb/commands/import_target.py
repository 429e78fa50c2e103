"""What all commands of ``tsdb import`` that read files have in common: where to, progress, what is told at the end."""

from __future__ import annotations

import sys
import tempfile
import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from tsdb.model.errors import ConfigError, StorageError, TsdbError

if TYPE_CHECKING:
    from tsdb.imports.session import Input, Outcome, Told
    from tsdb.imports.targets import Target

Command = TypeVar("Command", bound=Callable[..., object])

RETENTION_MS = 15 * 86_400_000
"""How long a server keeps samples that is told nothing."""
STAGES = {"looking": "looking at what is there", "reading": "reading", "writing": "writing blocks",
          "sending": "sending blocks"}


def target_options(command: Command) -> Command:
    """Adds --data and --url, for `import_inputs`."""
    for option in (
        click.option("--url", metavar="URL", help="A server of ours that runs: blocks are uploaded to it."),
        click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
                     help="The data directory of a server that does not run; made where there is none."),
    ):
        command = option(command)
    return command


def files_argument(command: Command) -> Command:
    """Adds the argument FILE..., for `file_inputs`."""
    return click.argument("files", nargs=-1, required=True, metavar="FILE...",
                          type=click.Path(path_type=Path, allow_dash=True))(command)


def import_inputs(inputs: Sequence[Input], *, format: str, data: Path | None, url: str | None,
                  options: Mapping[str, object] | None = None) -> None:
    """Runs an import and tells how it went. `options` are those that change what is read. Raises ConfigError unless
    one of --data and --url is given, and what `tsdb.imports.session.run` does."""
    from tsdb import kernels
    from tsdb.imports.session import run

    started = clock.monotonic()
    with _target(data, url) as target:
        kernels.warm_up(data)
        try:
            with _bars() as told:
                outcome = run(inputs, target, format=format, options=options, told=told)
        except KeyboardInterrupt:
            click.echo("the same command goes on behind the files that were read as a whole; what they have is kept in "
                       f"{target.work}", err=True)
            raise
        except OSError as problem:
            where = f" ({problem.filename})" if problem.filename else ""
            raise StorageError(f"{target.name}: {problem.strerror or problem}{where}: once that is remedied, the same "
                               f"command goes on; what was read is kept in {target.work}") from None
    _tell(target.name, outcome, clock.monotonic() - started)
    _warn_of_retention(outcome, url)
    if data is not None:
        for folder in sorted(each for each in target.work.iterdir() if each.is_dir()):
            click.echo(f"{folder} is of another import, which was interrupted: run that again, or remove the folder",
                       err=True)


def _warn_of_retention(outcome: Outcome, url: str | None) -> None:
    """Where samples are older than the server keeps them, as far as that is known."""
    if not outcome.samples or outcome.again:
        return
    now = clock.time() * 1000
    if url is None:
        if outcome.mint < now - RETENTION_MS:
            click.echo("what is older than 15 days goes when a server starts that is not told to keep it for longer: "
                       "--storage.tsdb.retention.time", err=True)
        return
    from tsdb.commands.ask import ask
    from tsdb.model.durations import parse_duration

    try:
        kept = str(ask(url, "/api/v1/status/runtimeinfo", {}, 10)["storageRetention"]).split()[0]
        if outcome.mint >= now - parse_duration(kept):
            return
    except (TsdbError, ValueError, KeyError, TypeError, IndexError):
        return  # it is of a size, or for ever, or nobody tells us
    click.echo(f"this server keeps samples for {kept}: older ones go", err=True)


@contextmanager
def standard_input(files: Sequence[Path]) -> Iterator[list[tuple[str, Path]]]:
    """(name, file) of each of the arguments; "-" is standard input, in a file as long as this lasts."""
    if [str(each) for each in files].count("-") > 1:
        raise ConfigError('"-", standard input, can be given once')
    if Path("-") not in files:
        yield [(str(each), each) for each in files]
        return
    with tempfile.NamedTemporaryFile(prefix="tsdb-import-") as copy:
        while piece := sys.stdin.buffer.read(1 << 20):
            copy.write(piece)
        copy.flush()
        yield [("standard input", Path(copy.name)) if str(each) == "-" else (str(each), each) for each in files]


@contextmanager
def _target(data: Path | None, url: str | None) -> Iterator[Target]:
    if (data is None) == (url is None):
        raise ConfigError("where to? Give a data directory (--data DIR) or the address of a server (--url URL)")
    from tsdb.imports import targets

    if data is not None:
        with targets.data_directory(data) as found:
            yield found
        return
    assert url is not None
    yield targets.Server(url)


@contextmanager
def _bars() -> Iterator[Told]:
    """Bars on a terminal, one after the other; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda stage, done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    shown = Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
                     console=Console(stderr=True), transient=True)
    tasks: dict[str, TaskID] = {}

    def told(stage: str, done: int, of: int) -> None:
        if stage not in tasks:
            for task in tasks.values():
                shown.update(task, visible=False)
            tasks[stage] = shown.add_task(STAGES[stage])
        shown.update(tasks[stage], completed=done, total=max(of, 1))

    with shown:
        yield told


def _tell(where: str, outcome: Outcome, seconds: float) -> None:
    from tsdb.model.times import time_text

    for line in outcome.left_out.messages():
        click.echo(line, err=True)
    if outcome.again or (outcome.blocks and outcome.known == outcome.blocks):
        click.echo(f"{where}: nothing to do: this was imported before")
        return
    if not outcome.samples:
        click.echo(f"{where}: there was nothing new to import")
        return
    series = f" of {outcome.series} series" if outcome.series else ""
    known = f", {outcome.known} of which were there already" if outcome.known else ""
    click.echo(f"{where}: {_counted(outcome.samples, 'sample')}{series} in {_counted(outcome.blocks, 'block')}{known}, "
               f"from {time_text(outcome.mint)} to {time_text(outcome.maxt)}, in {seconds:.1f} s")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
