"""/api/v1/upload/block: blocks that are uploaded, by Mimir's API. The blocks are ours, not Prometheus'."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from tsdb.model.errors import BadRequest, UploadRefused
from tsdb.model.threads import in_thread
from tsdb.server.http.answer import JSON, Answer
from tsdb.server.http.route import Request
from tsdb.server.services import Services

if TYPE_CHECKING:
    from tsdb.storage.uploads import Uploads


async def start(services: Services, request: Request) -> Answer:
    uploads, block = _of(services, request)
    return await _done(request, lambda: uploads.start(block, request.body))


async def files(services: Services, request: Request) -> Answer:
    uploads, block = _of(services, request)
    query = request.http.query  # a body may look like a form
    offset = query.get("offset", "0")
    if not (offset.isascii() and offset.isdigit() and len(offset) < 19):
        raise BadRequest(f"offset is a number of bytes, not {offset[:100]!r}")
    return await _done(request, lambda: uploads.write(block, query.get("path", ""), request.body, int(offset)))


async def finish(services: Services, request: Request) -> Answer:
    uploads, block = _of(services, request)
    return await _done(request, lambda: uploads.finish(block))


async def check(services: Services, request: Request) -> Answer:
    uploads, block = _of(services, request)
    found = uploads.status(block)
    if found is None:
        raise UploadRefused("block doesn't exist", 404)
    said: dict[str, object] = {"result": found.state}
    if found.error:
        said["error"] = found.error
    if found.files:
        said["files"] = found.files
    return Answer(200, [orjson.dumps(said)], JSON)


def _of(services: Services, request: Request) -> tuple[Uploads, str]:
    from tsdb.storage.block.ulid import is_ulid

    block = request.path_values["block"]
    if not is_ulid(block):
        raise BadRequest(f"invalid block ID {block[:100]!r}: it is a ULID, as in 01KASVZ0QXFZ2WQ2PS4SR2GZ5T")
    uploads, config = services.storage.uploads, services.config.server
    uploads.most, uploads.most_bytes = config.max_uploads, int(config.max_upload_size)
    return uploads, block


async def _done(request: Request, work: Callable[[], None]) -> Answer:
    """Files are written, and synced, beside the loop."""
    def run() -> None:
        _check_digest(request.http.headers.get("Content-Digest", ""), request.body)
        work()

    await in_thread("upload", run)
    return Answer(200)


def _check_digest(header: str, body: bytes) -> None:
    """RFC 9530: ``sha-256=:…:``; other algorithms are passed over."""
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() != "sha-256":
            continue
        try:
            wanted = base64.b64decode(value.removeprefix(":").removesuffix(":"), validate=True)
        except binascii.Error:
            raise BadRequest("Content-Digest is not as RFC 9530 says") from None
        if hashlib.sha256(body).digest() != wanted:
            raise BadRequest("the body is not what was sent: its SHA-256 is not that of Content-Digest")
