"""Where ``tsdb export`` writes: standard output, or a file that appears when it is whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from tsdb.exports.formats import FORMATS
from tsdb.model.errors import ConfigError, TsdbError

if TYPE_CHECKING:
    from tsdb.commands.export_sources import Exported

class Writer(Protocol):
    def write(self, data: bytes, /) -> Any: ...


COMPRESSED = (".gz", ".zst")
PARTIAL = ".partial"
"""Behind the name of a file that is being written."""


def written(exported: Exported, form: str, output: Path | None) -> None:
    """Writes all of it. What was lost, and how much there is, goes to standard error."""
    from tsdb.commands.tables import size

    to_file = output is not None and str(output) != "-"
    if not to_file and not FORMATS[form].text and sys.stdout.isatty():
        raise click.UsageError(f"{form} is no text: give a file with -o, or pipe it on")
    count = 0
    with (_file(output) if to_file and output is not None else _standard_output()) as write, \
            _bar(exported, shown=to_file) as told:
        for part in exported.parts:
            write(part)
            count += len(part)
            told(count)
    if to_file and output is not None:
        packed = f", compressed to {size(output.stat().st_size)}" if output.suffix in COMPRESSED else ""
        click.echo(f"{output}: {size(count)} of {form}{packed}", err=True)
    for text in (*exported.losses.messages(), *([exported.note] if exported.note else [])):
        click.echo(f"tsdb: {text}", err=True)


@contextmanager
def _standard_output() -> Iterator[Callable[[bytes], Any]]:
    try:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.stderr.close()  # as `head` does it to others: no word of it
        raise SystemExit(1) from None


@contextmanager
def _file(output: Path) -> Iterator[Callable[[bytes], Any]]:
    if output.is_dir():
        raise ConfigError(f"{output} is a folder: name a file")
    partial = output.with_name(output.name + PARTIAL)
    try:
        with _compressed(partial, output.suffix) as file:
            yield file.write
        partial.replace(output)
    except OSError as problem:
        partial.unlink(missing_ok=True)
        raise TsdbError(f"{output} cannot be written: {problem}") from problem
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _compressed(path: Path, suffix: str) -> Iterator[Writer]:
    with path.open("wb") as file:
        if suffix == ".gz":
            from isal import igzip

            with igzip.IGzipFile(fileobj=file, mode="wb") as stream:  # type: ignore[no-untyped-call]
                yield stream
        elif suffix == ".zst":
            import zstandard

            with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as stream:
                yield stream
        else:
            yield file


@contextmanager
def _bar(exported: Exported, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Is told of bytes; shows how far the export is, on a terminal."""
    if not shown or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from tsdb.commands.tables import size

    with Progress(TextColumn("exporting"), BarColumn(), TextColumn("{task.fields[bytes]}"), TimeElapsedColumn(),
                  TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, bytes="")

        def told(count: int) -> None:
            done, of = exported.done
            bar.update(task, completed=done, total=of or None, bytes=size(count))

        yield told
