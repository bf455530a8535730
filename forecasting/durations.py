"""Durations and times as people write them on a command line or in a file; pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from forecasting.errors import InputError

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_duration(text: str, *, name: str) -> float:
    """Read a duration such as ``90s``, ``5m`` or ``1h30m``.

    Args:
        text: Numbers with units ms, s, m, h, d or w.
        name: What to call the value in messages, usually the option.

    Returns:
        Seconds, > 0.

    Raises:
        InputError: If the text is no duration, or not positive.
    """
    compact = text.strip()
    matches = list(_DURATION.finditer(compact))
    if not matches or "".join(match.group(0) for match in matches) != compact:
        raise InputError(f"{name}: '{text}' is no duration; write for example 30s, 5m, 2h or 7d")
    seconds = sum(float(match.group(1)) * _UNIT_SECONDS[match.group(2)] for match in matches)
    if not 0.0 < seconds < math.inf:
        raise InputError(f"{name}: '{text}' must be longer than nothing")
    return seconds


def parse_time(text: str) -> tuple[datetime, bool]:
    """Read an ISO-8601 time or unix seconds.

    Args:
        text: The time; without a zone it is read as UTC.

    Returns:
        The time in UTC, and whether its zone was written (unix seconds have one by definition).

    Raises:
        ValueError: If the text is neither.
    """
    compact = text.strip()
    try:
        # A date has a dash where no number of seconds has one; asking a number first would cost an exception a row.
        seconds = math.nan if compact[4:5] == "-" else float(compact)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        time = datetime.fromisoformat(compact)
        if time.tzinfo is None:
            return time.replace(tzinfo=UTC), False
        try:
            return time.astimezone(UTC), True
        except OverflowError as error:
            raise ValueError("outside the calendar") from error
    try:
        return datetime.fromtimestamp(seconds, tz=UTC), True
    except (OverflowError, OSError) as error:
        raise ValueError("outside the calendar") from error


def parse_option_time(text: str, *, name: str) -> datetime:
    """Read a time given as an option.

    Raises:
        InputError: If the text is no time.
    """
    try:
        return parse_time(text)[0]
    except ValueError as error:
        raise InputError(f"{name}: '{text}' is no time; write for example 2025-03-31T12:00Z or unix seconds") from error


def describe_duration(seconds: float) -> str:
    """Return a duration in the largest unit that leaves it readable, such as ``5 min``."""
    for unit_seconds, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2.0 * unit_seconds or math.isclose(seconds, unit_seconds):
            return f"{seconds / unit_seconds:.3g} {unit}"
    return f"{seconds:.3g} s"


def describe_time(time: datetime) -> str:
    """Return a time as ISO-8601 in UTC with ``Z``, without idle microseconds."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
