"""/api/v1/rules, /api/v1/alerts and /api/v1/alertmanagers. There are no rules and no alert managers yet: parameters are
checked, and the answers are empty."""

from __future__ import annotations

import re

from tsdb.model.errors import BadData
from tsdb.server.api import parameters
from tsdb.server.http.answer import Answer, success
from tsdb.server.http.route import Request
from tsdb.server.services import Services


async def rules(services: Services, request: Request) -> Answer:
    if request.form_error:
        raise BadData(f"error parsing form values: {request.form_error}")
    parameters.matcher_sets(request)
    kind = request.value("type").lower()
    if kind not in ("", "alert", "record"):
        raise parameters.invalid("type", f"not supported value {parameters.quoted(kind)}")
    parameters.boolean(request, "exclude_alerts", "error converting exclude_alerts")
    token = request.value("group_next_token")
    if _group_limit(request, token) and token:
        raise parameters.invalid(
            "group_next_token", f"invalid group_next_token '{token}'. were rule groups changed?"
        )
    return success({"groups": []})


async def alerts(services: Services, request: Request) -> Answer:
    return success({"alerts": []})


async def alertmanagers(services: Services, request: Request) -> Answer:
    return success({"activeAlertmanagers": [], "droppedAlertmanagers": []})


def _group_limit(request: Request, token: str) -> int:
    """Most groups in the answer; 0: all. Raises BadData."""
    text = request.value("group_limit")
    if not text:
        if token:
            raise parameters.invalid(
                "group_next_token", "group_limit needs to be present in order to paginate over the groups"
            )
        return 0
    problem = ""
    if not re.fullmatch("[-+]?[0-9]+", text, re.ASCII):
        problem = "invalid syntax"
    elif abs(int(text)) >= 2**31:
        problem = "value out of range"
    if problem:
        raise parameters.invalid("group_limit", "group_limit needs to be a valid number: strconv.ParseInt: parsing "
                                                f"{parameters.quoted(text)}: {problem}")
    if int(text) <= 0:
        raise parameters.invalid("group_limit", "group_limit needs to be greater than 0")
    return int(text)
