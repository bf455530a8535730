"""Power that is merely assumed to persist: which mean to take, and how wrong it has been.

Called by the replay of logs and by benchmarks; pure. Load changes dominate every forecast that does not know them, so
how much the load has changed so far belongs into the interval.
"""

from __future__ import annotations

import numpy as np

from forecasting.types import FloatArray

PERSISTENCE_SECONDS = (30.0, 180.0)
"""Power that persists is the mean of the first; of the second where single readings proved to be noise."""

PERSISTENCE_AHEAD_SECONDS = 300.0
"""The two are compared by how well they foretold the mean power of this long."""

PERSISTENCE_ADVANTAGE = 0.9
"""The longer mean must have this share of the shorter one's squared error: after a load step it lags."""

PERSISTENCE_NUM_TRIALS = 10
"""Fewer comparisons decide nothing."""

PERSISTENCE_NUM_READINGS = 3600
"""Only this many last readings are compared."""


def _trials(times: FloatArray, watts: FloatArray, ahead_seconds: float) -> tuple[FloatArray, FloatArray]:
    """Return means before and after every reading.

    Args:
        times: Ascending, shape ``(num_readings,)``.
        watts: Finite, same shape.
        ahead_seconds: Length of the mean that followed.

    Returns:
        Means of each window up to each reading, shape ``(num_windows, num_readings)``, and the mean that followed,
        shape ``(num_readings,)``, NaN where the readings end before.
    """
    total = np.concatenate([[0.0], np.cumsum(watts)])
    index = np.arange(times.size)
    means = []
    for window in PERSISTENCE_SECONDS:
        # A window holds at least its last reading, however long ago the one before it was.
        first = np.minimum(np.searchsorted(times, times - window, side="right"), index)
        means.append((total[index + 1] - total[first]) / (index + 1 - first))
    ends = np.searchsorted(times, times + ahead_seconds, side="right")
    whole = (times + ahead_seconds <= times[-1]) & (ends > index + 1)
    came = (total[ends] - total[index + 1]) / np.maximum(ends - index - 1, 1)
    return np.array(means), np.where(whole, came, np.nan)


def _recent(seconds: FloatArray, power_watts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the last readings that are not missing."""
    known = np.flatnonzero(np.isfinite(power_watts))[-PERSISTENCE_NUM_READINGS:]
    return seconds[known], power_watts[known]


def _better(means: FloatArray, came: FloatArray) -> int:
    """Return which window foretold what came: 0, unless the longer one did clearly better."""
    tried = np.isfinite(came)
    if np.count_nonzero(tried) < PERSISTENCE_NUM_TRIALS:
        return 0
    short, long = np.mean((means[:, tried] - came[tried]) ** 2, axis=1)
    return int(long < PERSISTENCE_ADVANTAGE * short)


def persisting_power_watts(seconds: FloatArray, power_watts: FloatArray) -> float:
    """Return the power to assume when it persists.

    The mean of the last half minute, unless readings are so few and so noisy that the mean of three minutes has
    foretold the next five clearly better: one reading a minute of a busy GPU is a poor guess of its mean.

    Args:
        seconds: Times of the readings so far, ascending, shape ``(num_readings,)``.
        power_watts: Readings; NaN missing, same shape.

    Returns:
        Watts; NaN without any reading.
    """
    times, watts = _recent(seconds, power_watts)
    if times.size == 0:
        return float("nan")
    means, came = _trials(times, watts, PERSISTENCE_AHEAD_SECONDS)
    return float(means[_better(means, came), -1])


def power_spread_watts(seconds: FloatArray, power_watts: FloatArray, horizons_seconds: FloatArray) -> FloatArray:
    """Return how far persisting power was off, so far, at each horizon.

    Args:
        seconds: Times of the readings so far, ascending, shape ``(num_readings,)``.
        power_watts: Readings; NaN missing, same shape.
        horizons_seconds: Ascending, shape ``(num_horizons,)``.

    Returns:
        Root mean square difference to the mean power that followed, watts, shape ``(num_horizons,)``, non-decreasing;
        0 where the log is too short to say anything. Horizons that the log cannot judge yet take the nearest it can.
    """
    times, watts = _recent(seconds, power_watts)
    spread, last = np.zeros(horizons_seconds.shape), 0.0
    if times.size == 0:
        return spread
    means, came = _trials(times, watts, PERSISTENCE_AHEAD_SECONDS)
    window = _better(means, came)
    for index, horizon in enumerate(horizons_seconds):
        means, came = _trials(times, watts, float(horizon))
        tried = np.isfinite(came)
        if np.count_nonzero(tried) >= PERSISTENCE_NUM_TRIALS:
            last = max(last, float(np.sqrt(np.mean((means[window, tried] - came[tried]) ** 2))))
        spread[index] = last
    return spread
