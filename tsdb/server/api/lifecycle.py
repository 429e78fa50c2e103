"""POST /-/reload and /-/quit, where --web.enable-lifecycle allows them."""

from __future__ import annotations

from tsdb.model.errors import NotReady, TsdbError
from tsdb.server.http.answer import TEXT, Answer, text
from tsdb.server.http.route import Request
from tsdb.server.services import Phase, Services

_DISABLED = b"Lifecycle API is not enabled."


async def reload(services: Services, request: Request) -> Answer:
    """Answers when the new config is in effect, or says why it is not."""
    if not _enabled(services):
        return Answer(403, [_DISABLED], TEXT)
    try:
        await services.reload()
    except NotReady:
        raise
    except TsdbError as problem:
        return text(500, f"failed to reload config: {problem}")
    return Answer(200, [], TEXT)


async def quit_server(services: Services, request: Request) -> Answer:
    if not _enabled(services):
        return Answer(403, [_DISABLED], TEXT)
    if services.quit is None:
        return text(500, "this server does not end by itself: it belongs to the program that runs it")
    if services.phase is Phase.STOPPING:
        return Answer(200, [b"Termination already in progress."], TEXT)
    services.quit()
    return Answer(200, [b"Requesting termination... Goodbye!"], TEXT)


async def only_post(services: Services, request: Request) -> Answer:
    return Answer(405, [b"Only POST or PUT requests allowed"], TEXT)


def _enabled(services: Services) -> bool:
    return services.options.enable_lifecycle
