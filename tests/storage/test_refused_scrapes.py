"""Series of scrapes that limits refuse: relabeled once, refused again without a lookup, taken when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import SeriesLimits as ScrapeLimits
from tsdb.ingest.exposition.scrape_series import TargetSeries
from tsdb.model.batch import OVER_METRIC, REASONS, Appended, Batch
from tsdb.model.errors import BadRequest
from tsdb.model.labels import labels_of_key
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.head.limits import SeriesLimits

NOW = 1_700_000_000_000
TWO = StorageOptions(series_limits=SeriesLimits(max_series_per_metric=2))


class Target:
    """A target of which only metric `m` is limited; `asked` says what was relabeled in the last scrape."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._series = TargetSeries(storage.secret, {"job": "j"}, reports=("up",), honor_labels=False,
                                    limits=ScrapeLimits(), relabel=self._relabel)
        self.asked: list[str] = []
        self.batch: Batch
        self.at = NOW

    def _relabel(self, labels: dict[str, str]) -> dict[str, str] | None:
        self.asked.append(labels["__name__"] + labels.get("n", ""))
        if labels.get("n") == "bad":
            labels["__name__"] = ""
        return labels if labels.get("n") != "drop" else None

    def scrape(self, *numbers: object) -> tuple[int, Appended]:
        """(samples of m refused, the verdict)"""
        self.asked.clear()
        self.at += 1000
        body = "".join(f'm{{n="{n}"}} 1\n' for n in numbers) + f"other{len(numbers)} 1\n"
        scrape = self._series.parse(body.encode(), Format.TEXT, self.at)
        self.batch = self._series.batch(scrape, self.at, [1.0])
        appended = self._storage.submit(self.batch).result()
        return self._series.appended(appended)[OVER_METRIC], appended

    def offered(self) -> list[str]:
        """n of series of m with a key."""
        raw = self.batch.keys.tobytes()
        found = [labels_of_key(raw[begin : begin + length]) for begin, length in
                 zip(self.batch.row_offset.tolist(), self.batch.row_length.tolist(), strict=True)]
        return [labels["n"] for labels in found if labels["__name__"] == "m"]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with closing(Storage.open(tmp_path / "data", TWO)) as opened:
        yield opened


def test_refused_series_are_relabeled_once(storage: Storage) -> None:
    target = Target(storage)
    assert target.scrape(1, 2, 3, "drop", 4)[0] == 2
    assert target.asked == ["m1", "m2", "m3", "mdrop", "m4", "other5"]
    for _ in range(3):
        refused, appended = target.scrape(1, 2, 3, "drop", 4)
        assert (refused, target.asked, target.offered()) == (2, [], ["3", "4"])
        assert target.batch.refused is not None and appended.accepted == 4
        assert "m" in appended.refusals[OVER_METRIC]
    assert storage.statistics().rejected[REASONS[OVER_METRIC]] == 8


def test_others_come_and_go_beside_them(storage: Storage) -> None:
    target = Target(storage)
    target.scrape(1, 2, 3, 4, 5)
    for numbers, asked in (((9, 4, 1, 8, 3, 2), ["m9", "m8", "other6"]), ((3, 4, 1, 2, 9), []), ((4, 3), ["other2"]),
                           ((3, 4), []), ((4, 5), ["m5"]), ((4, 5), [])):
        refused, _ = target.scrape(*numbers)
        here = [name for name in target.asked if name[1:] in map(str, numbers) or name.startswith("other")]
        assert (refused, here) == (sum(n > 2 for n in numbers), asked), numbers
        assert target.offered()[: refused] == [str(n) for n in numbers if n > 2]


def test_they_get_in_when_there_is_room(storage: Storage) -> None:
    target, other = Target(storage), Target(storage)
    target.scrape(1, 2, 3, 4)
    target.scrape(1, 2, 3, 4)
    storage.set_series_limits(SeriesLimits(max_series_per_metric=3))
    assert target.scrape(1, 2, 3, 4)[0] == 1
    storage.set_series_limits(SeriesLimits())
    assert other.scrape(4)[0] == 0
    assert target.scrape(1, 2, 3, 4)[0] == 0 and target.asked == []
    assert target.scrape(1, 2, 3, 4)[1].accepted == 6 and target.batch.row_hash.size == 0
    assert storage.statistics().series == 7


def test_series_that_leave_the_head_make_room(storage: Storage) -> None:
    target = Target(storage)
    target.scrape(1, 2, 3)
    target.scrape(2, 3)
    for _ in range(3):
        target.at += 4 * 3_600_000
        assert target.scrape(2, 3)[0] == 1
    storage.compact()
    assert storage.statistics().series_removed > 0
    assert target.scrape(2, 3)[0] == 0


def test_a_wrong_series_among_them_is_named(storage: Storage) -> None:
    target = Target(storage)
    target.scrape(1, 2, 3, 4)
    with pytest.raises(BadRequest, match=r"line 3: missing metric name"):
        target.scrape(3, 5, "bad", 4)
    assert target.scrape(1, 2, 3, 4)[0] == 2
    assert np.all(np.array(target.offered()) == np.array(["3", "4"]))
