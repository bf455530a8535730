"""The fleet's physics solved for the work that it can bear; only perfect knowledge may ask."""

from __future__ import annotations

import math

import numpy as np

from controller.simulator.fleet import (
    DIE_TIME_CONSTANT_SECONDS,
    LEAKAGE_RATIO_PER_CELSIUS,
    LEAKAGE_REFERENCE_CELSIUS,
    SINK_TIME_CONSTANT_SECONDS,
    Fleet,
)
from forecasting.types import FloatArray

KEPT_CELSIUS = 0.3
"""Distance to the limit that is kept, for the leakage and the room that a one-step view neglects."""


def sustainable_ratio(fleet: Fleet, *, limit_celsius: float, step_seconds: float) -> FloatArray:
    """Return the most work for each GPU that keeps it below a temperature at the end of the next step.

    Args:
        fleet: The GPUs with their hidden properties.
        limit_celsius: The temperature.
        step_seconds: Length of the step.

    Returns:
        Shares of full work, 0..1, shape ``(num_gpus,)``.
    """
    die_weight = 1.0 - math.exp(-step_seconds / DIE_TIME_CONSTANT_SECONDS)
    sink_weight = 1.0 - math.exp(-step_seconds / SINK_TIME_CONSTANT_SECONDS)
    # Both relaxations are linear in the power: the die ends at still + per_watt * power.
    sink_still = fleet.sink_celsius + sink_weight * (fleet.air_celsius() - fleet.sink_celsius)
    still = fleet.die_celsius + die_weight * (sink_still - fleet.die_celsius)
    per_watt = die_weight * (fleet.die_resistance + sink_weight * fleet.sink_resistance())
    power = (limit_celsius - KEPT_CELSIUS - still) / per_watt
    gpu = fleet.gpu
    leakage = 1.0 + LEAKAGE_RATIO_PER_CELSIUS * (fleet.die_celsius - LEAKAGE_REFERENCE_CELSIUS)
    ratio: FloatArray = np.clip((power - gpu.idle_watts) / ((gpu.busy_watts - gpu.idle_watts) * leakage), 0.0, 1.0)
    return ratio
