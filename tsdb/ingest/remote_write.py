"""Prometheus remote_write: a request's headers and body to a batch."""

from __future__ import annotations

from collections.abc import Collection

import cramjam
import numpy as np
from cramjam import snappy
from numpy.typing import NDArray

from tsdb.ingest.decoded import Decoded, IngestLimits
from tsdb.ingest.protobuf import MalformedMessage, read_varint
from tsdb.ingest.remote_write_v1 import decode_write_request
from tsdb.ingest.remote_write_v2 import decode_request_message
from tsdb.model.errors import BadRequest, TooLarge, UnsupportedMedia

CONTENT_TYPE = "application/x-protobuf"
MESSAGE_1, MESSAGE_2 = MESSAGES = "prometheus.WriteRequest", "io.prometheus.write.v2.Request"
"""What Prometheus' remote_write calls `protobuf_message`."""

_SNAPPY_RATIO = 22
"""Bytes that a byte of snappy can stand for at most: a copy of 64 takes three."""


def negotiate(content_type: str | None, content_encoding: str | None, accepted: Collection[str] = MESSAGES) -> str:
    """The message of a request with these headers: as upstream, 1.0's where they do not say.

    Raises UnsupportedMedia unless the body is such a message, one of the `accepted`, compressed with snappy.
    """
    taken = ", ".join(f"{CONTENT_TYPE};proto={message}" for message in accepted)
    media, *parameters = [part.strip() for part in (content_type or CONTENT_TYPE).split(";")]
    if media.lower() != CONTENT_TYPE:
        raise UnsupportedMedia(f"Content-Type {content_type!r} is not taken here: send {taken}")
    message = MESSAGE_1
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not equals:
            raise UnsupportedMedia(f"Content-Type {content_type!r} has a parameter that is no key=value: send {taken}")
        if name.strip().lower() == "proto":
            message = value.strip().strip('"')
            break
    if message not in accepted:
        raise UnsupportedMedia(f"{message} protobuf message is not accepted by this server: send {taken} (in "
                               "Prometheus' remote_write: protobuf_message)")
    if (content_encoding or "snappy").strip().lower() != "snappy":
        raise UnsupportedMedia(f"Content-Encoding {content_encoding!r} is not taken here: send snappy (block format)")
    return message


def decode(body: bytes, secret: NDArray[np.uint64], limits: IngestLimits | None = None, message: str = MESSAGE_1,
           ) -> Decoded:
    """Decodes a snappy-compressed message, one of MESSAGES. `secret` u64[2] is the storage's; ts are ms.

    Raises TooLarge over a limit, BadRequest where the body is not such a message. What alone is invalid is told in
    `Decoded`; the rest is in the batch.
    """
    limits = limits or IngestLimits()
    data, size = decompress(body, limits.max_body_bytes)
    return decode_message(data, size, secret, limits, message)


def decode_message(data: NDArray[np.uint8], size: int, secret: NDArray[np.uint64], limits: IngestLimits, message: str,
                   ) -> Decoded:
    """Decodes a message, data[:size] of u8[size + 16]; raises as `decode`."""
    return (decode_request_message if message == MESSAGE_2 else decode_write_request)(data, size, secret, limits)


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


def decompress(body: bytes, max_bytes: int) -> tuple[NDArray[np.uint8], int]:
    """(u8[size + 16], size): the kernels read words. The declared length is judged before a byte is allocated. Raises
    TooLarge, BadRequest."""
    declared = declared_size(body, max_bytes)
    data = np.empty(declared + 16, np.uint8)
    try:
        snappy.decompress_raw_into(body, data.data)
    except cramjam.DecompressionError as problem:
        raise BadRequest(f"body is not snappy: {problem}") from problem
    return data, declared
