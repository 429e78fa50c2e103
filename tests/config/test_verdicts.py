"""Our verdict on a config and promtool's: the same, but for what a table explains."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.verdicts import BAD, GOOD, job
from tsdb.commands.config_check import findings, read
from tsdb.model.errors import ConfigError

NEWER = {
    "legacy label name": "Prometheus 3.5 looks at names of external labels as UTF-8 always; newer ones as we do",
    "validation scheme": "Prometheus 3.5 notices it where there is a job only",
}
"""Cases in which Prometheus 3.5 takes what we refuse, with the reason."""

OURS = {
    "retention": ("storage: {tsdb: {retention: {time: 30d, size: 5GB}}}", "newer than Prometheus 3.5"),
    "scrape native histograms": ("global: {scrape_native_histograms: true}", "newer than Prometheus 3.5"),
    "extra metrics": ("global: {extra_scrape_metrics: true}", "newer than Prometheus 3.5"),
    "legacy job": (job("metric_name_validation_scheme: legacy"), "newer ones find the escaping that suits"),
    "our sections": ("server: {max_body_size: 1MiB}\nquery: {timeout: 1m}", "not Prometheus'"),
    "where data are": ("storage: {tsdb: {path: /data}}", "not Prometheus'"),
    "environment": ("scrape_configs: [{job_name: a, sample_limit: '${env:NONE:-5}'}]", "not Prometheus'"),
    "Azure": ("remote_write: [{url: http://a, azuread: {sdk: {tenant_id: x}}}]", "Debian's build leaves it out"),
}
"""What we take and Prometheus 3.5 refuses."""

CASES = {**GOOD, **BAD, **{name: text for name, (text, _) in OURS.items()}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("configs")
    made = {name: folder / f"{number}.yml" for number, name in enumerate(CASES)}
    for name, file in made.items():
        file.write_text(CASES[name])
    return made


@pytest.fixture(scope="module")
def taken_by_promtool(files: dict[str, Path], peer: Callable[[str], Path]) -> set[str]:
    argv: list[str | Path] = [peer("promtool"), "check", "config", "--syntax-only", *files.values()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    parts = re.split(r"^Checking (\S+)$", done.stdout, flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert len(texts) == len(files)
    return {name for name, file in files.items() if "SUCCESS" in texts[str(file)]}


def refusal(file: Path) -> str:
    """Our error; empty: the file is fine."""
    try:
        list(findings(read(file, agent=False), syntax_only=True))
    except ConfigError as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize("name", [*GOOD, *OURS])
def test_good(name: str, files: dict[str, Path]) -> None:
    assert not refusal(files[name])


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str, files: dict[str, Path]) -> None:
    """Refused, and where: of what is in the file the line and column are named."""
    text = refusal(files[name])
    assert re.match(rf"{re.escape(str(files[name]))}:(\d+:\d+:| job \"a\":) \S", text), text


@pytest.mark.peer
def test_promtool_says_the_same(taken_by_promtool: set[str]) -> None:
    assert {name for name in GOOD if name not in taken_by_promtool} == set()
    assert {name for name in BAD if name in taken_by_promtool} == set(NEWER) & set(BAD)
    assert {name for name in OURS if name in taken_by_promtool} == set()
