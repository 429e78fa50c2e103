"""Captures of remote_write: single bodies, folders of them, and many in one file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cramjam
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client import remote_write_body
from tests.exports.stored import HISTOGRAMS, Stored, labels_of
from tests.imports.collected import collected, read_file
from tests.ingest.messages import V2, histogram_message
from tests.ingest.messages import Request as Body
from tests.storage.batches import bits
from tsdb.cli import cli
from tsdb.imports.reader import LeftOut
from tsdb.imports.remote_write import COMPRESSIONS, Request, inputs, read, write_capture
from tsdb.ingest.remote_write import MESSAGE_1, MESSAGE_2
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.errors import WrongInput
from tsdb.storage import Storage

NOW = 1_700_000_000_000
SERIES = [({"__name__": "m", "n": str(n)}, [(NOW + i * 15_000, n + i / 7) for i in range(20)]) for n in range(40)]
EXPECTED: Stored = {labels_of(labels): {ts: (bits(value), 0) for ts, value in own} for labels, own in SERIES}


def second() -> tuple[bytes, Stored]:
    """A message of 2.0 with a start time and a histogram."""
    request = Body()
    series = request.add({"__name__": "c_total"}, (NOW, 3.0), (NOW + 1, 4.0))
    series.samples[0].start_timestamp = NOW - 5000
    series.exemplars.add(labels_refs=request.refs(("trace_id", "abc")), value=0.5, timestamp=NOW)
    request.add({"__name__": "h"}).histograms.append(histogram_message(HISTOGRAMS[0], NOW, V2))
    return request.raw, {
        (("__name__", "c_total"),): {NOW: (bits(3.0), NOW - 5000), NOW + 1: (bits(4.0), 0)},
        (("__name__", "h"),): {NOW: (HISTOGRAMS[0].encode(), 0)}}


def compressed(raw: bytes, how: str) -> bytes:
    return {"none": raw, "snappy": bytes(cramjam.snappy.compress_raw(raw)),
            "zstd": zstandard.ZstdCompressor().compress(raw)}[how]


def first_raw() -> bytes:
    return bytes(cramjam.snappy.decompress_raw(remote_write_body(SERIES)))


@pytest.mark.parametrize("how", COMPRESSIONS)
def test_one_body(tmp_path: Path, how: str) -> None:
    path, (raw, wanted) = tmp_path / "body", second()
    left_out = LeftOut()
    for message, content, expected in ((MESSAGE_1, first_raw(), EXPECTED), (MESSAGE_2, raw, wanted)):
        path.write_bytes(compressed(content, how))
        assert read_file(read, path, left_out, message=message, compression=how) == expected
        if how != "none":
            assert read_file(read, path) == expected
    assert left_out.counts == {"exemplars: blocks have none": 1}


def test_a_folder(tmp_path: Path) -> None:
    for number, entry in enumerate(SERIES):
        (tmp_path / f"{number:010d}").write_bytes(remote_write_body([entry]))
    (tmp_path / "0000000099").write_bytes(b"")
    raw, wanted = second()
    (tmp_path / "0000000098").write_bytes(compressed(raw, "snappy"))
    (tmp_path / "folder").mkdir()
    given, told = inputs(tmp_path), [(0, 0)]
    secret = new_secret()
    found = collected(given.read(secret, left_out=LeftOut(), progress=lambda *done: told.append(done)))
    assert found == {**EXPECTED, **wanted}
    assert told == sorted(told) and told[-1] == (given.size, given.size)
    before = given.digest(lambda *_: None)
    assert inputs(tmp_path).digest(lambda *_: None) == before
    (tmp_path / "0000000007").write_bytes(b"")
    assert inputs(tmp_path).digest(lambda *_: None) != before
    (tmp_path / "0000000098").write_bytes(b"\x05\x01\x02")
    with pytest.raises(WrongInput, match=r"/0000000098: body is not"):
        collected(inputs(tmp_path).read(secret, left_out=LeftOut(), progress=lambda *_: None))


@given(st.lists(st.tuples(st.integers(0, len(SERIES)), st.sampled_from(COMPRESSIONS)), max_size=6), st.data())
@settings(max_examples=25)
def test_many_in_one_file(tmp_path_factory: pytest.TempPathFactory, chosen: list[tuple[int, str]], data: st.DataObject,
                          ) -> None:
    raw, more = second()
    requests, wanted = [], Stored()
    for number, how in chosen:
        if number == len(SERIES):
            requests.append(Request(compressed(raw, how), MESSAGE_2, how))
            wanted |= more
        else:
            one = bytes(cramjam.snappy.decompress_raw(remote_write_body([SERIES[number]])))
            requests.append(Request(compressed(one, how), MESSAGE_1, how))
            wanted |= {labels_of(SERIES[number][0]): EXPECTED[labels_of(SERIES[number][0])]}
    file = io.BytesIO()
    write_capture(file, requests)
    whole = file.getvalue()
    path = tmp_path_factory.mktemp("capture") / "file"
    path.write_bytes(whole)
    assert read_file(read, path) == wanted or not chosen
    at = data.draw(st.integers(8, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :])
    ends = {16}
    for each in requests:
        ends.add(max(ends) + 12 + len(each.body))
    try:
        found = read_file(read, path)
    except WrongInput as problem:
        assert str(problem).startswith(f"{path}: ")
    else:  # cut between two requests, or a bit that says nothing
        assert found == wanted if path.stat().st_size == len(whole) else path.stat().st_size in ends


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = io.BytesIO()
    good = Request(remote_write_body(SERIES[:1]), MESSAGE_1, "snappy")
    write_capture(file, [good, Request(b"\x03\x08xyz", MESSAGE_1, "snappy")])
    sound = io.BytesIO()
    write_capture(sound, [good])
    second_at = 16 + 12 + len(good.body)
    for content, problem in (
        (b"no snappy at all", r"file: body is not snappy"),
        (remote_write_body(SERIES)[:-5], r"file: body is not snappy"),
        (b"\x28\xb5\x2f\xfdno zstd", r"file: the body is not Zstandard"),
        (b"TSDBRWCP" + struct.pack("<II", 2, 0), "use a newer tsdb"),
        (b"TSDBRWCP\x01", "cut short, within its header"),
        (file.getvalue(), rf"file: at byte {second_at}: .*not a WriteRequest"),
        (file.getvalue()[:-1], rf"file: is cut short at byte {second_at}: the request has 5 bytes, and 4 are there"),
        (file.getvalue()[:-1] + b"!", rf"file: the request at byte {second_at} is damaged"),
        (sound.getvalue() + b"x", r"within the header of a request"),
        (file.getvalue().replace(b"\x01\x01\0\0", b"\x07\x01\0\0"), "damaged at byte 16"),
    ):
        path.write_bytes(content)
        with pytest.raises(WrongInput, match=problem):
            read_file(read, path)
    with pytest.raises(WrongInput, match="No such file"):
        inputs(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongInput, match="no file in it"):
        inputs(tmp_path / "empty")


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "bodies").mkdir()
    for number, entry in enumerate(SERIES):
        (tmp_path / "bodies" / f"{number:04d}").write_bytes(remote_write_body([entry]))
    raw, _ = second()
    arguments = ["import", "remote-write", str(tmp_path / "bodies"), "-", "--data", str(tmp_path / "data")]
    done = CliRunner().invoke(cli, arguments, input=compressed(raw, "snappy"))
    assert done.exit_code == 0 and "803 samples of 42 series" in done.output, done.output
    assert "left out: 1 exemplars: blocks have none" in done.output
    again = CliRunner().invoke(cli, arguments, input=compressed(raw, "snappy"))
    assert again.exit_code == 0 and "nothing to do" in again.output, again.output
    storage = Storage.open(tmp_path / "data", read_only=True)
    assert sum(meta.stats.samples for meta in storage.block_metas()) == 803
    storage.close()
