"""POST /api/v1/write: Prometheus remote_write 1.0 and 2.0."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import numpy as np

from tsdb.ingest.decoded import Decoded, IngestLimits
from tsdb.ingest.remote_write import MESSAGE_1, MESSAGES, declared_size, decode, negotiate
from tsdb.model.batch import ACCEPTED, EXEMPLAR_REASONS, REASONS, Appended, Batch
from tsdb.model.errors import TsdbError
from tsdb.model.labels import format_series, labels_of_key
from tsdb.model.native_histograms import is_boxed
from tsdb.server.http.answer import Answer, text
from tsdb.server.http.bodies import Held
from tsdb.server.http.route import Request
from tsdb.server.services import Services

_AT_ONCE_BYTES = 128 << 10
"""Requests of up to so many bytes, decompressed, are decoded on the loop's thread: 0.1 ms of work, 4 ms for the oddest
body; handing it over costs twice the former."""
_KEYS_RATIO = 4
"""Bytes of memory that a byte of a 2.0 request counts for: its symbols become keys."""
_EXAMPLES = 3
_EXAMPLE_LENGTH = 400
"""Characters of a series in a message."""

REMEDIES = (
    "",
    "send the samples of a series in the order of time, from one sender",
    "the series has another value at that time: give each sender labels of its own (external_labels)",
    "samples may be an hour older than the newest one at most",
    "samples may be 10 minutes ahead of this server's clock at most: check the sender's clock",
    "it is older than the newest sample by more than storage.tsdb.out_of_order_time_window",
    *["raise the limit in storage.limits"] * 4,
)
"""What to do, by code of `tsdb.model.batch.REASONS`."""

_UNITS = (("seconds", 1e-3), ("microseconds", 1e3), ("nanoseconds", 1e6))
"""What times are taken for that would be of this century in that unit, and how many a millisecond has."""
_CENTURY_MS = (946_684_800_000, 4_102_444_800_000)


async def write(services: Services, request: Request) -> Answer:
    headers = request.http.headers
    accepted = [message for message in MESSAGES if message in services.options.accepted_messages]
    message = negotiate(headers.get("Content-Type"), headers.get("Content-Encoding"), accepted)
    limits = IngestLimits(max_body_bytes=int(services.config.server.max_decompressed_size))
    size = declared_size(request.body, limits.max_body_bytes)
    request.held.add(size if message == MESSAGE_1 else _KEYS_RATIO * size)
    decoded, appended = await _store(services, request.body, size, limits, message, request.held.move())
    services.metrics.received.inc(decoded.samples)
    # as by Prometheus, a sender of 1.0 does not hear of exemplars
    others = [] if message == MESSAGE_1 else _other_rejections(decoded, appended)
    answer = _answer(services, decoded, appended, others)
    if message != MESSAGE_1:
        answer.headers |= written(decoded.batch, appended)
    return answer


def _answer(services: Services, decoded: Decoded, appended: Appended, others: list[str]) -> Answer:
    if not decoded.rejected and not appended.rejected and not others:
        return Answer(204)
    for rejected in decoded.rejected:
        services.metrics.rejected.labels(rejected.reason).inc(rejected.samples)
    problems = [str(rejected) for rejected in decoded.rejected]
    problems += rejections(services, decoded.batch, appended)
    if not decoded.rejected and not others and appended.rejected == appended.outdone:
        return Answer(204)  # as by Prometheus: what a request has against itself is nobody's news
    total = decoded.rejected_samples + appended.rejected
    kept = appended.accepted
    return text(400, f"{total} of {decoded.samples} samples rejected, {kept} kept: " + "; ".join(problems + others))


def written(batch: Batch, appended: Appended) -> dict[str, str]:
    """Headers that say how much of a 2.0 request was written."""
    histograms = int(np.count_nonzero(is_boxed(batch.values) & (appended.codes == ACCEPTED)))
    exemplars = len(batch.exemplars) - int(np.count_nonzero(appended.exemplar_codes))
    counts = {"Samples": appended.accepted - histograms, "Histograms": histograms, "Exemplars": exemplars}
    return {f"X-Prometheus-Remote-Write-{what}-Written": str(count) for what, count in counts.items()}


def _other_rejections(decoded: Decoded, appended: Appended) -> list[str]:
    """Of exemplars and metadata."""
    batch, codes = decoded.batch, appended.exemplar_codes
    found = []
    for code in np.unique(codes[codes > 0]).tolist():
        which = np.flatnonzero(codes == code)
        first = batch.exemplars[int(which[0])]
        found.append(f"{EXEMPLAR_REASONS[code]}: {series_text(batch, first.row)} at {first.ts / 1000:.3f} "
                     f"({which.size} exemplars rejected)")
    if decoded.rejected_exemplars:
        found.append(f"labels of exemplars are too long, not valid UTF-8 or beyond the symbols "
                     f"({decoded.rejected_exemplars} exemplars rejected)")
    if decoded.rejected_metadata:
        found.append(f"metadata point beyond the symbols ({decoded.rejected_metadata} series, their samples are kept)")
    return found


def _store(
    services: Services, body: bytes, size: int, limits: IngestLimits, message: str, held: Held
) -> asyncio.Future[tuple[Decoded, Appended]]:
    """Decodes, in a thread if it may take long, and hands over to the appender; the loop is woken once, when that is
    done. `size` is the body's after decompression.

    Who leaves meanwhile does not take back what is under way, and its memory counts until then.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[tuple[Decoded, Appended]] = loop.create_future()
    storage = services.storage

    def settle(result: tuple[Decoded, Appended] | None, problem: BaseException | None) -> None:
        held.release()
        if outcome.done():
            return
        if result is not None:
            outcome.set_result(result)
        elif problem is not None:
            outcome.set_exception(problem)

    def tell(result: tuple[Decoded, Appended] | None, problem: BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, problem)

    def work() -> None:
        try:
            decoded = decode(body, storage.secret, limits, message)
            submitted = storage.submit(decoded.batch)
        except TsdbError as problem:
            # where it was raised is no news, and the frames hold the columns
            problem.__traceback__ = problem.__cause__ = problem.__context__ = None
            tell(None, problem)
        except BaseException as problem:  # noqa: BLE001 - raised by who awaits
            tell(None, problem)
        else:
            def appended(done: Future[Appended]) -> None:
                problem = done.exception()
                tell((decoded, done.result()) if problem is None else None, problem)

            submitted.add_done_callback(appended)

    if size <= _AT_ONCE_BYTES:
        work()
    else:
        services.ingest.submit(work)
    return outcome


def rejections(services: Services, batch: Batch, appended: Appended) -> list[str]:
    """For each reason of the appender's: the first few series, how many, and what to do. Counts them."""
    found = []
    for code in np.unique(appended.codes[appended.codes > 0]).tolist():
        samples = np.flatnonzero(appended.codes == code)
        services.metrics.rejected.labels(REASONS[code]).inc(samples.size)
        _, first = np.unique(batch.row_hash[batch.sample_row[samples]], return_index=True)
        first.sort()
        examples = ", ".join(sample_text(batch, int(sample)) for sample in samples[first[:_EXAMPLES]])
        more = ", …" if first.size > _EXAMPLES else ""
        remedy = appended.refusals.get(code) or unit_remedy(int(batch.ts[samples[0]])) or REMEDIES[code]
        found.append(
            f"{REASONS[code]}: {examples}{more} ({first.size} series, {samples.size} samples rejected): {remedy}"
        )
    return found


def sample_text(batch: Batch, sample: int) -> str:
    """``name{label="value"} at 1700000000.123``."""
    return f"{series_text(batch, int(batch.sample_row[sample]))} at {int(batch.ts[sample]) / 1000:.3f}"


def series_text(batch: Batch, row: int) -> str:
    """Of a keyed row, as PromQL writes it; long ones are cut."""
    offset, length = int(batch.row_offset[row]), int(batch.row_length[row])
    labels = labels_of_key(batch.keys[offset : offset + length].tobytes())
    series = format_series(labels.items())
    return series if len(series) <= _EXAMPLE_LENGTH else series[:_EXAMPLE_LENGTH] + "…"


def unit_remedy(ts: int) -> str:
    """What to say about a refused time that is no plausible time in ms, but one in another unit; or empty."""
    least, greatest = _CENTURY_MS
    if least <= ts < greatest:
        return ""
    for unit, each in _UNITS:
        if least <= ts / each < greatest:
            return f"the timestamp {ts} looks like {unit}: remote_write takes milliseconds"
    return ""
