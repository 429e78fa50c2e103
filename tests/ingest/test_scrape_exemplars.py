"""Exemplars of scrapes: in the batch once, however often a target exposes them."""

from __future__ import annotations

import pytest

from tests.ingest.head import Head, target
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import TargetSeries
from tsdb.model.batch import Batch
from tsdb.model.errors import ForgottenSeries
from tsdb.model.labels import labels_of_key

Seen = list[tuple[str, dict[str, str], float, int]]
"""(le of the series, labels, value, ms)"""

BODY = """# TYPE size histogram
size_bucket{le="1.0"} 3 # {trace_id="a"} 0.5 12.5
size_bucket{le="2.0"} 4 # {trace_id="b",span="1"} 1.5
size_bucket{le="+Inf"} 4
size_count 4
# EOF
"""


def written(head: Head, series: TargetSeries, body: str, ts: int) -> Seen:
    scrape = series.parse(body.encode(), Format.OPENMETRICS, ts)
    batch = series.batch(scrape, ts, [])
    _, appended = head.append(batch)
    seen = named(head, batch)
    series.appended(appended)
    return seen


def named(head: Head, batch: Batch) -> Seen:
    assert batch.known is not None
    known = batch.known.slot.size
    found = []
    for each in batch.exemplars:
        if each.row < known:
            key = head.series[int(batch.known.slot[each.row])].key
        else:
            at = int(batch.row_offset[each.row - known])
            key = batch.keys[at : at + int(batch.row_length[each.row - known])].tobytes()
        found.append((labels_of_key(key)["le"], dict(each.labels), each.value, each.ts))
    return found


def test_each_once() -> None:
    head, series = Head(), target()
    b = ("2.0", {"trace_id": "b", "span": "1"}, 1.5, 9)
    assert written(head, series, BODY, 9) == [b, ("1.0", {"trace_id": "a"}, 0.5, 12500)]
    assert written(head, series, BODY, 10) == []
    assert written(head, series, BODY.replace('"a"', '"c"'), 11) == [("1.0", {"trace_id": "c"}, 0.5, 12500)]
    assert written(head, series, BODY.replace('"a"', '"c"').replace("12.5", "13"), 12) == [
        ("1.0", {"trace_id": "c"}, 0.5, 13000)]
    series.appended(head.append(series.batch(None, 13, []))[1])
    assert written(head, series, BODY.replace('"a"', '"c"').replace("12.5", "13"), 14) == []
    assert written(head, series, BODY.replace("1.5", "1.25"), 15)[0] == ("2.0", b[1], 1.25, 15)


def test_again_if_the_batch_was_not_written() -> None:
    head, series = Head(), target()
    assert len(written(head, series, BODY, 1)) == 2
    series.parse(BODY.replace('"a"', '"c"').encode(), Format.OPENMETRICS, 2)
    assert len(written(head, series, BODY.replace('"a"', '"c"'), 3)) == 1
    head.lose("size_bucket")
    body = BODY.replace('"a"', '"d"')
    batch = series.batch(series.parse(body.encode(), Format.OPENMETRICS, 4), 4, [])
    assert len(batch.exemplars) == 1
    with pytest.raises(ForgottenSeries):
        head.append(batch)
    series.forget()
    assert written(head, series, body, 4) == [("1.0", {"trace_id": "d"}, 0.5, 12500)]


@pytest.mark.parametrize(("text", "labels"), [
    ("{}", {}),
    ('{a="b"}', {"a": "b"}),
    ('{a="b",c="d",}', {"a": "b", "c": "d"}),
    (r'{a="x\"y\\z\n,w=\"\""}', {"a": 'x"y\\z\n,w=""'}),
    ('{"a.b c"="d",e="=}{"}', {"a.b c": "d", "e": "=}{"}),
    (r'{"a\"b"="d",e="ü# {"}', {'a"b': "d", "e": "ü# {"}),
    (r'{a="\x"}', {"a": r"\x"}),
])
def test_labels(text: str, labels: dict[str, str]) -> None:
    body = f'm_bucket{{le="1.0"}} 1 # {text} 2 3\n# EOF\n'
    assert written(Head(), target(), body, 9) == [("1.0", labels, 2.0, 3000)]


def test_dropped_and_repeated_samples_have_none() -> None:
    def relabel(labels: dict[str, str]) -> dict[str, str] | None:
        return None if labels["le"] == "1.0" else labels | {"new": "1"}

    body = BODY.replace("size_count 4\n", "").replace("# EOF", 'size_bucket{le="2.0"} 4 # {trace_id="x"} 1\n# EOF')
    assert written(Head(), target(relabel=relabel), body, 9) == [("2.0", {"trace_id": "b", "span": "1"}, 1.5, 9)]
