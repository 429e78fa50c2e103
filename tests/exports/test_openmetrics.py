"""OpenMetrics: strict parsers take it, and promtool makes blocks of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.exports.stored import SPAN, Stored, joined, labels_of, put, stored
from tests.exports.test_csv import kept, milliseconds, number
from tsdb.exports.losses import Losses
from tsdb.exports.openmetrics import export
from tsdb.testing.memory_storage import MemoryStorage

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*|"(?:[^"\\]|\\.)*")="((?:[^"\\]|\\.)*)"', re.DOTALL)
ESCAPES = {r"\\": "\\", r"\n": "\n", r"\"": '"'}


def unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda found: ESCAPES[found[0]], text)


def parsed(text: str) -> Stored:
    """The slow, obvious reader."""
    assert text.endswith("# EOF\n")
    found: Stored = {}
    names = []
    for line in text.removesuffix("# EOF\n").split("\n")[:-1]:
        series, value, time = line.rsplit(" ", 2)
        if series[0] == "{":
            quoted = re.match(r'\{"((?:[^"\\]|\\.)*)"', series, re.DOTALL)
            assert quoted is not None
            name, rest = unescaped(quoted[1]), series[quoted.end() :]
        else:
            name, _, rest = series.partition("{")
        labels = {unescaped(key[1:-1]) if key[0] == '"' else key: unescaped(text) for key, text in LABEL.findall(rest)}
        names.append(name)
        found.setdefault(labels_of({"__name__": name, **labels}), {})[milliseconds(time, "s")] = number(value), 0
    assert names == sorted(names)
    return found


@settings(max_examples=40)
@given(stored())
def test_floats_are_there_to_the_bit(given: tuple[Stored, int]) -> None:
    samples, first = given
    losses = Losses()
    text = joined(export(put(MemoryStorage(), samples), [()], first, first + SPAN, losses)).decode()
    named = {labels: column for labels, column in samples.items() if "__name__" in dict(labels)}
    expected, told = kept(named)
    told.nameless = sum(len(column) for labels, column in samples.items() if labels not in named)
    assert (parsed(text), losses) == (expected, told)


@settings(max_examples=20)
@given(stored(histograms=False, plain_names=True).filter(lambda made: made[1] >= 0))  # it mistakes times before 1970
def test_strict_parsers_take_it(given: tuple[Stored, int]) -> None:
    samples, first = given
    samples = {labels: column for labels, column in samples.items()
               if all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) and "\r" not in value for name, value in labels)}
    text = joined(export(put(MemoryStorage(), samples), [()], first, first + SPAN, Losses())).decode()
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    assert sum(len(family.samples) for family in families) == sum(map(len, kept(samples)[0].values()))
    assert {family.type for family in families} <= {"unknown"}


def test_lines_are_as_people_expect_them() -> None:
    storage = MemoryStorage()
    storage.add({"__name__": "up"}, [1_795_392_000_250], [1])
    storage.add({"__name__": "a.b"}, [1], [float("inf")])
    storage.add({"__name__": "up", "ZONE": 'q"', "job.x": "1"}, [1_795_392_000_000], [1.5])
    assert joined(export(storage, [()], 0, 1 << 41, Losses())).decode() == (
        '{"a.b"} +Inf 0.001\nup{ZONE="q\\"","job.x"="1"} 1.5 1795392000\nup 1 1795392000.250\n# EOF\n')


@pytest.mark.peer
@pytest.mark.slow
def test_promtool_makes_blocks_of_it(peer: Callable[[str], Path], tmp_path: Path) -> None:
    storage = MemoryStorage()
    begin = 1_700_000_000_000
    for name in ("a", "b.c", "a:b", 'q"'):
        for job in ("x", 'n\n"', "ünï"):
            times = range(begin, begin + 86_400_000, 60_000)
            storage.add({"__name__": name, "job": job, "l.2": "y"}, times, [ts / 7 for ts in times])
    (tmp_path / "in.txt").write_bytes(joined(export(storage, [()], begin, begin + 86_400_000, Losses())))
    blocks = tmp_path / "blocks"
    promtool = peer("promtool")
    subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "in.txt", blocks],
                   capture_output=True, timeout=60, check=True)
    (blocks / "wal").mkdir()
    dumped = subprocess.run([promtool, "tsdb", "dump", blocks], capture_output=True, text=True, timeout=60, check=True)
    lines = dumped.stdout.splitlines()
    assert len(lines) == 12 * 1440
    values = {float(line.split()[-2]) for line in lines}
    assert values == {ts / 7 for ts in range(begin, begin + 86_400_000, 60_000)}
