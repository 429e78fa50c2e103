"""/api/v1/labels, /api/v1/label/<name>/values and /api/v1/series: what there is to query."""

from __future__ import annotations

from tsdb.model.context import RequestContext
from tsdb.model.errors import BadData
from tsdb.server.api import parameters
from tsdb.server.api.json_result import encode_series
from tsdb.server.api.queries import new_context, small_or_in_thread
from tsdb.server.http.answer import TRUNCATED, Answer, success, success_parts
from tsdb.server.http.route import Request
from tsdb.server.services import Services


async def label_names(services: Services, request: Request) -> Answer:
    return await _names(services, request, None)


async def label_values(services: Services, request: Request) -> Answer:
    name = parameters.unescaped_name(request.path_values["name"])
    try:
        name.encode()
        valid = bool(name)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        escaped = name.encode("utf-8", "surrogateescape")
        shown = "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in escaped)
        raise BadData(f'invalid label name: "{shown}"')

    return await _names(services, request, name)


async def _names(services: Services, request: Request, label: str | None) -> Answer:
    """Values of a label; None: names of labels."""
    limit = parameters.limit(request)
    mint = parameters.time_or(request, "start", parameters.MIN_TIME)
    maxt = parameters.time_or(request, "end", parameters.MAX_TIME)
    storage = services.storage

    def work(context: RequestContext) -> Answer:
        context.check()
        matchers = parameters.matcher_sets(request)
        if label is None:
            names = storage.label_names(matchers, mint, maxt, context)
        else:
            names = storage.label_values(label, matchers, mint, maxt, context)
        kept, cut = parameters.names_within(names, limit)
        return success(kept, [TRUNCATED] if cut else ())

    return await small_or_in_thread(services, request, new_context(services, request),
                                    (label, *request.form.get("match[]", ())), mint, maxt, work)


async def series(services: Services, request: Request) -> Answer:
    if request.form_error:
        raise BadData(f"error parsing form values: {request.form_error}")
    if not request.form.get("match[]"):
        raise BadData("no match[] parameter provided")
    limit = parameters.limit(request)
    mint = parameters.time_or(request, "start", parameters.MIN_TIME)
    maxt = parameters.time_or(request, "end", parameters.MAX_TIME)

    def work(context: RequestContext) -> Answer:
        context.check()
        matchers = parameters.matcher_sets(request, named=True)
        found = services.storage.series(matchers, mint, maxt, context, limit + 1 if limit > 0 else 0)
        parts, cut = encode_series(found, limit, context.reserve)
        return success_parts(parts, [TRUNCATED] if cut else ())

    return await small_or_in_thread(services, request, new_context(services, request),
                                    ("series", limit, *request.form["match[]"]), mint, maxt, work)
