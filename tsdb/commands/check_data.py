"""``tsdb check data``: every file of a data directory is read, and what is wrong is told in plain words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tsdb.storage.checking import Finding, Report
    from tsdb.storage.checking.findings import Kind

DAMAGE_FOUND, CANNOT_CHECK = 1, 2
"""Exit codes."""


@click.command("data")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--repair", is_flag=True, help="Afterwards do what is always safe: replace damaged blocks by what is "
              "sound in them, and remove temporary files that a crash has left. No server may run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
def data(folder: Path, repair: bool, as_json: bool) -> None:
    """Reads every file of the data directory DIR and says what is wrong, what it means, and what can be done.

    \b
    All checksums are compared, every chunk is decoded, indexes are compared with the
    series that they are about, and the log is read as by a start. Nothing is changed
    without --repair. A server may run meanwhile: what it writes then is not checked.

    \b
    Examples:
      tsdb check data /var/lib/tsdb
      tsdb check data --json /var/lib/tsdb | jq '.findings[] | .path'
      tsdb check data --repair /var/lib/tsdb        after `systemctl stop tsdb`

    \b
    Exit codes:
      0  all is as it was written (notices are fine)
      1  damage was found, repaired or not
      2  it could not be checked: no data directory, or one of a newer tsdb
    """
    from tsdb.commands.progress import bar
    from tsdb.model.errors import TsdbError
    from tsdb.storage.checking import check_directory
    from tsdb.storage.checking import repair as repair_directory
    from tsdb.wal.files import LocalFileSystem

    fs = LocalFileSystem()
    try:
        progress, finish = bar(f"checking {folder}", _size(folder))
        try:
            report = check_directory(fs, folder, progress)
        finally:
            finish()
        done = list(repair_directory(fs, report)) if repair else []
    except (OSError, TsdbError) as problem:
        click.echo(f"tsdb: {problem}", err=True)
        sys.exit(CANNOT_CHECK)
    if as_json:
        click.echo(json.dumps(document(report, done), indent=2))
    else:
        click.echo(text(report, done), nl=False)
    sys.exit(DAMAGE_FOUND if report.damage else 0)


def _size(folder: Path) -> dict[str, int]:
    """Bytes of what takes long to read, by kind."""
    def size(path: Path, pattern: str) -> int:
        return sum(file.stat().st_size for file in path.glob(pattern) if file.is_file())

    return {"blocks": size(folder / "blocks", "*/*"), "log": size(folder / "wal", "*"),
            "windows": size(folder / "chunks", "*")}


def text(report: Report, done: list[str]) -> str:
    """For people."""
    from tsdb.commands.tables import amount, size, table

    out = [f"{report.path}: {size(sum(kind.bytes for kind in report.kinds.values()))}, {size(report.free_bytes)} free"]
    if report.process is not None:
        out.append(f"a server has it open (process {report.process}): what it writes meanwhile is not checked")
    rows = [[name, amount(kind.files), size(kind.bytes), *_contents(kind),
             click.style("damaged", fg="red") if kind.damaged else click.style("ok", fg="green")]
            for name, kind in report.kinds.items() if kind.files]
    out += ["", table(["", "files", "size", "items", "samples", "from", "to", ""], rows, "lrrrrlll")]
    for finding in report.findings:
        out += ["", *_finding(finding, report)]
    out += ["", *[f"done: {each}" for each in done]]
    count = len(report.damage)
    notices = len(report.findings) - count
    also = f"; {notices} {'notice' if notices == 1 else 'notices'}" if notices else ""
    out.append(click.style("no damage found", fg="green") + also if not count
               else click.style(f"{count} damaged {'place' if count == 1 else 'places'} found", fg="red") + also)
    return "\n".join(out) + "\n"


def _contents(kind: Kind) -> list[str]:
    from tsdb.commands.tables import amount
    from tsdb.model.times import time_text

    if kind.mint is None or kind.maxt is None:
        return [amount(kind.items) if kind.items else "", "", "", ""]
    return [amount(kind.items), amount(kind.samples), time_text(kind.mint), time_text(kind.maxt)]


def _finding(finding: Finding, report: Report) -> list[str]:
    from tsdb.commands.tables import wrapped
    from tsdb.model.times import time_text
    from tsdb.storage.checking import Severity

    damage = finding.severity is Severity.DAMAGE
    word = click.style("DAMAGE", fg="red", bold=True) if damage else click.style("notice", fg="yellow")
    path = finding.path.relative_to(report.path) if finding.path != report.path else finding.path
    out = [f"{word}  {path}", *wrapped(f"{finding.what}.", "        ")]
    if finding.mint < finding.maxt:
        out += wrapped(f"Times: {time_text(finding.mint)} to {time_text(finding.maxt - 1)}.", "        ")
    if finding.series_count or finding.series:
        out.append(f"        Series: {finding.series_count}{', among them' if finding.series else ''}")
        out += [f"          {series}" for series in finding.series]
    for line in (finding.means, finding.remedy):
        if line:
            out += wrapped(line, "        ")
    return out


def document(report: Report, done: list[str]) -> dict[str, Any]:
    """For programs. Times are ms since 1970."""
    return {
        "path": str(report.path), "process": report.process, "freeBytes": report.free_bytes,
        "damaged": bool(report.damage),
        "kinds": {
            name: {"files": kind.files, "bytes": kind.bytes, "items": kind.items, "samples": kind.samples,
                   "minTime": kind.mint, "maxTime": kind.maxt, "damaged": kind.damaged}
            for name, kind in report.kinds.items()
        },
        "findings": [
            {"severity": finding.severity.value, "path": str(finding.path), "what": finding.what,
             "means": finding.means, "remedy": finding.remedy, "series": list(finding.series),
             "seriesCount": finding.series_count,
             **({"minTime": finding.mint, "maxTime": finding.maxt} if finding.mint < finding.maxt else {}),
             "repair": finding.repair.value if finding.repair is not None else None}
            for finding in report.findings
        ],
        "done": done,
    }
