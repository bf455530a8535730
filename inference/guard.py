"""The local guard: bounds the work of a pod by the margin of its own GPU, within seconds and without the controller.

Pure arithmetic on arrays, one entry a GPU; the pod reads margin and power from its node's exporter and applies the
bound to batch occupancy and step duty. The simulator imports it, too. It takes no time and does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """Constants of the guard.

    Attributes:
        idle_watts: Power of a GPU without work.
        busy_watts: Power of a GPU at full work, above ``idle_watts``.
        leakage_ratio: Power of the same work near the limit over ``busy_watts``; 0.3 to 0.6 % a degree were measured.
        margin_celsius: Margin that it keeps; a whole-degree sensor and one period of the heat sink fit in.
        fast_resistance_celsius_per_watt: Rise of the die within one period per watt; on the careful side of the
            measured 0.036 (60 % of the rise of an H100-class node).
        rise_ratio_per_second: How fast the bound may rise again; damps the loop through the heat sink.
        drift_memory_seconds: Time constant with which the drift of sink and room is smoothed.
        hold_seconds: How long a bound is held on readings that no longer come.
        decay_seconds: Time constant with which it then goes to the floor.
        floor_ratio: Where it goes; a blind pod works, but not at its hottest.
        start_ratio: Where a pod begins that has no reading yet: a cold GPU in a hot room heats up within one period.
        approach_celsius: Below this margin the bound does not exceed what the GPU can sustain, where that is known.
    """

    idle_watts: float = 75.0
    busy_watts: float = 690.0
    leakage_ratio: float = 1.1
    margin_celsius: float = 4.0
    fast_resistance_celsius_per_watt: float = 0.045
    rise_ratio_per_second: float = 0.01
    drift_memory_seconds: float = 30.0
    hold_seconds: float = 30.0
    decay_seconds: float = 60.0
    floor_ratio: float = 0.5
    start_ratio: float = 0.5
    approach_celsius: float = 8.0


def bounded_ratio(
    previous_ratio: FloatArray,
    *,
    margin_celsius: FloatArray,
    power_watts: FloatArray,
    elapsed_seconds: float,
    drift_celsius_per_second: FloatArray | float = 0.0,
    settings: GuardSettings = GuardSettings(),
) -> FloatArray:
    """Return the share of its full work that each GPU may do until the next reading.

    The power that would use up the margin above the guard within one period, ``P + (margin - guard) / R``, is turned
    into a share of work. Downwards it holds at once, upwards at a bounded rate. What sink and room will add within the
    period by themselves is taken off the margin first.

    Args:
        previous_ratio: The bound before, 0..1, shape ``(num_gpus,)``.
        margin_celsius: Degrees left, same shape; NaN keeps the bound.
        power_watts: Mean power since the last reading, same shape; NaN keeps the bound.
        elapsed_seconds: Time since the last reading.
        drift_celsius_per_second: From :func:`seen_drift`, same shape; cooling counts as none.
        settings: The constants.

    Returns:
        The bound, 0..1, same shape.
    """
    drifted_celsius = np.maximum(drift_celsius_per_second, 0.0) * elapsed_seconds
    spare_celsius = margin_celsius - settings.margin_celsius - drifted_celsius
    spare_watts = spare_celsius / settings.fast_resistance_celsius_per_watt
    span_watts = _span_watts(settings)
    wanted = np.clip((power_watts + spare_watts - settings.idle_watts) / span_watts, 0.0, 1.0)
    risen = previous_ratio + settings.rise_ratio_per_second * elapsed_seconds
    bound: FloatArray = np.where(np.isfinite(wanted), np.minimum(wanted, risen), previous_ratio)
    return bound


def within_sustainable(
    ratio: FloatArray,
    *,
    margin_celsius: FloatArray,
    sustainable_power_watts: FloatArray,
    settings: GuardSettings = GuardSettings(),
) -> FloatArray:
    """Return a bound that close to the limit also stays within what the GPU can sustain.

    That spares the loop through the slow heat sink: the bound need not first be seen to be too high.

    Args:
        ratio: From :func:`bounded_ratio`, 0..1, shape ``(num_gpus,)``.
        margin_celsius: Degrees left, same shape.
        sustainable_power_watts: Power whose plateau stays below the limit, same shape; NaN where not known.
        settings: The constants.

    Returns:
        The bound, never above ``ratio``, same shape.
    """
    sustained = np.clip((sustainable_power_watts - settings.idle_watts) / _span_watts(settings), 0.0, 1.0)
    is_close = (margin_celsius < settings.approach_celsius) & np.isfinite(sustained)
    bound: FloatArray = np.where(is_close, np.minimum(ratio, sustained), ratio)
    return bound


def _span_watts(settings: GuardSettings) -> float:
    """Return the power that full work adds near the limit."""
    return (settings.busy_watts - settings.idle_watts) * settings.leakage_ratio


def seen_drift(
    previous_celsius_per_second: FloatArray,
    *,
    cooled_celsius: FloatArray,
    added_watts: FloatArray,
    elapsed_seconds: float,
    settings: GuardSettings = GuardSettings(),
) -> FloatArray:
    """Return how fast each GPU warms up beyond what its own change of power explains: its sink and its room.

    Smoothed, since a sensor of whole degrees shows a slow rise as one step now and then.

    Args:
        previous_celsius_per_second: The drift before, shape ``(num_gpus,)``.
        cooled_celsius: Margin now less margin at the last reading, same shape; NaN keeps the drift.
        added_watts: Power now less power at the last reading, same shape; NaN keeps the drift.
        elapsed_seconds: Time between the two readings, > 0.
        settings: The constants.

    Returns:
        Degrees a second, same shape; positive when it warms up.
    """
    explained_celsius = settings.fast_resistance_celsius_per_watt * added_watts
    seen = (-cooled_celsius - explained_celsius) / elapsed_seconds
    weight = 1.0 - float(np.exp(-elapsed_seconds / settings.drift_memory_seconds))
    moved = previous_celsius_per_second + weight * (seen - previous_celsius_per_second)
    drift: FloatArray = np.where(np.isfinite(seen), moved, previous_celsius_per_second)
    return drift


def stale_ratio(
    last_ratio: FloatArray,
    *,
    age_seconds: float,
    settings: GuardSettings = GuardSettings(),
) -> FloatArray:
    """Return the bound on readings that no longer come: held, then decaying to the floor, never rising.

    Args:
        last_ratio: The bound at the last reading, shape ``(num_gpus,)``.
        age_seconds: Age of that reading.
        settings: The constants.

    Returns:
        The bound, same shape.
    """
    blind_seconds = max(age_seconds - settings.hold_seconds, 0.0)
    floor = np.minimum(last_ratio, settings.floor_ratio)
    bound: FloatArray = floor + (last_ratio - floor) * float(np.exp(-blind_seconds / settings.decay_seconds))
    return bound
