"""Waits between tries that keep many clients from coming back at the same moment."""

from __future__ import annotations

import random


def backoff_seconds(attempt: int, *, base_seconds: float = 0.2, most_seconds: float = 30.0) -> float:
    """Return a wait with full jitter: anything up to a bound that doubles with each failed attempt.

    Args:
        attempt: Failures in a row, >= 1.
        base_seconds: Bound after the first, > 0.
        most_seconds: Bound that it never exceeds, > 0.

    Returns:
        Seconds, > 0.
    """
    bound = min(most_seconds, base_seconds * 2.0 ** min(attempt - 1, 30))
    return random.uniform(bound / 10.0, bound)
