"""The kernels beside their twin: on generated requests, and on real ones with bytes changed."""

from __future__ import annotations

import random
import struct

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest import twin
from tests.ingest.bodies import bodies
from tests.ingest.sender import compress, label, message, metadata_entry, sample, series, varint
from tests.ingest.test_remote_write import NOW, SECRET, hashes, key_of
from tests.ingest.wire import WireError
from tsdb.ingest.decoded import Decoded
from tsdb.ingest.remote_write import decode
from tsdb.ingest.remote_write_columns import METADATA_TYPES
from tsdb.model.batch import Metadata
from tsdb.model.errors import BadRequest, IngestError
from tsdb.model.native_histograms import BOX, OFFSET_MASK


def compare(raw: bytes) -> bool:
    """Checks that kernels and twin agree on an uncompressed request; whether it is one."""
    body = compress(raw)
    try:
        expected = twin.decode(raw)
    except WireError:
        with pytest.raises(BadRequest):
            decode(body, SECRET)
        return False
    agree(decode(body, SECRET), expected)
    return True


def agree(got: Decoded, expected: twin.Request) -> None:
    batch = got.batch
    rows = [twin.Row(key_of(batch, row), []) for row in range(batch.row_hash.size)]
    starts = [0] * batch.samples if batch.start_ts is None else batch.start_ts.tolist()
    for number, *sample_ in zip(batch.sample_row, batch.ts.tolist(), batch.values.tolist(), starts, strict=True):
        ts, bits, start = sample_
        rows[number].samples.append((ts, bits, start))
    for each in batch.exemplars:
        rows[each.row].exemplars.append((each.labels, struct.pack("<d", each.value), each.ts))
    assert batch.row_hash.tolist() == hashes(batch).tolist()
    assert [each.key for each in rows] == [each.key for each in expected.rows]
    for found, row in zip(rows, expected.rows, strict=True):
        assert sorted(found.exemplars, key=repr) == sorted(row.exemplars, key=repr)
        for (ts, bits, start), (wanted_ts, wanted, wanted_start) in zip(found.samples, row.samples, strict=True):
            assert (ts, start) == (wanted_ts, wanted_start)
            if isinstance(wanted, int):
                assert bits == wanted
            else:
                assert isinstance(bits, int) and bits >= BOX and batch.payload is not None
                at = bits & OFFSET_MASK
                assert batch.payload[at : at + len(wanted)].tobytes() == wanted
    assert [(entry.family, METADATA_TYPES.index(entry.type)) for entry in batch.metadata] == expected.metadata
    assert (got.series, got.rejected_exemplars) == (expected.series, expected.rejected_exemplars)
    told: dict[str, int] = {}
    for entry in got.rejected:
        told[entry.reason] = told.get(entry.reason, 0) + entry.samples
        assert entry.detail in ("", *expected.rejected)
    counts: dict[str, int] = {}
    for text, (_, samples) in expected.rejected.items():
        [reason] = [reason for reason in told if text in reason or text.endswith(reason)]
        counts[reason] = counts.get(reason, 0) + samples
    assert told == counts


texts = st.one_of(
    st.sampled_from([b"", b"a", b"b", b"job", b"__name__", b"__name_", b"__name__x", b"x" * 127, b"x" * 128]),
    st.text(max_size=40).map(str.encode),
    st.binary(max_size=4),
)
unknown = st.sampled_from(
    [b"\x38\x05", b"\x39" + bytes(8), b"\x3a\x02ab", b"\x3d" + bytes(4), b"\xb8\x00\x01", b"\x3b"]
)
odd_varints = st.builds(lambda number, zeros: varint(number | 1 << 6)[:-1] + bytes([0x80] * zeros + [0]),
                        st.integers(0, 200), st.integers(1, 2))


def parts(pieces: st.SearchStrategy[bytes], most: int) -> st.SearchStrategy[bytes]:
    usual = st.lists(pieces, max_size=most)
    return st.one_of(usual, usual, usual, st.lists(pieces | unknown | odd_varints, max_size=most)).map(b"".join)


plain_labels = st.dictionaries(texts, texts.filter(bool), max_size=6).map(
    lambda labels: b"".join(label(*pair) for pair in sorted((labels | {b"__name__": b"up"}).items()))
)
odd_labels = parts(parts(st.builds(message, st.sampled_from([1, 2]), texts), 3).map(lambda raw: message(1, raw)), 5)
numbers = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(NOW - 1000, NOW + 1000) | st.sampled_from([0, 1])
samples = st.builds(sample, numbers, st.integers(0, (1 << 64) - 1) | st.floats())
odd_samples = parts(
    st.builds(lambda ts: b"\x10" + varint(ts), numbers)
    | st.binary(min_size=8, max_size=8).map(lambda raw: b"\x09" + raw), 4,
).map(lambda raw: message(2, raw))
others = st.builds(message, st.sampled_from([3, 4, 9]), st.binary(max_size=6))
time_series = st.one_of(
    st.builds(lambda labels, values: labels + b"".join(values), plain_labels, st.lists(samples, max_size=3)),
    parts(plain_labels | odd_labels | samples | odd_samples | others, 6),
).map(lambda raw: message(1, raw))
entries = st.builds(Metadata, st.text(max_size=9), st.sampled_from(METADATA_TYPES), st.text(max_size=9), st.just(""))
requests = parts(time_series | entries.map(metadata_entry), 8)


@settings(max_examples=150, deadline=None)
@given(requests)
def test_generated_requests(raw: bytes) -> None:
    compare(raw)


@settings(max_examples=100, deadline=None)
@given(requests, st.data())
def test_generated_requests_cut_or_changed(raw: bytes, data: st.DataObject) -> None:
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 3))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    compare(bytes(changed))


def real_request() -> bytes:
    """As Prometheus sends it."""
    raw = b"".join(
        series([("__name__", f"http_requests_{i % 3}_total"), ("code", "200"), ("instance", f"host-{i}:9100"),
                ("job", "node"), ("path", "/äpfel/" + "p" * i)], [(NOW + i, i * 0.5), (NOW + i + 1, 0.0)])
        for i in range(4)
    )
    return raw + metadata_entry(Metadata("http_requests", "counter", "All requests", ""))


def mutate(raw: bytes, random_: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(random_.randint(1, 4)):
        if not out:
            break
        at = random_.randrange(len(out))
        match random_.randrange(5):
            case 0:
                out[at] ^= 1 << random_.randrange(8)
            case 1:
                out[at] = random_.choice([0, 1, 0x0A, 0x12, 0x10, 0x09, 0x7F, 0x80, 0xFF])
            case 2:
                del out[at : at + random_.randint(1, 9)]
            case 3:
                other = random_.randrange(len(out))
                out[at:at] = out[other : other + random_.randint(1, 30)]
            case _:
                out = out[:at] if random_.random() < 0.2 else out
    return bytes(out)


def mutations(rounds: int, seed: int) -> None:
    random_ = random.Random(seed)
    seeds = [real_request()]
    for body in bodies(NOW):
        if body.stage in ("series", "none") and 0 < len(body.body) < 600:
            seeds.append(bytes(cramjam.snappy.decompress_raw(body.body)))
    valid = sum(compare(mutate(random_.choice(seeds), random_)) for _ in range(rounds))
    assert valid > rounds // 100


def test_changed_bytes() -> None:
    mutations(4000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_changed_bytes_for_long(seed: int) -> None:
    mutations(40_000, seed)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_body(raw: bytes) -> None:
    try:
        decoded = decode(raw, SECRET)
    except IngestError:
        return
    assert decoded.batch.samples <= len(raw) * 22
    assert np.all(decoded.batch.row_offset.astype(np.int64) + decoded.batch.row_length <= decoded.batch.keys.size)
