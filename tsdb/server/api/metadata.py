"""/api/v1/metadata and /api/v1/targets/metadata: type, help and unit of metric families."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tsdb.model.batch import Metadata
from tsdb.model.errors import ParseError
from tsdb.model.matchers import Matcher
from tsdb.server.api import parameters
from tsdb.server.api.matching import all_hold
from tsdb.server.api.queries import in_query_thread, new_context
from tsdb.server.http.answer import Answer, success
from tsdb.server.http.route import Request
from tsdb.server.services import Services

if TYPE_CHECKING:
    from scraper.status import TargetStatus

Families = Mapping[str, Metadata]


async def metadata(services: Services, request: Request) -> Answer:
    """What the targets that are scraped now say of each family, every different thing once; of families that none of
    them has, what was said last."""
    limit = parameters.number(request, "limit")
    per_metric = parameters.number(request, "limit_per_metric")
    wanted = request.value("metric")
    read = known_families(services, wanted)
    context = new_context(services, request)

    def work() -> Answer:
        context.check()
        found = read()
        shown: dict[str, list[dict[str, str]]] = {}
        for family, entries in sorted(found.items()):
            if 0 <= limit <= len(shown):
                break
            kept = entries[:per_metric] if per_metric > 0 else entries
            shown[family] = [{"type": entry.type, "unit": entry.unit, "help": entry.help} for entry in kept]
        return success(shown)

    return await in_query_thread(services, context, work)


def known_families(services: Services, wanted: str = "") -> Callable[[], dict[str, list[Metadata]]]:
    """Of `wanted`, or of all: what targets say, first, else what was said last. Called on the loop; what it returns, in
    any thread."""
    targets, storage = _targets(services), services.storage

    def read() -> dict[str, list[Metadata]]:
        found: dict[str, list[Metadata]] = {}
        for families in _different(targets):
            for family, entry in families.items() if not wanted else _one(families, wanted):
                said = found.setdefault(family, [])
                if entry not in said:
                    said.append(entry)
        for family, entries in storage.metadata(wanted or None).items():
            found.setdefault(family, entries)
        return found

    return read


async def targets_metadata(services: Services, request: Request) -> Answer:
    """Metadata of families, target by target. The limit is looked at before each target, as in Prometheus."""
    limit = parameters.number(request, "limit")
    wanted = request.value("metric")
    matchers = _target_matchers(request)
    targets = _targets(services)
    context = new_context(services, request)

    def work() -> Answer:
        context.check()
        found: list[dict[str, Any]] = []
        known: dict[bytes, Families] = {}
        for target in targets:
            if 0 <= limit <= len(found):
                break
            if not all_hold(matchers, target.labels):
                continue
            labels = dict(sorted(target.labels.items()))
            families = target.read_metadata(known)
            for family, entry in families.items() if not wanted else _one(families, wanted):
                name = {} if wanted else {"metric": family}
                found.append({"target": labels, **name, "type": entry.type, "help": entry.help, "unit": entry.unit})
        return success(found)

    return await in_query_thread(services, context, work)


def _targets(services: Services) -> list[TargetStatus]:
    """Active ones, by job."""
    pools = [] if services.scraper is None else sorted(services.scraper.pools(), key=lambda pool: pool.name)
    return [target for pool in pools for target in pool.active]


def _different(targets: Sequence[TargetStatus]) -> list[Families]:
    """What they say, without repetitions."""
    known: dict[bytes, Families] = {}
    said = [target.read_metadata(known) for target in targets]
    return list({id(families): families for families in said}.values())


def _one(families: Families, family: str) -> list[tuple[str, Metadata]]:
    return [(family, families[family])] if family in families else []


def _target_matchers(request: Request) -> Sequence[Matcher]:
    from tsdb.promql.syntax.parser import parse_selector

    text = request.value("match_target")
    try:
        return parse_selector(text, checked=False) if text else ()
    except ParseError as problem:
        raise parameters.invalid("match_target", str(problem)) from None
