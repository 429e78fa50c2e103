"""Every odd body: the error, its message, and what is kept. The server's tests send the same bodies over HTTP."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.ingest.bodies import HEADERS, PUBLIC_SECRET, Body, bodies
from tests.ingest.test_remote_write import NOW, SECRET, rows_of
from tsdb.ingest.remote_write import decode, negotiate
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.errors import IngestError

BODIES = bodies(NOW)


def test_names_are_unique_and_there_are_enough() -> None:
    assert len({body.name for body in BODIES}) == len(BODIES)
    assert sum(body.status != 204 for body in BODIES) >= 40


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
def test_body(body: Body) -> None:
    headers = {name.lower(): value for name, value in body.headers.items()}
    content = headers.get("content-type"), headers.get("content-encoding")
    if body.stage in ("headers", "body"):
        with pytest.raises(IngestError) as caught:
            decode(body.body, SECRET, message=negotiate(*content))
        assert caught.value.status == body.status
        assert re.search(body.message, str(caught.value), re.DOTALL), str(caught.value)
        return
    decoded = decode(body.body, SECRET, message=negotiate(*content))
    message = "; ".join(map(str, decoded.rejected))
    assert bool(decoded.rejected) == (body.stage == "series"), message
    if body.stage == "series":
        assert re.search(body.message, message, re.DOTALL), message
        assert "good" not in message
    if body.stage != "storage":
        assert decoded.batch.samples == body.kept
    assert decoded.samples == decoded.batch.samples + decoded.rejected_samples
    assert all("\x00" not in name for labels, _ in rows_of(decoded.batch) for name in labels)


def test_a_good_body_with_a_bit_flipped_gives_an_error_or_a_batch() -> None:
    good = next(body.body for body in BODIES if body.name == "unknown fields")
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            decoded = decode(bytes(flipped), SECRET)
        except IngestError as problem:
            assert str(problem)
        else:
            assert len(rows_of(decoded.batch)) <= 2


def test_the_secret_spreads_crafted_keys() -> None:
    crafted = next(body.body for body in BODIES if body.name == "keys crafted against the hash")
    assert np.unique(decode(crafted, PUBLIC_SECRET).batch.row_hash).size == 1
    assert np.unique(decode(crafted, new_secret()).batch.row_hash).size > 19_990
    assert HEADERS["Content-Encoding"] == "snappy"
