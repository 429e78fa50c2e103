"""Blocks to a server that runs: its block upload API, which is Mimir's, with parts of files and their digests.

Of each block: start (with its meta.json), its files part by part from where an earlier upload ended, finish; then the
server is asked until it has looked at all of it. What the server has already is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from tsdb.model.errors import ConfigError, TsdbError
from tsdb.net.client import HttpClient
from tsdb.net.config import HttpClientConfig
from tsdb.net.failures import RequestFailed
from tsdb.storage.block import BlockMeta
from tsdb.storage.block.layout import CHUNKS_NAME, INDEX_NAME, META_NAME
from tsdb.wal.files import FileSystem, LocalFileSystem, read_file

PART_BYTES = 8 << 20
SMALLEST_PART_BYTES = 64 << 10
"""Bytes of a file that are sent at once; smaller ones where the server takes no such bodies."""
ANSWER_S = 120.0
"""How long an answer may take."""
PATIENCE_S = 300.0
"""How long a server that cannot be reached, or says that it is busy, is asked again."""
LONGEST_PAUSE_S = 10.0
LOOK_S = 0.02, 1.0
"""The shortest and the longest pause between two looks at whether a block was found to be in order."""
LARGEST_ANSWER = 1 << 20
RESTARTS = 5
"""Of the server, while one block is sent."""
AGAIN = frozenset((429, 502, 503, 504))
"""Answers after which to ask again."""


class _ForgottenError(Exception):
    """The server knows nothing of a block that was begun: it has been restarted."""


class _TooOldError(Exception):
    """The server does not keep samples so old."""


@dataclass(slots=True)
class Uploaded:
    """How many blocks were sent, and how many the server had."""

    sent: int = 0
    there: int = 0


def upload(url: str, folder: Path, blocks: Sequence[BlockMeta], progress: Callable[[int, int], None] = lambda *_: None,
           *, fs: FileSystem | None = None, config: HttpClientConfig | None = None) -> Uploaded:
    """Sends blocks in `folder` to the server at `url`, in which name and password may stand. `progress`: (bytes done,
    in all). What was sent before it fails need not be sent again: the server has it, for a day the parts of a block.

    Raises ConfigError where the URL is none, TsdbError where the server refuses a block or cannot be reached, or after
    all others where some blocks are older than it keeps; OSError.
    """
    base = _base(url)

    async def send() -> Uploaded:
        client = HttpClient(config or HttpClientConfig(), base=Path(), user_agent="tsdb-import", limit=2)
        try:
            return await _Upload(client, base, fs or LocalFileSystem(), folder, progress).run(blocks)
        finally:
            await client.close()

    return asyncio.run(send())


class _Upload:
    def __init__(self, client: HttpClient, base: URL, fs: FileSystem, folder: Path,
                 progress: Callable[[int, int], None]) -> None:
        self._client = client
        self._base = base
        self._place = base.host_port_subcomponent or ""
        self._fs = fs
        self._folder = folder
        self._progress = progress
        self._part = PART_BYTES
        self._reached = False
        self._done = self._total = 0

    async def run(self, blocks: Sequence[BlockMeta]) -> Uploaded:
        outcome = Uploaded()
        sizes = {meta.ulid: {name: self._size(meta, name) for name in (INDEX_NAME, CHUNKS_NAME)} for meta in blocks}
        self._total = sum(sum(each.values()) for each in sizes.values())
        old: list[str] = []
        for meta in blocks:
            before = self._done
            try:
                if await self._block(meta, sizes[meta.ulid]):
                    outcome.sent += 1
                else:
                    outcome.there += 1
            except _TooOldError as problem:
                old.append(str(problem))
            self._done = before + sum(sizes[meta.ulid].values())
            self._progress(self._done, self._total)
        if old:
            raise TsdbError(f"{self._place} does not take {len(old)} of {len(blocks)} blocks, all others it has: "
                            f"{old[-1]}")
        return outcome

    async def _block(self, meta: BlockMeta, sizes: Mapping[str, int]) -> bool:
        """Whether it was sent: the server did not have it."""
        before = self._done
        for _ in range(RESTARTS):
            with contextlib.suppress(_ForgottenError):
                return await self._send(meta, sizes)
            self._done = before
        raise TsdbError(f"{self._place} forgets what was sent of block {meta.ulid}: does it start again and again?")

    async def _send(self, meta: BlockMeta, sizes: Mapping[str, int]) -> bool:
        text = read_file(self._fs, self._folder / meta.ulid / META_NAME)
        status, said = await self._ask("POST", meta, "start", text)
        if status == 409:
            return False
        if status == 422:
            raise _TooOldError(_reason(said))
        if status == 404:
            raise TsdbError(f"{self._place} takes no uploads of blocks: is it the address of a tsdb server?")
        self._expect(meta, status, said)
        before = self._done
        there = (await self._state(meta)).get("files", {})
        for name, size in sizes.items():
            at = int(there.get(name, 0))
            await self._file(meta, name, size, at if at <= size else 0, before)
            before += size
        status, said = await self._ask("POST", meta, "finish")
        if status != 409:  # as when it was heard, and the answer was not
            self._expect(meta, status, said)
            await self._checked(meta)
        return True

    async def _file(self, meta: BlockMeta, name: str, size: int, at: int, before: int) -> None:
        """Sends a file from `at` on."""
        file = self._fs.open(self._folder / meta.ulid / name)
        try:
            while at < size:
                self._done = before + at
                self._progress(self._done, self._total)
                data = file.pread(self._part, at)
                if not data:
                    raise TsdbError(f"{file.path} has become shorter while it was sent")
                status, said = await self._ask("POST", meta, "files", data, {"path": name, "offset": str(at)})
                if status == 413 and self._part > SMALLEST_PART_BYTES:
                    self._part //= 2
                    continue
                self._expect(meta, status, said)
                at += len(data)
        finally:
            file.close()

    async def _checked(self, meta: BlockMeta) -> None:
        pause = LOOK_S[0]
        while True:
            found = await self._state(meta)
            match found.get("result"):
                case "complete":
                    return
                case "validating":
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LOOK_S[1])
                case _:
                    raise TsdbError(f"{self._place} does not take block {meta.ulid}: "
                                    f"{found.get('error') or 'it has not ended looking at it'}")

    async def _state(self, meta: BlockMeta) -> dict[str, Any]:
        status, said = await self._ask("GET", meta, "check")
        self._expect(meta, status, said)
        try:
            found = json.loads(said)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TsdbError(f"{self._place} answered {said[:200]!r}: is it the address of a tsdb server?")
        return found

    def _expect(self, meta: BlockMeta, status: int, said: bytes) -> None:
        if status in (401, 403):
            raise TsdbError(f"{self._place} answered {status}: name and password are given in the URL, as in "
                            "http://name:password@host:9090")
        if status == 404:
            raise _ForgottenError
        if status != 200:
            raise TsdbError(f"{self._place} does not take block {meta.ulid} ({status}): {_reason(said)}")

    async def _ask(self, method: str, meta: BlockMeta, what: str, data: bytes | None = None,
                   query: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """(status, body) of the answer; asks again where that may help."""
        url = self._base / "api/v1/upload/block" / meta.ulid / what
        if query:
            url = url.with_query(query)
        headers = {}
        if data is not None:
            digest = b64encode(hashlib.sha256(data).digest()).decode()
            headers = {"Content-Digest": f"sha-256=:{digest}:", "Content-Type": "application/octet-stream"}
        began, pause = time.monotonic(), 0.1
        while True:
            wait = 0.0
            try:
                async with asyncio.timeout(ANSWER_S), self._client.request(
                        method, url, headers=headers, data=data) as answer:
                    self._reached = True
                    body, status = await _body(answer), answer.status
                    if status not in AGAIN:
                        return status, body
                    problem = f"{self._place} answered {status}: {_reason(body)}"
                    wait = _seconds(answer.headers.get("Retry-After", ""))
            except TimeoutError:
                problem = f"{self._place} did not answer within {ANSWER_S:g} s"
            except RequestFailed as failed:
                problem = str(failed)
                if not self._reached:
                    raise TsdbError(f"{problem}: is it the address of a server?") from None
            except aiohttp.ClientError as failed:
                problem = f"{self._place}: {failed}"
            pause = min(2 * pause, LONGEST_PAUSE_S)
            wait = max(pause, min(wait, LONGEST_PAUSE_S))
            if time.monotonic() + wait - began > PATIENCE_S:
                raise TsdbError(f"{problem}; the same command goes on where this one has ended")
            await asyncio.sleep(wait)

    def _size(self, meta: BlockMeta, name: str) -> int:
        file = self._fs.open(self._folder / meta.ulid / name)
        try:
            return file.size()
        finally:
            file.close()


def _base(url: str) -> URL:
    try:
        found = URL(url)
        if found.scheme in ("http", "https") and found.host:
            return found.with_query(None).with_fragment(None).with_path(found.path.rstrip("/"))
    except ValueError:
        pass
    raise ConfigError(f'--url: "{url}" is no URL of a server, as in http://127.0.0.1:9090')


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < LARGEST_ANSWER and (more := await answer.content.read(LARGEST_ANSWER)):
        body += more
    return body


def _reason(body: bytes) -> str:
    text = body[:2000].decode(errors="replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text or "it does not say why"


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 0.0
