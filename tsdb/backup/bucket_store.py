"""Backups in a bucket of S3, or of a store that speaks its protocol, by obstore."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tsdb.backup.store import Found
from tsdb.model.errors import StorageError

if TYPE_CHECKING:
    from obstore.store import S3Config

PART_BYTES = 8 << 20
MOST_PARTS = 9_000
"""Of an upload; S3 takes 10,000."""
AT_ONCE = 4
"""Parts that are under way."""
RETRIES = 8
RETRY_S = 60
"""How long a request is tried again."""

NO_CREDENTIALS = ("Missing AccessKeyId", "Missing SecretAccessKey", "169.254.169.254", "InstanceCredential")
"""What obstore says where it finds no credentials: at last it asks the machine for them."""

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")


class BucketStore:
    """See `Store`. Credentials come from the environment, as AWS' own tools have them (AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, web identity, container, machine); they are never shown."""

    def __init__(self, url: str, *, endpoint: str | None = None, region: str | None = None) -> None:
        """`url`: `s3://bucket/prefix`. `endpoint`: URL of a store that is not Amazon's; by default AWS_ENDPOINT_URL.
        Raises StorageError."""
        found = _URL.fullmatch(url)
        if found is None:
            raise StorageError(f'"{url}" names no bucket: write s3://bucket/prefix')
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError:
            raise StorageError("backups in buckets need obstore: pip install 'tsdb-server[backup]'") from None
        self._obstore = obstore
        self._url = url.rstrip("/")
        self._bucket = found[1]
        config: S3Config = {}
        if endpoint:
            config["endpoint"] = endpoint
        if region:
            config["region"] = region
        try:
            self._store = S3Store(
                found[1], prefix=(found[2] or "").strip("/") or None,
                client_options={"allow_http": True, "timeout": timedelta(minutes=2)},
                retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
                config=config,
            )
        except obstore.exceptions.BaseError as problem:
            raise self._error(self._url, problem) from None

    def list(self, prefix: str) -> Mapping[str, Found]:
        now, found = datetime.now(UTC), {}
        with self._told(""):
            for some in self._obstore.list(self._store, prefix, chunk_size=1000):
                for each in some:
                    found[each["path"]] = Found(each["size"], (now - each["last_modified"]).total_seconds())
        return found

    def put(self, key: str, pieces: Iterable[bytes], size: int) -> None:
        with self._told(key):
            if size <= PART_BYTES:
                self._obstore.put(self._store, key, b"".join(pieces), use_multipart=False)
                return
            part = max(PART_BYTES, -(-size // MOST_PARTS))
            self._obstore.put(self._store, key, iter(pieces), use_multipart=True, chunk_size=part,
                              max_concurrency=AT_ONCE)

    def get(self, key: str) -> Iterator[bytes]:
        """In ranges, each of which is tried again by itself."""
        with self._told(key):
            size = self._obstore.head(self._store, key)["size"]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="backup") as pool:
            ahead: deque[Future[bytes]] = deque()
            try:
                for start in range(0, size, PART_BYTES):
                    ahead.append(pool.submit(self._range, key, start, min(start + PART_BYTES, size)))
                    if len(ahead) == AT_ONCE:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for waiting in ahead:
                    waiting.cancel()

    def remove(self, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), 1000):
            with self._told(""):
                self._obstore.delete(self._store, list(keys[at : at + 1000]))

    def place(self, key: str = "") -> str:
        return f"{self._url}/{key}" if key else self._url

    def in_use(self) -> AbstractContextManager[None]:
        """Buckets know no locks: files that are young, and those that a backup that is being made needs, are looked
        after otherwise."""
        return contextlib.nullcontext()

    def _range(self, key: str, start: int, end: int) -> bytes:
        with self._told(key):
            return bytes(self._obstore.get_range(self._store, key, start=start, end=end))

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Errors of obstore become ours."""
        errors = self._obstore.exceptions
        place = self.place(key)
        try:
            yield
        except (errors.NotFoundError, FileNotFoundError) as problem:
            if "NoSuchBucket" in str(problem):
                raise self._error(place, problem) from None
            raise FileNotFoundError(place) from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as problem:
            raise StorageError(f"{place}: access was refused ({_code(problem)}): look at AWS_ACCESS_KEY_ID, "
                               "AWS_SECRET_ACCESS_KEY and what the policy of the bucket allows: reading, writing, "
                               "listing, removing") from None
        except errors.BaseError as problem:
            raise self._error(place, problem) from None

    def _error(self, place: str, problem: Exception) -> StorageError:
        said = str(problem)
        if "NoSuchBucket" in said:
            return StorageError(f"there is no bucket {self._bucket}: make it, or look at --endpoint and --region")
        if any(sign in said for sign in NO_CREDENTIALS):
            return StorageError(f"{place}: no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return StorageError(f"{place}: {_first_line(said)}: what was copied stays, run it again to go on")


def _first_line(said: str) -> str:
    """What obstore says, without the form that it has in Rust, which may be long."""
    return said.strip().partition("\n")[0][:400]


def _code(problem: Exception) -> str:
    """The code in S3's answer, as in AccessDenied."""
    found = re.search(r"<Code>([A-Za-z]{1,64})</Code>", str(problem))
    return found[1] if found else "no reason was given"
