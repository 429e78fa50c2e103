"""A fleet of scraped hosts as remote_write requests, made on the fly: for the benchmarks of single parts.

(`bench.peers.dataset` is the realistic one, on disk. This one is about sizes and orders.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cramjam import snappy
from numpy.typing import NDArray

from bench.peers.dataset import Template, _field, _varint
from tsdb.ingest import remote_write
from tsdb.ingest.protobuf import fields
from tsdb.model.batch import Batch

STEP_MS = 15_000
PER_REQUEST = 5_000
MODES = ("idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user")
PER_HOST = 100
"""Series of a host: node_cpu_seconds_total on eight CPUs in eight modes, and 36 of http_requests_total."""


def labels(series: int) -> list[tuple[str, str]]:
    """Sorted labels of the series of that number; neighbours belong to one host."""
    host, kind = divmod(series, PER_HOST)
    own = {"instance": f"host-{host:05d}.example.net:9100", "zone": f"eu-west-1{'abc'[host % 3]}"}
    if kind < 64:
        named = {"__name__": "node_cpu_seconds_total", "job": "node", "cpu": str(kind // 8), "mode": MODES[kind % 8]}
    else:
        code = ("200", "404", "500")[kind % 3]
        path = f"/api/v1/{kind // 3}"
        named = {"__name__": "http_requests_total", "job": "api", "code": code, "method": "GET", "path": path}
    return sorted({**own, **named}.items())


class Fleet:
    """`series` counters, scraped every `step_ms`. Order "random" shuffles a scrape, always alike."""

    def __init__(self, series: int, order: str, start_ms: int, templates: list[Template] | None = None,
                 step_ms: int = STEP_MS, seed: int = 1) -> None:
        self.series, self.start_ms, self.step_ms = series, start_ms, step_ms
        self._random = np.random.default_rng(seed)
        self._order = np.arange(series) if order == "scrape" else self._random.permutation(series)
        self._speed = self._random.integers(0, 40, series)
        self._total = self._random.integers(0, 1 << 30, series)
        self._phase = (self._order // PER_HOST * 7919) % STEP_MS
        self.steps = 0
        self.templates = templates or self._make_templates()

    def _make_templates(self) -> list[Template]:
        rows = self._order.tolist()
        groups = [rows[i : i + PER_REQUEST] for i in range(0, self.series, PER_REQUEST)]
        return [Template([("", labels(row)) for row in group]) for group in groups]

    def bodies(self) -> list[bytes]:
        """The remote_write requests of the next scrape of everything."""
        self._total += self._random.poisson(self._speed)
        ts = self.start_ms + self.steps * self.step_ms + self._phase
        self.steps += 1
        values = self._total[self._order].astype(np.float64)
        cuts = [slice(i, i + PER_REQUEST) for i in range(0, self.series, PER_REQUEST)]
        filled = (template.fill(values[cut], ts[cut]) for template, cut in zip(self.templates, cuts, strict=True))
        return [bytes(snappy.compress_raw(body.tobytes())) for body in filled]

    def batches(self, secret: NDArray[np.uint64]) -> list[Batch]:
        """The next scrape, decoded."""
        return decode(self.bodies(), secret)


def decode(bodies: Sequence[bytes], secret: NDArray[np.uint64], message: str = remote_write.MESSAGE_1) -> list[Batch]:
    return [remote_write.decode(body, secret, message=message).batch for body in bodies]


def as_version_2(body: bytes) -> bytes:
    """The request of remote_write 2.0 for one of 1.0, with metadata, as Prometheus sends it."""
    symbols: dict[bytes, int] = {b"": 0}
    series = bytearray()
    for _, _, content in fields(bytes(snappy.decompress_raw(body))):
        refs, samples = b"", b""
        assert isinstance(content, bytes)
        for number, _, part in fields(content):
            assert isinstance(part, bytes)
            if number == 1:
                texts = [text for _, _, text in fields(part) if isinstance(text, bytes)]
                refs += b"".join(_varint(symbols.setdefault(text, len(symbols))) for text in texts)
            else:
                samples += _field(0x12, part)
        help_ref = symbols.setdefault(b"What this metric is about.", len(symbols))
        described = _field(0x2A, b"\x08\x01\x18" + _varint(help_ref))
        series += _field(0x2A, _field(0x0A, refs) + samples + described)
    return bytes(snappy.compress_raw(b"".join(_field(0x22, text) for text in symbols) + series))
