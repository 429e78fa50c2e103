"""Histograms in a payload."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.native_histograms import histograms
from tsdb.model.native_histograms import BOX, NORMAL_NAN, NativeHistogram, boxed, decode, is_boxed, offsets


@given(st.lists(histograms(), min_size=1, max_size=4))
def test_a_payload_gives_back_its_histograms(given_ones: list[NativeHistogram]) -> None:
    payload = b""
    places = []
    for each in given_ones:
        places.append(boxed(len(payload)))
        payload += each.encode()
    values = np.array(places, np.uint64)
    assert is_boxed(values).all()
    found = [decode(np.frombuffer(payload, np.uint8), int(offset)) for offset in offsets(values)]
    assert [each.encode() for each in found] == [each.encode() for each in given_ones]
    for one, other in zip(found, given_ones, strict=True):
        assert (one.positive, one.negative, one.positive_spans, one.hint) == (
            other.positive, other.negative, other.positive_spans, other.hint)


def test_no_usual_nan_is_a_box() -> None:
    usual = [struct.unpack("<Q", struct.pack("<d", each))[0] for each in (float("nan"), -float("nan"), -float("inf"))]
    assert not is_boxed(np.array([*usual, NORMAL_NAN, 0x7FF0000000000002, 0xFFF8000000000000], np.uint64)).any()
    assert is_boxed(np.array([BOX], np.uint64)).all()
