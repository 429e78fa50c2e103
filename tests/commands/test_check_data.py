"""``tsdb check data`` finds what is wrong, says what it means, and repairs only what is safe, when asked to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.commands.conftest import HOUR, OPTIONS, START, flip
from tests.storage.batches import read
from tests.storage.block.plain import Content, PlainSource
from tsdb.cli import cli
from tsdb.commands.check import check
from tsdb.storage import Storage
from tsdb.storage.block import Block, dictionary, new_ulid, write_block
from tsdb.storage.block.sections import Index
from tsdb.storage.directory import format_file
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(check, ["data", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def findings(data: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    code, output = run("--json", *arguments, data)
    document = json.loads(output)
    for finding in document["findings"]:
        finding["path"] = str(Path(finding["path"]).relative_to(data))
    return code, document["findings"]


def block_of(data: Path) -> Path:
    return next((data / "blocks").iterdir())


def chunk_place(block: Path, chunk: int) -> int:
    found = Block.open(FS, block)
    place = int(found.index["chunk_offset"].array[chunk])
    found.release()
    return place + 9


def section_place(block: Path, name: str) -> int:
    index = np.fromfile(block / "index", np.uint8)
    return int(Index(block / "index", index)._places[name])


def test_a_whole_directory(data: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    code, output = run(data)
    assert code == 0 and output.endswith("no damage found\n")
    rows = {line.split("  ")[0]: line.split() for line in output.splitlines() if line.endswith("ok")}
    assert set(rows) == {"log", "windows", "blocks", "saved head", "other"}
    assert rows["blocks"][5:8] == ["1,200", "2023-11-15T00:00:00Z", "2023-11-15T01:39:00.011Z"], "of samples"
    assert rows["log"][5] == "876", output
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


CASES: list[tuple[str, Callable[[Path], object], str, str, str]] = [
    ("a flipped chunk", lambda data: flip(block_of(data) / "chunks", chunk_place(block_of(data), 7)),
     "blocks/ULID/chunks", r"1 of 12 chunks have a wrong checksum", "100 samples are lost"),
    ("a flipped index", lambda data: flip(block_of(data) / "index", section_place(block_of(data), "chunk_maxt")),
     "blocks/ULID/index", r"section chunk_maxt is damaged", "all samples of the block are left out: 1200 of 12 series"),
    ("flipped postings", lambda data: flip(block_of(data) / "index", section_place(block_of(data), "posting")),
     "blocks/ULID/index", r"section posting is damaged", "follows from others, and the block is served in full"),
    ("no index", lambda data: (block_of(data) / "index").unlink(), "blocks/ULID", "index: is missing",
     "cannot be opened"),
    ("a flipped meta.json", lambda data: flip(block_of(data) / "meta.json", 30), "blocks/ULID/meta.json",
     "is not as it was written", "Nothing is lost"),
    ("no meta.json", lambda data: (block_of(data) / "meta.json").unlink(), "blocks/ULID/meta.json", "is missing",
     "Nothing is lost"),
    ("flipped tombstones", lambda data: flip(block_of(data) / "tombstones", 40), "blocks/ULID/tombstones",
     "is damaged", "there again"),
    ("cut chunks", lambda data: (block_of(data) / "chunks").write_bytes((block_of(data) / "chunks").read_bytes()[:-9]),
     "blocks/ULID/chunks", r"has \d+ bytes, not \d+", "missing"),
    ("FORMAT", lambda data: flip(data / "FORMAT", 5), "FORMAT", "not as it was written", "Nothing is lost"),
    ("no FORMAT", lambda data: (data / "FORMAT").unlink(), "FORMAT", "is missing", "Nothing is lost"),
    ("a flipped copy of meta.json", lambda data: flip(block_of(data) / "index", 200), "blocks/ULID/index",
     "section meta_json is damaged", "Nothing is lost"),
    ("a flipped record", lambda data: flip(sorted((data / "wal").glob("0*"))[0], 300), "wal", "although the server was "
     "stopped", "Nothing is lost as long as the saved head is whole"),
    ("a segment's header", lambda data: flip(sorted((data / "wal").glob("0*"))[0], 3), "wal/SEGMENT",
     "the file header is damaged", "Nothing is lost"),
    ("a flipped checkpoint", lambda data: flip(next((data / "wal").glob("checkpoint*")), 150), "wal/CHECKPOINT",
     r"damaged from byte \d+ to \d+", "Series lose their names"),
    ("a flipped window", lambda data: flip(sorted((data / "chunks").iterdir())[0], 120), "chunks/WINDOW",
     r"damaged from byte 64 to \d+", "as long as the log is whole"),
    ("a window's header", lambda data: flip(sorted((data / "chunks").iterdir())[0], 20), "chunks/WINDOW",
     "the header is damaged", "as long as the log is whole"),
    ("a flipped saved head", lambda data: flip(data / "head" / "saved", 200), "head/saved", "damaged",
     "Nothing is lost"),
]


@pytest.mark.parametrize(("damage", "path", "what", "means"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_damage_is_found(damage: Callable[[Path], object], path: str, what: str, means: str, data: Path) -> None:
    names = {"ULID": block_of(data).name, "SEGMENT": sorted((data / "wal").glob("0*"))[0].name,
             "CHECKPOINT": next((data / "wal").glob("checkpoint*")).name,
             "WINDOW": sorted((data / "chunks").iterdir())[0].name}
    damage(data)
    code, found = findings(data)
    assert code == 1
    path = re.sub("[A-Z]{4,}", lambda match: names.get(match[0], match[0]), path)
    (finding,) = [each for each in found if each["path"] == path and re.search(what, each["what"])]
    assert finding["severity"] == "damage" and means in finding["means"]
    text_code, text = run(data)
    assert text_code == 1 and f"DAMAGE  {path}" in text and "found" in text.splitlines()[-1]


def test_which_series_and_times_are_affected(data: Path) -> None:
    block = block_of(data)
    flip(block / "chunks", chunk_place(block, 7))
    _, (finding,) = findings(data)
    assert (finding["series"], finding["seriesCount"]) == (['m{n="07"}'], 1)
    assert (finding["minTime"], finding["maxTime"]) == (START + 7, START + 99 * 60_000 + 8)
    _, text = run(data)
    assert "Times: 2023-11-15T00:00:00.007Z to 2023-11-15T01:39:00.007Z." in text
    assert 'Series: 1, among them\n          m{n="07"}\n' in text


def test_repair(data: Path) -> None:
    block = block_of(data)
    flip(block / "chunks", chunk_place(block, 7))
    flip(block / "meta.json", 30)
    half = data / "snapshots" / "20261123T120000Z-2be650b6d019eb54.tmp" / "wal"
    half.mkdir(parents=True)
    (half / "00000001").write_bytes(b"half")
    (data / "blocks" / f"{new_ulid()}.tmp").mkdir()
    (data / "wal" / "checkpoint.00000009.tmp").write_bytes(b"half")
    code, output = run("--repair", data)
    assert code == 1 and "done: removed wal/checkpoint.00000009.tmp\n" in output
    assert f"done: set aside blocks/{block.name} as damaged/blocks-{block.name}\n" in output
    assert not half.parent.exists() and not list((data / "blocks").glob("*.tmp"))
    code, found = findings(data)
    assert code == 0 and {finding["severity"] for finding in found} == {"notice"}
    assert any("was found damaged earlier" in finding["what"] for finding in found)
    storage = Storage.open(data, OPTIONS)
    times = [ts for ts, _ in read(storage)[(("__name__", "m"), ("n", "07"))]]
    assert times and min(times) > START + 99 * 60_000, "the others have all their samples"
    assert len(read(storage)[(("__name__", "m"), ("n", "08"))]) == 173
    storage.close()


def test_repair_of_an_index_that_follows_from_itself(data: Path) -> None:
    block = block_of(data)
    whole = (block / "index").read_bytes()
    for name in ("posting", "name_pair"):
        flip(block / "index", section_place(block, name))
    code, output = run("--repair", data)
    assert code == 1 and f"done: mended blocks/{block.name}/index: it is as it was\n" in output
    assert (block / "index").read_bytes() == whole and not (data / "damaged").exists()
    assert findings(data) == (0, [])


def test_interrupted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tsdb.storage.checking.check_directory", interrupted)
    done = CliRunner().invoke(cli, ["check", "data", str(data)])
    assert done.exit_code == 130 and "interrupted" in done.output


def test_beside_a_server(data: Path) -> None:
    storage = Storage.open(data, OPTIONS)
    try:
        code, output = run(data)
        assert code == 0 and "a server has it open (process " in output
        code, output = run("--repair", data)
        assert code == 2 and "in use by process" in output
    finally:
        storage.close()


@pytest.mark.parametrize(("change", "message"), [
    (lambda data: None, "is not a data directory of tsdb"),
    (lambda data: (data / "FORMAT").write_bytes(format_file(99)), "has format 99"),
    (lambda data: (data / "FORMAT").write_bytes(b"something"), "is not a data directory of tsdb"),
    (lambda data: data.rmdir(), "is not a data directory of tsdb"),
    (lambda data: (data.rmdir(), data.write_bytes(b"something")), "is not a data directory of tsdb"),
])
def test_what_cannot_be_checked(change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    change(tmp_path)
    code, output = run(tmp_path)
    assert code == 2 and message in output


def test_an_index_that_was_written_wrong(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checksums are right, what it says is not."""
    content: Content = {(("a", str(n)), ("b", str(n % 2))): [[(START + n, n)], [(START + 100 + n, n)]]
                        for n in range(8)}
    sections = dictionary.Dictionary.sections

    def written(name: str, change: Callable[[Any], Any]) -> list[str]:
        def changed(self: Any) -> Any:
            found = sections(self)
            found[name] = change(found[name].copy())
            return found

        with monkeypatch.context() as patched:
            patched.setattr(dictionary.Dictionary, "sections", changed)
            made = write_block(FS, data / "blocks", PlainSource(content, START, START + 2 * HOUR))
        _, found = findings(data)
        here = [each["what"] for each in found if made.ulid in each["path"] and each["severity"] == "damage"]
        for path in sorted((data / "blocks" / made.ulid).iterdir()):
            path.unlink()
        (data / "blocks" / made.ulid).rmdir()
        return here

    def swapped(array: Any) -> Any:
        array[[0, 1]] = array[[1, 0]]
        return array

    assert written("posting", lambda a: np.roll(a, 1)) == [
        "postings are not those of the series' labels: some queries find too few or wrong series"]
    assert written("fingerprint", lambda a: np.roll(a, 16)) == [
        "the fingerprint of series 0 is not that of its labels: it is taken for another series"]
    assert written("pair_value", swapped) == ["label pairs are not sorted"]
    assert written("label_pair", lambda a: np.concatenate((a[2:4], a[:2], a[4:]))) == [
        "series 1 does not come after the one before it"]
    assert written("name_pair", lambda a: np.append(a[:-1], a[-1] + 1)) == [
        "the table of label names is not that of the label pairs"]
    assert written("symbol_bytes", lambda a: a[::-1]) != []
