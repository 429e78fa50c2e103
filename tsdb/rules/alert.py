"""An alert: one result of an alerting rule, and what has become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

NEVER = 0
"""Of times (ms) of what has not happened."""


class AlertState(Enum):
    """Values are words of the API and of the label `alertstate`."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


@dataclass(slots=True, eq=False)
class Alert:
    """Changes with each evaluation of its rule; others get copies. Times are Unix ms, or NEVER."""

    labels: Mapping[str, str]
    """`alertname`, labels of the rule and of the result; no `__name__`."""
    annotations: Mapping[str, str]
    state: AlertState
    value: float
    """Of the newest evaluation that gave it."""
    active_at: int
    """Since when its expression gives it."""
    fired_at: int = NEVER
    resolved_at: int = NEVER
    last_sent_at: int = NEVER
    valid_until: int = NEVER
    """An Alertmanager that hears no more of it takes it for resolved then."""
    keep_firing_since: int = NEVER
    """When its expression stopped giving it, while `keep_firing_for` lets it fire on."""
    text: str = ""
    """The value where it is a native histogram, as Prometheus prints it."""
