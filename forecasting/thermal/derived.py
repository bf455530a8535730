"""What operators ask of a thermal model: headroom, sustainable power, drift, inlet, common mode.

Called by the exporter, the command line and the planner. Pure functions on a model's views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import InputError
from forecasting.thermal.bank import unsaturate
from forecasting.thermal.fleet import FleetThermalModel
from forecasting.types import FloatArray, ThermalConfidence

HOT_OUTLIER_DEVIATIONS = 4.0
"""A GPU this many (scaled) median absolute deviations above its siblings is an outlier."""

HOT_OUTLIER_CELSIUS = 8.0
"""It must also be this much hotter; siblings that agree closely make small differences look large."""

MAD_TO_DEVIATION = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""


def plateau_celsius(model: FleetThermalModel) -> FloatArray:
    """Return the temperature after a long time at the power limit, shape ``(num_gpus,)``."""
    temperature: FloatArray = (
        model.ambient_celsius + model.thermal_resistance_celsius_per_watt * model.power_limit_watts
    )
    return temperature


def headroom_at_limit_celsius(model: FleetThermalModel) -> FloatArray:
    """Return degrees between slowdown and the plateau at full power, shape ``(num_gpus,)``; NaN: limit unknown."""
    headroom: FloatArray = model.limit_celsius - plateau_celsius(model)
    return headroom


def sustainable_power_watts(model: FleetThermalModel) -> FloatArray:
    """Return the power that can be held for ever with the guard kept, shape ``(num_gpus,)``; NaN: limit unknown.

    Solves ``ambient + rise * s(u) = limit - guard`` for the power ratio ``u``; between 0 and the power limit.
    """
    rise = np.maximum(model.plateau_gains_celsius.sum(axis=1), model.settings.smallest_rise_celsius)
    effective = (model.limit_celsius - model.guard_celsius - model.ambient_celsius) / rise
    watts: FloatArray = model.power_limit_watts * unsaturate(np.clip(effective, 0.0, 1.0), model.settings.saturation)
    return np.where(np.isfinite(model.limit_celsius), watts, np.nan)


def group_median(values: FloatArray, groups: NDArray[np.intp]) -> FloatArray:
    """Return for every GPU the median of its group.

    Args:
        values: Shape ``(num_gpus,)``; NaN is ignored.
        groups: Number of the group of each GPU, shape ``(num_gpus,)``.

    Returns:
        Medians, shape ``(num_gpus,)``; NaN for a group without values.
    """
    medians = np.full(values.shape, np.nan)
    for group in np.unique(groups):
        inside = groups == group
        finite = values[inside & np.isfinite(values)]
        if finite.size:
            medians[inside] = np.median(finite)
    return medians


def inlet_temperature_celsius(model: FleetThermalModel, nodes: NDArray[np.intp]) -> FloatArray:
    """Estimate the inlet: the median over the node's GPUs of the temperature at zero power.

    A single hot GPU (a bad mount, recorded 20 K above its siblings) does not move the median.

    Args:
        model: The GPUs.
        nodes: Number of the node of each GPU, shape ``(num_gpus,)``.

    Returns:
        Celsius, shape ``(num_gpus,)``; NaN: no GPU of the node was read yet.
    """
    return group_median(np.where(model.started, model.ambient_celsius, np.nan), nodes)


def common_mode_celsius(now_celsius: FloatArray, before_celsius: FloatArray, groups: NDArray[np.intp]) -> FloatArray:
    """Return how far a rack's or node's temperature at zero power moved together.

    Args:
        now_celsius: ``ambient_celsius`` now.
        before_celsius: The same some time ago (15 minutes by default of the alerts).
        groups: Number of the node or rack of each GPU.

    Returns:
        Kelvin, shape ``(num_gpus,)``.
    """
    return group_median(now_celsius - before_celsius, groups)


def hot_outlier(model: FleetThermalModel, groups: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which GPUs are hotter at zero power than their siblings can explain.

    Args:
        model: The GPUs.
        groups: Number of the siblings' group of each GPU, shape ``(num_gpus,)``.

    Returns:
        Shape ``(num_gpus,)``.
    """
    value = np.where(model.started, model.ambient_celsius, np.nan)
    excess = value - group_median(value, groups)
    spread = MAD_TO_DEVIATION * group_median(np.abs(excess), groups)
    with np.errstate(invalid="ignore"):
        outlier: NDArray[np.bool_] = (excess > HOT_OUTLIER_DEVIATIONS * spread) & (excess > HOT_OUTLIER_CELSIUS)
    return outlier


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResistanceDrift:
    """How the thermal resistance moved.

    Attributes:
        against_past_ratio: Resistance over the GPU's own baseline, minus 1; NaN without one. Shape ``(num_gpus,)``.
        against_siblings_ratio: Resistance over the median of fitted siblings, minus 1; NaN without one.
        significant: Above 15 % and three standard deviations against its own past.
    """

    against_past_ratio: FloatArray
    against_siblings_ratio: FloatArray
    significant: NDArray[np.bool_]


class ResistanceBaseline:
    """Each GPU's own thermal resistance over the past week, so that dust and failing fans show.

    Args:
        num_gpus: Number of GPUs.
        memory_seconds: Time constant of the average; a week.
        tolerance_ratio: Drift above this is reported.
        deviations: Drift must also exceed this many standard deviations of the present fit.
    """

    def __init__(
        self,
        *,
        num_gpus: int,
        memory_seconds: float = 7.0 * 86400.0,
        tolerance_ratio: float = 0.15,
        deviations: float = 3.0,
    ) -> None:
        """Start without a past."""
        self._memory_seconds = memory_seconds
        self._tolerance_ratio = tolerance_ratio
        self._deviations = deviations
        self.celsius_per_watt: FloatArray = np.full(num_gpus, np.nan)

    def observe(self, model: FleetThermalModel, *, elapsed_seconds: float) -> None:
        """Average in the resistance of fitted GPUs.

        Args:
            model: The GPUs.
            elapsed_seconds: Since the last call.
        """
        fitted = model.confidence == ThermalConfidence.FITTED
        present = model.thermal_resistance_celsius_per_watt
        share = -np.expm1(-max(elapsed_seconds, 0.0) / self._memory_seconds)
        old = np.where(np.isfinite(self.celsius_per_watt), self.celsius_per_watt, present)
        self.celsius_per_watt = np.where(fitted, old + share * (present - old), self.celsius_per_watt)

    def restore(self, celsius_per_watt: FloatArray) -> None:
        """Continue from a stored baseline, shape ``(num_gpus,)``; NaN: none.

        Raises:
            InputError: If the shape does not fit.
        """
        if celsius_per_watt.shape != self.celsius_per_watt.shape:
            raise InputError(f"baseline: shape {celsius_per_watt.shape}, expected {self.celsius_per_watt.shape}")
        self.celsius_per_watt = celsius_per_watt.copy()

    def drift(self, model: FleetThermalModel, groups: NDArray[np.intp]) -> ResistanceDrift:
        """Compare each GPU with its own past and with its siblings.

        Args:
            model: The GPUs.
            groups: Number of the siblings' group of each GPU, shape ``(num_gpus,)``.

        Returns:
            The drift of each GPU.
        """
        present = model.thermal_resistance_celsius_per_watt
        fitted = model.confidence == ThermalConfidence.FITTED
        past = np.where(fitted, present / self.celsius_per_watt - 1.0, np.nan)
        siblings = group_median(np.where(fitted, present, np.nan), groups)
        with np.errstate(invalid="ignore"):
            significant = (past > self._tolerance_ratio) & (past > self._deviations * model.resistance_deviation_ratio)
        return ResistanceDrift(
            against_past_ratio=past,
            against_siblings_ratio=np.where(fitted, present / siblings - 1.0, np.nan),
            significant=significant,
        )
