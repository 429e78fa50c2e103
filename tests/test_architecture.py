"""The rules of docs/architecture.md that a machine can check: dependencies, kernels, state, length of files."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tsdb.kernels import discover, warm_up

REPOSITORY = Path(__file__).parent.parent

BELOW: dict[str, set[str]] = {
    "tsdb.model": set(),
    "tsdb.kernels": set(),
    "tsdb.wal": {"tsdb.model", "tsdb.kernels"},
    "tsdb.histograms": {"tsdb.model", "tsdb.kernels"},
    "tsdb.storage": {"tsdb.model", "tsdb.kernels", "tsdb.wal", "tsdb.histograms"},
    "tsdb.promql": {"tsdb.model", "tsdb.kernels", "tsdb.histograms"},
    "tsdb.ingest": {"tsdb.model", "tsdb.kernels"},
    "tsdb.net": {"tsdb.model"},
    "tsdb.relabel": {"tsdb.model"},
    "scraper": {"tsdb.model", "tsdb.kernels", "tsdb.ingest", "tsdb.net", "tsdb.relabel"},
    "tsdb.result": {"tsdb.model"},
    "tsdb.embedded": {"tsdb.model", "tsdb.kernels", "tsdb.wal", "tsdb.storage", "tsdb.promql", "tsdb.result"},
    "tsdb": {"tsdb.model", "tsdb.embedded", "tsdb.promql", "tsdb.result"},
    "tsdb.server": {
        "tsdb.model", "tsdb.kernels", "tsdb.histograms", "tsdb.wal", "tsdb.storage", "tsdb.promql", "tsdb.ingest",
        "tsdb.config", "tsdb.flags", "tsdb.net", "tsdb.relabel", "scraper", "tsdb.imports", "tsdb.exports",
    },
    "tsdb.alerting": {"tsdb.model", "tsdb.net", "tsdb.relabel", "scraper"},
    "tsdb.remote": {"tsdb.model", "tsdb.net", "tsdb.relabel"},
    "tsdb.config": {
        "tsdb.model", "tsdb.storage", "tsdb.server", "tsdb.net", "tsdb.relabel", "tsdb.ingest", "tsdb.alerting",
        "tsdb.remote", "scraper",
    },
    "tsdb.testing": {"tsdb.model", "tsdb.promql"},
    "tsdb.prometheus_data": {"tsdb.model", "tsdb.kernels", "tsdb.wal", "tsdb.ingest"},
    "tsdb.imports": {
        "tsdb.model", "tsdb.kernels", "tsdb.wal", "tsdb.storage", "tsdb.promql", "tsdb.ingest", "tsdb.net",
        "tsdb.rules", "tsdb.prometheus_data",
    },
    "tsdb.exports": {
        "tsdb.model", "tsdb.kernels", "tsdb.wal", "tsdb.storage", "tsdb.promql", "tsdb.prometheus_data",
    },
    "tsdb.backup": {"tsdb.model", "tsdb.kernels", "tsdb.wal", "tsdb.storage"},
    "tsdb.rules": {"tsdb.model", "tsdb.promql"},
    "tsdb.commands": {
        "tsdb.model", "tsdb.kernels", "tsdb.wal", "tsdb.storage", "tsdb.promql", "tsdb.testing", "tsdb.config",
        "tsdb.server", "tsdb.net", "tsdb.relabel", "tsdb.alerting", "scraper", "tsdb.imports", "tsdb.exports",
        "tsdb.backup", "tsdb.rules", "tsdb.ingest", "tsdb.prometheus_data",
    },
    "tsdb.flags": {"tsdb.model"},
    "tsdb.__main__": {"tsdb.cli"},
    "tsdb.cli": {
        "tsdb.model", "tsdb.kernels", "tsdb.storage", "tsdb.promql", "tsdb.server", "tsdb.config", "tsdb.embedded",
        "tsdb.flags", "tsdb.commands", "scraper",
    },
}
"""What each part may import, besides itself. A new part gets a row, and a place in docs/architecture.md."""

WITHIN_STORAGE: tuple[set[str], ...] = (
    {"codecs", "regexes", "query_symbols", "tombstones", "damage", "exemplars", "family_metadata", "late",
     "starts"},
    {"head", "directory"},
    {"block"},
    {"blocks"},
    {"appender", "reading", "restart"},
    {"upkeep"},
    {"tiers", "bulk"},
    {"checking"},
    {"uploads"},
    {"options", "statistics"},
    {"storage"},
)
"""Parts of tsdb.storage: each imports only parts in rows above its own."""

WITHIN_PROMQL: tuple[set[str], ...] = (
    {"ast", "literals", "regexes"},
    {"durations", "kernels", "native_histograms", "number_text", "rewriting"},
    {"histograms"},
    {"operators"},
    {"functions", "aggregations"},
    {"syntax", "optimiser"},
    {"plan"},
    {"result"},
    {"engine"},
)
"""The same of tsdb.promql."""

LONGEST = 500
"""Lines of a file of the product. Longer: is it still one idea?"""


def sources() -> list[Path]:
    return sorted(path for package in ("tsdb", "scraper") for path in (REPOSITORY / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The row of `BELOW` that a module belongs to."""
    if module.partition(".")[0] == "scraper":
        return "scraper"
    return ".".join(module.split(".")[:2])


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[tuple[str, list[str], int]]:
    """(module, imported names, line) of every import of a file, those inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [], node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written in full"
            assert node.module is not None
            yield node.module, [alias.name for alias in node.names], node.lineno


def test_parts_depend_in_one_direction() -> None:
    wrong = []
    for path in sources():
        own = part_of(module_name(path))
        assert own in BELOW, f"{path}: {own} has no row in BELOW: which parts may it import?"
        for module, names, line in imports(path):
            if module.partition(".")[0] not in ("tsdb", "scraper"):
                continue
            # `from tsdb import config` names a module, `from tsdb import open` does not
            targets = [f"{module}.{name}" for name in names if f"{module}.{name}" in BELOW] or [module]
            wrong += [
                f"{path.relative_to(REPOSITORY)}:{line}: {own} may not import {target}"
                for target in map(part_of, targets)
                if target != own and target not in BELOW[own]
            ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("package", "layers"), [("tsdb.storage", WITHIN_STORAGE), ("tsdb.promql", WITHIN_PROMQL)])
def test_large_parts_are_built_in_layers(package: str, layers: tuple[set[str], ...]) -> None:
    row_of = {part: row for row, parts in enumerate(layers) for part in parts}
    wrong = []
    for path in sources():
        name = module_name(path).split(".")
        if name[:2] != package.split(".") or len(name) == 2:
            continue
        assert name[2] in row_of, f"{path}: {package}.{name[2]} has no row among the layers"
        for module, names, line in imports(path):
            for target in [module, *(f"{module}.{each}" for each in names)]:
                part = target.split(".")[2] if target.startswith(f"{package}.") else name[2]
                if part != name[2] and row_of.get(part, -1) >= row_of[name[2]]:
                    wrong.append(f"{path.relative_to(REPOSITORY)}:{line}: {name[2]} may not import {part}")
    assert not wrong, "\n".join(wrong)


def test_no_part_imports_another_parts_private_names() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line}: {name} of {module} is private"
        for path in sources()
        for module, names, line in imports(path)
        if part_of(module) in BELOW and part_of(module) != part_of(module_name(path))
        for name in [*names, *module.split(".")]
        if name.startswith("_") and not name.startswith("__")
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {canonical(re.split(r"[^\w.-]", text)[0]) for text in project["dependencies"]}
    optional = {canonical(re.split(r"[^\w.-]", text)[0]) for name in extras if name != "dev" for text in extras[name]}
    distributions = importlib.metadata.packages_distributions()
    wrong = []
    for path in sources():
        for module, _, line in imports(path):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or top in ("tsdb", "scraper"):
                continue
            owners = {canonical(owner) for owner in distributions.get(top, [top])}
            # llvmlite belongs to numba, which pins it
            if not owners & (declared | optional | {"llvmlite"}):
                wrong.append(f"{path.relative_to(REPOSITORY)}:{line}: {top} is not among the dependencies")
    assert not wrong, "\n".join(wrong)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_kernels_live_in_kernel_modules() -> None:
    wrong = []
    for path in sources():
        if path.name.endswith("_kernels.py"):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                decorators = {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in node.decorator_list}
                if decorators & {"kernel", "device"}:
                    where = f"{path.relative_to(REPOSITORY)}:{node.lineno}"
                    wrong.append(f"{where}: {node.name} belongs into a module named *_kernels.py")
    assert not wrong, "\n".join(wrong)


def test_kernels_are_documented_and_few() -> None:
    kernels = discover()
    assert not [kernel.name for kernel in kernels if not kernel.__doc__]
    starting = [kernel.name for kernel in kernels if kernel.stage == "start"]
    assert len(starting) <= 60, f"{len(starting)} kernels before a cold start is ready: some can be stage='later'"


def test_every_kernel_compiles() -> None:
    warm_up(wait=None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_kernel_compiles_from_a_cold_cache(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tsdb.kernels import warm_up; print(warm_up(wait=None).total)"],
        env={**os.environ, "TSDB_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(discover())


def test_no_module_keeps_state() -> None:
    """Two databases and two servers live in one process: what changes belongs to an object."""
    wrong = []
    for path in sources():
        where = path.relative_to(REPOSITORY)
        wrong += [f"{where}:{n.lineno}: global" for n in ast.walk(tree(path)) if isinstance(n, ast.Global)]
        for node in tree(path).body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    pass
                case _:
                    continue
            if makes_mutable(value) and not name.strip("_").isupper() and name != "__all__":
                wrong.append(f"{where}:{node.lineno}: {name} is mutable: make it a constant or put it into an object")
    assert not wrong, "\n".join(wrong)


def makes_mutable(value: ast.expr) -> bool:
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in {"list", "dict", "set", "defaultdict", "OrderedDict", "deque", "Counter", "bytearray"}
    return False


def test_files_stay_short() -> None:
    long = {str(p.relative_to(REPOSITORY)): n for p in sources() if (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long
