"""Hypothesis makes native histograms that Prometheus takes."""

from typing import Any

from hypothesis import strategies as st

from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, Spans


@st.composite
def histograms(draw: st.DrawFn, floats: bool | None = None) -> NativeHistogram:
    """Of any kind, counts that fit together."""
    if floats is None:
        floats = draw(st.booleans())
    custom = draw(st.integers(0, 5)) == 0
    sums = st.floats(-1e12, 1e12) | st.sampled_from([0.0, -0.0, 1e300])
    counts: Any = st.floats(0, 1e9) if floats else st.integers(0, 1 << 40)
    if custom:
        bounds = sorted(draw(st.sets(st.floats(-1e6, 1e6), min_size=1, max_size=6)))
        spans = _spans(draw, 0, len(bounds) + 1)
        positive = tuple(draw(counts) for _ in range(sum(length for _, length in spans)))
        return NativeHistogram(CUSTOM_SCHEMA, draw(sums), _total(positive), positive_spans=spans, positive=positive,
                               custom_values=tuple(bounds), floats=floats, hint=draw(st.sampled_from(ResetHint)))
    sides = [_spans(draw, draw(st.integers(-50, 50)), 12) for _ in range(2)]
    buckets = [tuple(draw(counts) for _ in range(sum(length for _, length in spans))) for spans in sides]
    zero = draw(counts)
    return NativeHistogram(draw(st.integers(-4, 8)), draw(sums), _total((zero, *buckets[0], *buckets[1])),
                           draw(st.sampled_from([0.0, 2.938735877055719e-39, 0.001])), zero, sides[0], sides[1],
                           buckets[0], buckets[1], floats=floats, hint=draw(st.sampled_from(ResetHint)))


def _spans(draw: st.DrawFn, first: int, room: int) -> Spans:
    spans: list[tuple[int, int]] = []
    offset = first
    while room > 0 and draw(st.integers(0, 2)):
        length = draw(st.integers(1, max(1, room // 2)))
        spans.append((offset, length))
        room -= length
        if room > 1:
            offset = draw(st.integers(1, room - 1))
            room -= offset
        else:
            break
    return tuple(spans)


def _total(counts: tuple[float, ...]) -> float:
    return sum(counts) if counts else 0
