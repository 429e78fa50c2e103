"""What was found damaged is named in /api/v1/notifications."""

from __future__ import annotations

from pathlib import Path

from tests.processes import wait_until
from tests.server.conftest import Begin
from tests.storage.block.plain import PlainSource
from tests.storage.test_damage_reading import FIRST, HOUR, content, flip, flip_section
from tsdb.server.server import open_storage
from tsdb.storage import Storage
from tsdb.storage.block import new_ulid, write_block
from tsdb.storage.block.tombstones_file import write_tombstones
from tsdb.storage.tombstones import Tombstones
from tsdb.wal.files import LocalFileSystem

DAY = 24 * HOUR


def test_each_kind_of_damage_has_a_notice(begin: Begin, tmp_path: Path) -> None:
    data, fs = tmp_path / "data", LocalFileSystem()
    Storage.open(data).close()
    paths = []
    for start in (FIRST + day * DAY for day in range(5)):
        meta = write_block(fs, data / "blocks", PlainSource(content(start), start, start + 2 * HOUR),
                           ulid=new_ulid(start + 3 * HOUR))
        paths.append(data / "blocks" / meta.ulid)
    for path in paths[:2]:
        (path / "index").unlink()
    flip(paths[2] / "meta.json", 30)
    write_tombstones(fs, paths[3], Tombstones.none())
    flip(paths[3] / "tombstones", 9)
    flip_section(paths[4], "posting")

    running = begin()
    running.open(open_storage(data, None))
    blocks, meta_json, deletes = (each["text"] for each in running.client.data("notifications"))
    kept = ", ".join(str(data / "damaged" / f"blocks-{path.name}") for path in paths[:2])
    assert f"block (2: {kept}), set aside in {data}/damaged; samples between 2023-11-15T00:00:00Z" in blocks
    assert "may be missing" in blocks and f"`tsdb check data {data}` says what to do" in blocks
    assert f"meta.json (1: {data}/damaged/{paths[2].name}-meta.json)" in meta_json and "nothing is lost" in meta_json
    assert f"{data}/damaged/{paths[3].name}-tombstones" in deletes and "that were deleted may be there again" in deletes

    assert len(running.client.query("m", (FIRST + 4 * DAY + HOUR) / 1000)) == 20, "a mended block is served in full"
    running.server.services.storage.clean_tombstones()  # the maintenance looks at the blocks after any work
    wait_until(lambda: len(running.client.data("notifications")) == 4, "the index is mended")
    mended = running.client.data("notifications")[-1]["text"]
    assert str(paths[4] / "index") in mended and "nothing is lost" in mended
