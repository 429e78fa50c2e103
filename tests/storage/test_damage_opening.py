"""Every kind of file, damaged in every way: a start serves what is left, nothing wrong, and names what is lost."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.storage.batches import bits, make_batch, read
from tsdb.model.errors import Corruption
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage, StorageOptions

HOUR = 3_600_000
START = 1_700_006_400_000
SERIES = [{"__name__": "m", "n": f"{n:02d}", "text": "some more bytes" * 3} for n in range(12)]
Found = dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]
KINDS = {
    "FORMAT": "nothing", "LOCK": "nothing", "segment": "some", "newest segment": "some", "checkpoint": "some",
    "window": "nothing", "saved head": "nothing", "meta.json": "nothing", "index": "some", "chunks": "some",
    "tombstones": "what was deleted",
}
"""What a start may lose, or have again, where the file is damaged."""
IN_BLOCKS = {"meta.json", "index", "chunks", "tombstones"}
DELETED = tuple(SERIES[3].items())
EVERY = 5
"""Of the damages, how many are left to a longer run."""
OPTIONS = StorageOptions(late_window_ms=HOUR)


def add(storage: Storage, minutes: range, late: int = 0) -> None:
    for minute in minutes:
        samples = [(n, START + (minute - late) * 60_000 + n + late, bits(minute * n)) for n in range(len(SERIES))]
        storage.submit(make_batch(storage.secret, SERIES, samples)).result(30)


@pytest.fixture(scope="module", params=["crashed", "stopped"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """A directory with everything in it: a block with tombstones, a checkpoint, segments, windows, late samples and,
    after a clean stop, the saved head. And what it holds."""
    folder = tmp_path_factory.mktemp("written")
    storage = Storage.open(folder / "data", OPTIONS)
    add(storage, range(200))
    storage.compact()
    storage.delete_series([[Matcher(MatchType.EQUAL, "n", "03")]], START, START + HOUR)
    add(storage, range(200, 500, 2))
    add(storage, range(480, 500, 5), late=30)
    found = read(storage)
    storage.close()
    (folder / "data" / "reserve").unlink(missing_ok=True)
    if request.param == "crashed":
        shutil.rmtree(folder / "data" / "head")
    return folder / "data", found


def kinds(data: Path) -> dict[str, Path]:
    """A file of each kind."""
    segments = sorted((data / "wal").glob("0*"))
    block = next(data.glob("blocks/*/tombstones")).parent
    found = {
        "FORMAT": data / "FORMAT", "LOCK": data / "LOCK", "segment": segments[0], "newest segment": segments[-1],
        "checkpoint": next((data / "wal").glob("checkpoint*")), "window": next((data / "chunks").iterdir()),
        "saved head": data / "head" / "saved", **{name: block / name for name in sorted(IN_BLOCKS)},
    }
    return {kind: path for kind, path in found.items() if path.exists()}


def damages(size: int, chance: random.Random) -> Iterator[tuple[str, Callable[[Path], object]]]:
    def flipped(at: int) -> Callable[[Path], object]:
        def change(path: Path) -> None:
            content = bytearray(path.read_bytes())
            content[at] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
        return change

    def cut(to: int) -> Callable[[Path], object]:
        return lambda path: path.write_bytes(path.read_bytes()[:to])

    places = {0, 5, 8, 10, 14, 20, 30, 300, 700, size // 3, size // 2, size - 30, size - 5}
    for at in sorted(place for place in places if 0 <= place < size):
        yield f"bit at {at}", flipped(at)
    for to in sorted({0, 7, 40, size // 2, size - 3} & set(range(size))):
        yield f"cut to {to}", cut(to)
    yield "gone", Path.unlink
    yield "garbage", lambda path: path.write_bytes(chance.randbytes(max(size, 100)))
    yield "zeros", lambda path: path.write_bytes(bytes(size))


def opened(data: Path) -> tuple[Storage, Found]:
    storage = Storage.open(data, OPTIONS)
    try:
        return storage, read(storage)
    except Corruption as found:  # found by a query, which says what; the maintenance sees to it, or the next start
        problem = str(found)
        assert str(data) in problem or "a sealed chunk of" in problem
        storage._maintenance.do(lambda: None).result(30)  # type: ignore[union-attr]
    if "sealed" in problem:
        storage.close()
        storage = Storage.open(data, OPTIONS)
    return storage, read(storage)


@pytest.mark.parametrize(("kind", "rest"), [
    *((kind, rest) for kind in KINDS for rest in [0]),
    *(pytest.param(kind, rest, marks=pytest.mark.slow) for kind in KINDS for rest in range(1, EVERY)),
])
def test_a_start_serves_what_is_left(kind: str, rest: int, written: tuple[Path, Found], tmp_path: Path) -> None:
    original, whole = written
    file = kinds(original).get(kind)
    if file is None:
        assert kind == "saved head", "which only a clean stop leaves"
        return
    for number, (what, damage) in enumerate(damages(file.stat().st_size, random.Random(kind))):
        if number % EVERY != rest:
            continue
        data = tmp_path / str(number)
        shutil.copytree(original, data)
        damage(data / file.relative_to(original))
        storage, found = opened(data)
        statistics = storage.statistics()
        storage.close()
        again, then = opened(data)
        again.close()
        shutil.rmtree(data)
        assert then == found, f"{what}: the next start serves something else"
        if kind == "tombstones":
            found.pop(DELETED, None)
            assert found == {labels: samples for labels, samples in whole.items() if labels != DELETED}
            continue
        assert all(set(samples) <= set(whole[labels]) for labels, samples in found.items()), f"{what}: wrong samples"
        if KINDS[kind] == "nothing":
            assert found == whole, what
        if found != whole:
            # the newest segment cut to nothing looks as if it had only just been made
            named = statistics.damaged + statistics.wal.damaged + statistics.wal.torn_bytes
            assert named or kind == "newest segment", f"{what}: lost without a word"
