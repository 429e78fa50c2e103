"""Prometheus' protobuf exposition."""

from __future__ import annotations

from tsdb.model.errors import ScrapeRefused


def transcoded(body: bytes) -> bytes:
    """The records of a body. Raises ScrapeRefused where it is malformed."""
    raise ScrapeRefused("protobuf exposition is not supported yet")
