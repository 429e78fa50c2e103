"""The documentation is true as far as a machine can tell: links lead somewhere, what is named exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)[^)]*\)|!\[[^\]]*\]\(([^)#\s]+)\)")


def pages() -> list[Path]:
    return sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "bench" / "README.md"])


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [a or b for a, b in LINK.findall(page.read_text())]
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_the_index_lists_every_page() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text()
    missing = [p.name for p in (REPOSITORY / "docs").rglob("*.md") if p.name != "README.md" and p.name not in index]
    assert not missing


def test_the_readme_begins_with_its_two_commands() -> None:
    first, second = (line.strip() for line in (REPOSITORY / "README.md").read_text().splitlines()[:2])
    assert first.endswith(".venv/bin/tsdb serve --config examples/quickstart.yml")
    assert (REPOSITORY / "examples" / "quickstart.yml").exists()
    assert second.endswith(".venv/bin/pytest -n 3")


def test_paths_named_in_the_architecture_exist() -> None:
    """Every `path/` or `path.py` in backquotes that begins with a folder of ours is there."""
    page = REPOSITORY / "docs" / "architecture.md"
    named = re.findall(r"`((?:tsdb|scraper|tests|bench|tools|docs|examples|\.ci)/[\w./*-]*)`", page.read_text())
    missing = [name for name in named if not list(REPOSITORY.glob(name.rstrip("/")))]
    assert named and not missing
