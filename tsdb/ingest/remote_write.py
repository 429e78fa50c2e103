"""Prometheus remote_write: a request's headers and body to a batch."""

from __future__ import annotations

import cramjam
import numpy as np
from cramjam import snappy
from numpy.typing import NDArray

from tsdb.ingest.decoded import Decoded, IngestLimits
from tsdb.ingest.protobuf import MalformedMessage, read_varint
from tsdb.ingest.remote_write_v1 import decode_write_request
from tsdb.model.errors import BadRequest, TooLarge, UnsupportedMedia

CONTENT_TYPE = "application/x-protobuf"
MESSAGE = "prometheus.WriteRequest"

_SNAPPY_RATIO = 22
"""Bytes that a byte of snappy can stand for at most: a copy of 64 takes three."""


def check_headers(content_type: str | None, content_encoding: str | None) -> None:
    """Raises UnsupportedMedia unless the body is a snappy-compressed 1.0 message. Missing headers pass, as upstream."""
    media, *parameters = [part.strip() for part in (content_type or CONTENT_TYPE).split(";")]
    if media.lower() != CONTENT_TYPE:
        raise UnsupportedMedia(f"Content-Type {content_type!r} is not taken here: send {CONTENT_TYPE}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "proto" and value.strip().strip('"') != MESSAGE:
            raise UnsupportedMedia(
                f"remote_write message {value.strip()!r} is not taken here: send {MESSAGE} "
                "(in Prometheus' remote_write: protobuf_message: prometheus.WriteRequest)"
            )
    if (content_encoding or "snappy").strip().lower() != "snappy":
        raise UnsupportedMedia(f"Content-Encoding {content_encoding!r} is not taken here: send snappy (block format)")


def decode(body: bytes, secret: NDArray[np.uint64], limits: IngestLimits | None = None) -> Decoded:
    """Decodes a snappy-compressed WriteRequest. `secret` u64[2] is the storage's; ts are ms.

    Raises TooLarge over a limit, BadRequest where the body is not such a message. Series and histograms that alone are
    invalid are told in `Decoded.rejected`; the rest is in the batch.
    """
    limits = limits or IngestLimits()
    data, size = _decompress(body, limits.max_body_bytes)
    return decode_write_request(data, size, secret, limits)


def declared_size(body: bytes, max_bytes: int) -> int:
    """Bytes that a body decompresses to, by its beginning. Raises TooLarge above `max_bytes`, and BadRequest."""
    if body.startswith(b"\xff\x06\x00\x00sNaPpY"):
        raise BadRequest("body is in snappy's framed format: remote_write needs the block format")
    try:
        declared, start = read_varint(body, 0)
    except MalformedMessage as problem:
        raise BadRequest(f"body is not snappy: no valid length at its start ({len(body)} bytes)") from problem
    if start > 5 or declared > 0xFFFF_FFFF:
        raise BadRequest("body is not snappy: the length at its start has more than 32 bits")
    if declared > max_bytes:
        raise TooLarge(f"body declares {declared} bytes decompressed, the limit is {max_bytes}: send smaller requests")
    if declared > _SNAPPY_RATIO * len(body):
        raise BadRequest(f"body is not snappy: {len(body)} bytes cannot hold the {declared} it declares")
    return declared


def _decompress(body: bytes, max_bytes: int) -> tuple[NDArray[np.uint8], int]:
    """(u8[size + 8], size): the kernel reads words. The declared length is judged before a byte is allocated."""
    declared = declared_size(body, max_bytes)
    data = np.empty(declared + 8, np.uint8)
    try:
        snappy.decompress_raw_into(body, data.data)
    except cramjam.DecompressionError as problem:
        raise BadRequest(f"body is not snappy: {problem}") from problem
    return data, declared
