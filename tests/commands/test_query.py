"""``tsdb query``: a data directory and a server on it say the same; forms, times, errors."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import tsdb
from tests.conftest import StartTsdb
from tsdb.cli import main
from tsdb.commands.query_times import moment, step_of
from tsdb.model.errors import ConfigError

BEGIN = 1_795_435_200
"""s since the epoch: 2026-11-23T12:00:00Z"""
AT = ("--time", str(BEGIN + 600))
FROM_TO = ("--start", str(BEGIN), "--end", str(BEGIN + 600))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query") / "data"
    times = [BEGIN + 15 * step for step in range(41)]
    with tsdb.open(folder) as db:
        for number, job in enumerate(("api", "db")):
            labels = {"__name__": "requests_total", "job": job}
            db.append(labels, times, [float((number + 1) * step) for step in range(41)])
        db.append("odd", times[:2], [math.nan, math.inf])
        db.append({"__name__": "a.b", "Größe": "«1»"}, times, [1.0] * 41)
    return folder


def run(*arguments: object) -> Result:
    from tsdb.cli import cli

    return CliRunner().invoke(cli, ["query", *map(str, arguments)])


def text(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.stdout


def test_tables(data: Path) -> None:
    assert text("instant", "requests_total", *AT, "--data", data) == (
        'SERIES                     VALUE\n'
        'requests_total{job="api"}     40\n'
        'requests_total{job="db"}      80\n'
        'at 2026-11-23T12:10:00Z\n')
    assert text("range", "sum(requests_total)", *FROM_TO, "--step", "5m", "--data", data) == (
        "TIME                   {}\n"
        "2026-11-23T12:00:00Z    0\n"
        "2026-11-23T12:05:00Z   60\n"
        "2026-11-23T12:10:00Z  120\n")
    assert text("instant", "1 + 1", "--data", data) == "2\n"
    assert text("instant", '"text"', "--data", data) == "text\n"
    assert text("instant", "gone", *AT, "--data", data) == "nothing: no series has a sample there\n"
    assert text("instant", "odd[5m]", "--time", BEGIN + 60, "--data", data) == (
        "TIME                   odd\n"
        "2026-11-23T12:00:00Z   NaN\n"
        "2026-11-23T12:00:15Z  +Inf\n")
    assert text("series", "requests_total", *FROM_TO, "--data", data) == (
        'requests_total{job="api"}\nrequests_total{job="db"}\n')
    assert text("labels", *FROM_TO, "--data", data) == "Größe\n__name__\njob\n"


def test_a_matrix_that_is_wider_than_the_terminal_is_shown_series_by_series(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = text("range", "requests_total", *FROM_TO, "--step", "10m", "--data", data)
    assert shown.splitlines()[:3] == ['requests_total{job="api"}', "  TIME                  VALUE",
                                      "  2026-11-23T12:00:00Z      0"]


def test_csv(data: Path) -> None:
    rows = list(csv.reader(io.StringIO(text("range", "requests_total", *FROM_TO, "--step", "10m", "--format", "csv",
                                            "--data", data))))
    assert rows == [["__name__", "job", "time", "value"],
                    ["requests_total", "api", "2026-11-23T12:00:00Z", "0"],
                    ["requests_total", "api", "2026-11-23T12:10:00Z", "40"],
                    ["requests_total", "db", "2026-11-23T12:00:00Z", "0"],
                    ["requests_total", "db", "2026-11-23T12:10:00Z", "80"]]
    assert text("values", "job", *FROM_TO, "--format", "csv", "--data", data) == "name\napi\ndb\n"
    assert text("series", "requests_total", *FROM_TO, "--format", "csv", "--data", data) == (
        "__name__,job\nrequests_total,api\nrequests_total,db\n")


def test_charts(data: Path) -> None:
    lines = text("range", "requests_total", *FROM_TO, "--format", "chart", "--data", data).splitlines()
    assert lines[0].strip().startswith("80 ┤")
    assert lines[-2:] == ['── requests_total{job="api"}', '── requests_total{job="db"}']
    dots = "".join(lines[:16])
    assert any("\u2800" < char <= "\u28ff" for char in dots)
    bars = text("instant", "requests_total", *AT, "--format", "chart", "--data", data).splitlines()
    assert bars[1].count("▇") * 2 == bars[2].count("▇") == 30
    assert text("range", "odd", *FROM_TO, "--format", "chart", "--data", data).startswith("nothing to draw")


def test_explain(data: Path) -> None:
    shown = text("range", "sum by (job) (rate(requests_total[5m])) > 1", *FROM_TO, "--explain", "--data", data)
    assert re.sub(r"[0-9.]+ ms", "T", shown) == (
        "operator >\n"
        "│  121 steps, 2 series, 0 points, T\n"
        "├─ aggregation sum by (job)\n"
        "│  │  121 steps, 2 series, 236 points, T\n"
        "│  └─ function rate\n"
        "│     │  121 steps, 2 series, 236 points, T\n"
        "│     └─ selector requests_total[5m]\n"
        "│           121 steps, 2 series, 82 samples, 1,312 bytes, raw: head, decoded in T\n"
        "└─ 1\n"
        "      121 steps, 121 points, T\n")


def test_warnings_and_infos_are_on_standard_error(data: Path) -> None:
    done = run("instant", "rate(a_gauge[5m]) or quantile(2, requests_total)", *AT, "--data", data)
    assert "+Inf" in done.stdout
    assert done.stderr == "tsdb: PromQL warning: quantile value should be between 0 and 1, got 2 (1:31)\n"
    done = run("series", '{__name__=~".+"}', *FROM_TO, "--limit", 1, "--data", data)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == "tsdb: results truncated due to limit\n"


def test_a_server_says_the_same(data: Path, start_tsdb: StartTsdb) -> None:
    server = start_tsdb(data=data)
    url = f"http://127.0.0.1:{server.port}"
    for arguments in (
        ("instant", "requests_total", *AT), ("instant", "quantile(2, requests_total)", *AT),
        ("range", "rate(requests_total[1m])", *FROM_TO), ("series", "requests_total", "odd", *FROM_TO),
        ("labels", "--match", "odd", *FROM_TO),
        ("values", "Größe", *FROM_TO), ("values", "__name__", "--limit", 2, *FROM_TO),
    ):
        theirs, ours = (json.loads(text(*arguments, "--format", "json", *source))
                        for source in (("--url", url), ("--data", data)))
        assert {**theirs, "warnings": theirs.get("warnings", []), "infos": theirs.get("infos", [])} == {
            "infos": [], **ours}, arguments
        assert ours["data"]
    done = run("instant", "sum(", "--url", url)
    assert str(done.exception) == (f"127.0.0.1:{server.port} answered 400: "
                                   'invalid parameter "query": 1:5: parse error: unclosed left parenthesis')


@pytest.mark.parametrize(("arguments", "told"), [
    (("instant", "sum("), "1:5: parse error: unclosed left parenthesis"),
    (("instant", "x", "--time", "yesterday"), '--time: "yesterday" is no time: as in now, -1h, 1795392000 or 2026-'),
    (("range", "x", "--start", "now", "--end", "-1h"), "--start now is after --end -1h"),
    (("range", "x", "--step", "0"), '--step: "0" is no duration: as in 15s, 1h30m or 60'),
    (("range", "x[5m]"), 'invalid expression type "range vector" for range query'),
    (("range", "x", "--timeout", "soon"), '--timeout: "soon" is no duration'),
    (("series", "{"), "not a selector: 1:2: parse error"),
])
def test_errors_are_one_readable_line(data: Path, arguments: tuple[str, ...], told: str,
                                      monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["tsdb", "query", *arguments, "--data", str(data)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("tsdb: ") and error.count("\n") == 1
    assert told in error


def test_places_to_ask(tmp_path: Path) -> None:
    assert "is not a data directory" in str(run("instant", "x", "--data", tmp_path).exception)
    assert "give --url of a server, or --data" in run("instant", "x", "--data", tmp_path, "--url", "http://x").output
    assert "Connection refused" in str(run("instant", "x", "--url", "http://127.0.0.1:1").exception)
    assert "give a selector" in run("series").output


@pytest.mark.parametrize(("given", "ms"), [
    ("now", 10_000_000), ("-1h", 6_400_000), ("now-1h", 6_400_000), ("+5m", 10_300_000), ("now+1m30s", 10_090_000),
    ("12.5", 12_500), ("-12.5", -12_500), ("1970-01-01T00:00:01Z", 1000), ("1970-01-01T01:00:01+01:00", 1000),
])
def test_times(given: str, ms: int) -> None:
    assert moment(given, 10_000_000, "--time") == ms


@pytest.mark.parametrize("given", ["", "x", "-", "-1", "now-", "now-x", "1d"])
def test_wrong_times(given: str) -> None:
    if given in ("", "-1"):  # now, and a second before the epoch
        assert moment(given, 5, "--time") in (5, -1000)
        return
    with pytest.raises(ConfigError, match="is no time"):
        moment(given, 5, "--time")


def test_steps() -> None:
    assert [step_of(None, 0, 1000 * seconds) for seconds in (10, 120, 3600, 86_400, 10**9)] == [
        1000, 1000, 30_000, 1_800_000, 86_400_000]
    assert [step_of(given, 0, 1) for given in ("15s", "60", "0.5")] == [15_000, 60_000, 500]
