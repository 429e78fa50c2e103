"""A data directory that grows, and what is in it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from tests.storage.batches import bits, make_batch, read
from tsdb.cli import cli
from tsdb.storage import Storage

HOUR = 3_600_000
START = 490_000 * HOUR
SERIES = [{"__name__": "m", "n": str(n)} for n in range(4)]

Contents = dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]


def fill(data: Path, hours: range) -> Contents:
    """Samples of so many hours, all but those of the last one in blocks. Everything that is there now."""
    storage = Storage.open(data)
    for hour in hours:
        if hour == hours[-1]:
            storage.compact()
        for at in range(0, HOUR, HOUR // 4):
            samples = [(n, START + hour * HOUR + at, bits(n + hour)) for n in range(4)]
            storage.submit(make_batch(storage.secret, SERIES, samples)).result(10)
    found = read(storage)
    storage.close()
    return found


def contents(data: Path) -> Contents:
    storage = Storage.open(data, read_only=True)
    try:
        return read(storage)
    finally:
        storage.close()


def run(*arguments: str | Path) -> Result:
    """Of the command `tsdb`, here."""
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def done(*arguments: str | Path) -> str:
    """What it says, where it has to work."""
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
