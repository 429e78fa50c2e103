"""Config of the server, of queries and of storage as the file names them."""

from __future__ import annotations

from typing import Annotated, Literal

from tsdb.model.settings import Bytes, Duration, Section, key


class ServerConfig(Section, frozen=True):
    listen: Annotated[str, key("Address and port to serve on; port 0 takes a free one.")] = "127.0.0.1:9090"
    max_body_size: Annotated[
        Bytes, key("Largest request body as it is sent.", unit="bytes", reloadable=True)
    ] = Bytes.of("64MiB")
    max_decompressed_size: Annotated[
        Bytes, key("Largest remote_write request, decompressed.", unit="bytes", reloadable=True)
    ] = Bytes.of("32MiB")
    max_bodies_size: Annotated[
        Bytes,
        key(
            "How much bodies under way, and what they decompress to, may take together. Above it requests are "
            "answered with 503, to be sent again.",
            unit="bytes",
        ),
    ] = Bytes.of("256MiB")
    read_timeout: Annotated[Duration, key("How long a client may take to send a request.", reloadable=True)] = (
        Duration.of("5m")
    )
    shutdown_timeout: Annotated[Duration, key("How long requests under way may go on when the server stops.")] = (
        Duration.of("10s")
    )


class QueryConfig(Section, frozen=True):
    timeout: Annotated[
        Duration, key("How long a query may take, its wait in the queue included.", reloadable=True)
    ] = Duration.of("2m")
    max_samples: Annotated[
        int, key("Most samples that one query may hold in memory.", unit="samples", reloadable=True)
    ] = 50_000_000
    max_concurrency: Annotated[int, key("How many queries run at once; others wait. 0: by the number of cores.")] = 0
    lookback_delta: Annotated[
        Duration, key("How far a selector looks back for the newest sample.", reloadable=True)
    ] = Duration.of("5m")


class WalConfig(Section, frozen=True):
    sync: Annotated[
        Literal["commit", "interval", "os"],
        key(
            "When a write is acknowledged: after it is synced to disk (`commit`); after it is written, with a sync at "
            "intervals (`interval`); after it is written (`os`). A killed process loses nothing in any of them, a "
            "power cut nothing in `commit`."
        ),
    ] = "interval"


class TsdbConfig(Section, frozen=True):
    path: Annotated[str, key("Data directory, relative to the working directory.")] = "data"


class StorageConfig(Section, frozen=True):
    wal: Annotated[WalConfig, key("The write-ahead log.")] = WalConfig()
    tsdb: Annotated[TsdbConfig, key("The database.")] = TsdbConfig()
