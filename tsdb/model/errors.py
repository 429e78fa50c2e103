"""Every error we raise on purpose, in one tree.

::

    TsdbError
    ├── ConfigError            a config file, flag or argument is wrong                        exit 1
    ├── StorageError           a data directory cannot be used
    │   ├── DirectoryLocked    another process has it open                                     exit 1
    │   ├── FormatTooNew       written by a newer tsdb                                         exit 1
    │   ├── Corruption         a checksum or structure on disk is wrong: file, offset, what to do
    │   ├── ReadOnly           a write to a database opened read-only
    │   └── TiersChanged       windows with which a query was planned are not as they were: plan anew
    ├── TemplateError          a template does not parse or cannot be expanded: name, line, column
    ├── IngestError            a request to write cannot be taken
    │   ├── BadRequest         can never be accepted                                           400
    │   │   └── ScrapeRefused  a scraped body is wrong or over a limit: nothing of it is taken
    │   ├── WrongInput         a file to import is wrong: file, line, column                   exit 1
    │   ├── TooLarge           over a size limit                                               413
    │   ├── UploadRefused      a block that is uploaded is not taken                           400, 404, 409, 422
    │   ├── UnsupportedMedia   content type or encoding not known here                         415
    │   ├── OutOfBounds        samples older or newer than the head takes (embedded API)       400
    │   ├── ForgottenSeries    a series the sender remembers has left the head: send its key
    │   └── Unavailable        cannot be accepted now: disk, memory, start-up or shutdown      503 + Retry-After
    └── QueryError             a query has no answer; `kind` is Prometheus' errorType
        ├── BadData            wrong parameters                               bad_data         400
        │   └── ParseError     the expression does not parse or type-check    bad_data         400
        ├── ExecutionError     evaluation failed                              execution        422
        │   ├── NotSupported   PromQL that this version does not execute yet  execution        422
        │   └── LimitExceeded  more samples, series or bytes than allowed     execution        422
        ├── QueryTimeout       the deadline passed                            timeout          503
        ├── QueryCanceled      the client left or somebody cancelled          canceled         499
        └── NotReady           the server is starting or stopping             unavailable      503

A message names the thing, the place and the remedy.
"""

from __future__ import annotations


class TsdbError(Exception):
    """Base of all errors of tsdb."""


class ConfigError(TsdbError):
    """A config file, flag or argument is wrong."""


class StorageError(TsdbError):
    """A data directory cannot be used."""


class DirectoryLocked(StorageError):
    """Another process has the data directory open."""


class FormatTooNew(StorageError):
    """The data were written by a newer tsdb."""


class Corruption(StorageError):
    """A checksum or a structure on disk is wrong."""


class ReadOnly(StorageError):
    """A write to a database that was opened read-only."""


class TiersChanged(StorageError):
    """Windows of downsampling tiers with which a query was planned are not as they were: it is planned anew."""


class TemplateError(TsdbError):
    """A template does not parse, or cannot be expanded; the message has its name, line and column."""


class IngestError(TsdbError):
    """A request to write cannot be taken. `status` is the HTTP status."""

    status = 400


class BadRequest(IngestError):
    """Can never be accepted; sending it again is pointless."""


class ScrapeRefused(BadRequest):
    """A scraped body is wrong, or over a limit: nothing of it is taken. What was counted until then is reported all the
    same."""

    def __init__(self, message: str, *, scraped: int = 0, kept: int = 0, added: int = 0) -> None:
        super().__init__(message)
        self.scraped = scraped
        """Samples before relabeling."""
        self.kept = kept
        """After it."""
        self.added = added
        """Series that the last scrape had not."""


class WrongInput(IngestError):
    """A file to import cannot be read: which one, and where it is wrong."""


class TooLarge(IngestError):
    """Over a size limit."""

    status = 413


class UploadRefused(IngestError):
    """A block that is uploaded is not taken. `status`: 400; 404 where its upload was not started, 409 where it is there
    already, 422 where its samples would go at once."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class UnsupportedMedia(IngestError):
    """A content type or encoding that is not known here."""

    status = 415


class OutOfBounds(IngestError):
    """Samples older or newer than the head takes."""


class ForgottenSeries(IngestError):
    """A series that the sender remembers (`tsdb.model.batch.KnownRows`) is not in the head any more. Nothing of the
    batch was written: send it again with keys."""


class Unavailable(IngestError):
    """Cannot be accepted now, but may be in a while: `retry_after` is in seconds."""

    status = 503

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueryError(TsdbError):
    """A query has no answer. `kind` is Prometheus' errorType, `status` the HTTP status."""

    kind = "internal"
    status = 500


class BadData(QueryError):
    """Wrong parameters."""

    kind = "bad_data"
    status = 400


class ParseError(BadData):
    """The expression does not parse or type-check. `position` is a character offset (0-based)."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class ExecutionError(QueryError):
    """Evaluation failed."""

    kind = "execution"
    status = 422


class NotSupported(ExecutionError):
    """PromQL that this version parses but does not execute yet."""


class LimitExceeded(ExecutionError):
    """More samples, series or bytes than allowed."""


class QueryTimeout(QueryError):
    """The deadline passed."""

    kind = "timeout"
    status = 503


class QueryCanceled(QueryError):
    """The client left, or somebody cancelled the query."""

    kind = "canceled"
    status = 499


class NotReady(QueryError):
    """The server is starting or stopping."""

    kind = "unavailable"
    status = 503
