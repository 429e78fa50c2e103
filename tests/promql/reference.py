"""What a real Prometheus answers to the evals of a script: ``python -m tests.promql.reference FILE…`` writes its
answers under evals that have none, and a slow test compares those that have some."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.client import Client
from tests.processes import Process, free_port
from tests.promql.differential.servers import find_prometheus
from tsdb.model.native_histograms import BOX
from tsdb.testing.compare import almost_equal
from tsdb.testing.loading import load
from tsdb.testing.memory_storage import Labels, MemoryStorage, labels_of
from tsdb.testing.notation import Value
from tsdb.testing.script import Case, Load, read_script

Answer = dict[str, Any]
FEATURES = "promql-experimental-functions,promql-duration-expr,promql-delayed-name-removal"


class Reference:
    """A Prometheus for each set of loads, one at a time. Close it."""

    def __init__(self, prometheus: Path) -> None:
        self._prometheus = prometheus
        self._loads: tuple[Load, ...] | None = None
        self._process: Process | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="promql-reference-"))

    def answer(self, case: Case) -> Answer:
        """The JSON document of the HTTP API."""
        if case.loads != self._loads or self._process is None:
            self._start(case.loads)
        assert self._process is not None
        if case.step:
            parameters = {"query": case.expr, "start": case.start / 1000, "end": case.end / 1000,
                          "step": case.step / 1000}
            answer: Answer = self._process.client.get("/api/v1/query_range", parameters).json()
        else:
            answer = self._process.client.get("/api/v1/query", {"query": case.expr, "time": case.start / 1000}).json()
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, loads: tuple[Load, ...]) -> None:
        if self._process is not None:
            self._process.kill()
        folder, port = Path(tempfile.mkdtemp(dir=self._folder)), free_port()
        (folder / "prometheus.yml").write_text("{}")
        self._process = Process([
            self._prometheus, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=error",
            f"--enable-feature={FEATURES}"], folder / "log", port).wait_ready()
        _write(self._process.client, loads)
        self._loads = loads


def _write(client: Client, loads: tuple[Load, ...]) -> None:
    """The floats."""
    kept: list[MemoryStorage] = []

    def keep(memory: MemoryStorage) -> MemoryStorage:
        kept.append(memory)
        return memory

    load(loads, keep)
    for memory in kept:
        series = [(dict(labels), [(at, float(np.uint64(bits).view(np.float64))) for at, bits in sorted(column.items())
                                  if bits < BOX])
                  for labels, column in sorted(memory.columns.items())]
        answer = client.write(series)
        assert not series or answer.status == 204, answer.body


@contextmanager
def reference(prometheus: Path) -> Iterator[Reference]:
    made = Reference(prometheus)
    try:
        yield made
    finally:
        made.close()


def difference(case: Case, answer: Answer) -> str | None:
    """What Prometheus says otherwise than the script."""
    failed = answer["status"] == "error"
    if failed or case.of_kind("fail"):
        return None if failed and case.of_kind("fail") else f"Prometheus: {answer}"
    for kind, texts in (("warn", answer.get("warnings")), ("info", answer.get("infos"))):
        if bool(texts) != bool(case.of_kind(kind)):
            return f"{kind}: {texts}"
    found = _expected_of(case, answer)
    if isinstance(found, float):
        return None if case.scalar is not None and almost_equal(case.scalar, found) else f"Prometheus: {found}"
    if isinstance(found, str):
        return None if case.text == found else f"Prometheus: {found!r}"
    if found.keys() != case.series.keys():
        return f"Prometheus: {found}"
    for labels, values in found.items():
        mine = [*case.series[labels][1]]
        mine += [None] * (len(values) - len(mine))
        if not all(_same(a, b) for a, b in zip(values, mine, strict=True)):
            return f"Prometheus: {dict(labels)} {values}"
    return None


def expectations(case: Case, answer: Answer) -> Iterator[str]:
    """Lines of a script."""
    if answer["status"] == "error":
        error = str(answer["error"])
        if "found duplicate series" in error:  # later versions put the two in order
            yield f"expect fail regex: {_pattern(error.partition(': [')[0])}"
        elif answer["errorType"] == "execution":
            whole = error == error.strip()
            yield f"expect fail msg: {error}" if whole else f"expect fail regex: {_pattern(error.strip())}"
        else:
            yield "expect fail"
        return
    for kind, texts in (("warn", answer.get("warnings")), ("info", answer.get("infos"))):
        for text in texts or ():
            cut = text.find(" for metric name ") if "monotonicity" in text else -1  # later versions go on otherwise
            yield f"expect {kind} msg: {text}" if cut < 0 else f"expect {kind} regex: {_pattern(text[:cut])}"
    found = _expected_of(case, answer)
    if isinstance(found, float):
        yield _text(found)
    elif isinstance(found, str):
        yield f"expect string {json.dumps(found)}"
    else:
        for labels, values in found.items():
            while values and values[-1] is None:
                values.pop()
            yield f"{_series_text(labels)} {' '.join(map(_text, values))}"


def _expected_of(case: Case, answer: Answer) -> float | str | dict[Labels, list[Value]]:
    kind, result = answer["data"]["resultType"], answer["data"]["result"]
    if kind == "scalar":
        return float(result[1])
    if kind == "string":
        return str(result[1])
    times = range(case.start, case.end + 1, case.step) if case.step else [case.start]
    found: dict[Labels, list[Value]] = {}
    for row in result:
        cells = {round(at * 1000): float(value) for at, value in row.get("values") or [row["value"]]}
        found[labels_of(row["metric"])] = [cells.get(at) for at in times]
    return found


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return almost_equal(a, b)
    return a == b


def _series_text(labels: Labels) -> str:
    pairs = [f"{_quoted(label) if '.' in label or ' ' in label else label}={_quoted(value)}" for label, value in labels]
    return f"{{{', '.join(pairs)}}}"


def _pattern(text: str) -> str:
    return re.escape(text).replace("\\ ", " ")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _text(value: Value) -> str:
    if not isinstance(value, float):
        return "_"
    return f"{value:.12g}".replace("nan", "NaN").replace("inf", "Inf")


def main(files: list[Path]) -> None:
    prometheus = find_prometheus()
    assert prometheus is not None, "no prometheus in TSDB_PEERS or PATH"
    with reference(prometheus) as made:
        for file in files:
            lines = file.read_text().split("\n")
            for case in reversed(read_script(file)):
                if case.series or case.expectations or case.scalar is not None or case.text is not None:
                    continue
                lines[case.line : case.line] = [f"  {line}" for line in expectations(case, made.answer(case))]
            file.write_text("\n".join(lines))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
