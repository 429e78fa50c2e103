"""Times and steps as people give them to ``tsdb query``."""

from __future__ import annotations

from tsdb.model.durations import parse_duration
from tsdb.model.errors import ConfigError

POINTS = 120
"""Of a range whose step is not given, about."""
STEPS_MS = tuple(1000 * seconds for seconds in (1, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400))


def moment(text: str, now: int, option: str) -> int:
    """ms since the epoch of ``now``, ``-1h``, ``now-1h``, ``+5m``, unix seconds or RFC 3339. Raises ConfigError."""
    from tsdb.server.api.parameters import parse_time

    relative = text.removeprefix("now")
    try:
        if not relative:
            return now
        if relative[0] in "+-" and not relative[1:].replace(".", "").isdigit():
            return now + (1 if relative[0] == "+" else -1) * parse_duration(relative[1:])
        return parse_time(text)
    except ValueError:
        forms = "now, -1h, 1795392000 or 2026-11-23T12:00:00Z"
        raise ConfigError(f'{option}: "{text}" is no time: as in {forms}') from None


def step_of(text: str | None, start: int, end: int) -> int:
    """ms of a step: a duration or seconds; where none is given, one that makes about `POINTS`. Raises ConfigError."""
    if text is None:
        return next((step for step in STEPS_MS if (end - start) / step <= POINTS), STEPS_MS[-1])
    return duration(text, "--step")


def duration(text: str, option: str) -> int:
    """ms of ``1m30s`` or of seconds. Raises ConfigError."""
    try:
        found = parse_duration(text) if text[-1:].isalpha() else round(float(text) * 1000)
        if found > 0:
            return found
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f'{option}: "{text}" is no duration: as in 15s, 1h30m or 60')
