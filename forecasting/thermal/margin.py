"""Margin first: forecasts of the degrees left, in the terms in which the hardware decides.

Recent GPUs report the degrees left to their maximum operating temperature (T.Limit). That margin, not the core
temperature, is what the driver acts on: on one H100 model temperature plus margin was 87 at idle and 85 under load.
So where a margin is exported the model is fitted on ``reference - margin``, a temperature whose limit is the reference.
Software thermal capping starts at margin 0, before slowdown, and counts as over the limit.

Called by the exporter and the command line; pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecasting.thermal.projection import FleetThermalForecast
from forecasting.types import FloatArray

MARGIN_REFERENCE_CELSIUS = 87.0
"""Stands in for the limit where only a margin is known; any value in the usual range serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """Temperatures at which a GPU model intervenes.

    Attributes:
        maximum_operating_celsius: Software thermal capping starts here; T.Limit 0.
        slowdown_offset_celsius: Hardware slowdown, degrees above that.
        shutdown_offset_celsius: Shutdown, degrees above that.
        memory_celsius: The same for memory; None if unknown.
    """

    maximum_operating_celsius: float
    slowdown_offset_celsius: float
    shutdown_offset_celsius: float
    memory_celsius: float | None = None


MODEL_LIMITS: dict[str, ModelLimits] = {
    "A100": ModelLimits(
        maximum_operating_celsius=85.0, slowdown_offset_celsius=4.0, shutdown_offset_celsius=7.0, memory_celsius=95.0
    ),
    "H100": ModelLimits(
        maximum_operating_celsius=87.0, slowdown_offset_celsius=2.0, shutdown_offset_celsius=8.0, memory_celsius=95.0
    ),
    "H200": ModelLimits(
        maximum_operating_celsius=87.0, slowdown_offset_celsius=2.0, shutdown_offset_celsius=8.0, memory_celsius=95.0
    ),
    "L40S": ModelLimits(maximum_operating_celsius=87.0, slowdown_offset_celsius=2.0, shutdown_offset_celsius=5.0),
}
"""Used only where the hardware does not say: captures of nvidia-smi (T.Limit 0, -2, -8; L40S -5) and product briefs."""


def limits_of(gpu_model: str) -> ModelLimits | None:
    """Return the limits of a product name such as ``NVIDIA H100 80GB HBM3``; None if it is not in the table."""
    words = gpu_model.upper().replace("-", " ").split()
    return next((limits for name, limits in MODEL_LIMITS.items() if name in words), None)


def temperature_from_margin(margin_celsius: FloatArray, reference_celsius: FloatArray) -> FloatArray:
    """Return what to observe where a margin is exported.

    Args:
        margin_celsius: Degrees left, any shape; NaN missing.
        reference_celsius: Temperature that stands for margin 0, same shape.

    Returns:
        Celsius, same shape; NaN stays NaN.
    """
    temperature: FloatArray = reference_celsius - margin_celsius
    return temperature


def margin_quantiles(forecast: FleetThermalForecast, limit_celsius: FloatArray) -> FloatArray:
    """Return margin quantiles of a temperature forecast.

    Args:
        forecast: Levels must be symmetric about one half (0.05 with 0.95 and so on).
        limit_celsius: Shape ``(num_gpus,)``; NaN unknown.

    Returns:
        Degrees left, shape ``(num_levels, num_gpus, num_horizons)``, ascending along the levels: the low margin is
        the high temperature.
    """
    margin: FloatArray = limit_celsius[None, :, None] - forecast.temperature_celsius[::-1]
    return margin


def least_margin(core_celsius: FloatArray, memory_celsius: FloatArray) -> FloatArray:
    """Return the smaller of two margins.

    Args:
        core_celsius: Degrees left, any shape; NaN is ignored.
        memory_celsius: The same for memory.

    Returns:
        Degrees left, same shape; NaN where both are.
    """
    return np.fmin(core_celsius, memory_celsius)
