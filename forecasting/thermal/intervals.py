"""How wide the intervals must be: online conformal scaling per GPU and horizon, in constant memory.

The model's own standard deviation is too small on every recorded set (nominal 90 % covers half to 86 %), so it is
scaled by a factor that follows what past forecasts missed. Every few seconds the calibration keeps a snapshot of the
model (parameters only); when a snapshot is ``h`` old, the filters have meanwhile seen the true power, so its forecast
under known power is one multiplication, and its error is scored. A miss widens, a hit narrows, nine to one, which
settles where one score in ten misses (quantile tracking; Gibbs and Candes, "Adaptive conformal inference under
distribution shift", NeurIPS 2021). Half of each step is shared by all horizons, so that ten minutes learn from one.

Called by the fleet model; it must not touch the model's state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.thermal.settings import ThermalSettings
from forecasting.types import FloatArray

NORMAL_90 = 1.6448536269514722
"""Half-width of the central 90 % of a standard normal, in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """What a later score needs of the model.

    Attributes:
        parameters: Ambient and gains, shape ``(num_tc + 1, num_gpus)``.
        offset: Shape ``(num_gpus,)``.
        rise: Modelled rise over ambient, shape ``(num_gpus,)``.
        base_variance: Variance of offset and reading, shape ``(num_gpus,)``.
        relative_deviation: Of the plateau rise, shape ``(num_gpus,)``.
    """

    parameters: FloatArray
    offset: FloatArray
    rise: FloatArray
    base_variance: FloatArray
    relative_deviation: FloatArray


def model_deviation(
    settings: ThermalSettings, *, base_variance: FloatArray, relative_deviation: FloatArray, change: FloatArray
) -> FloatArray:
    """Return the model's own standard deviation: reading and offset, and gains in proportion to the change.

    Args:
        settings: Constants.
        base_variance: Variance of offset and reading, shape ``(num_gpus,)``.
        relative_deviation: Of the plateau rise, shape ``(num_gpus,)``.
        change: Forecast change in rise, kelvin, shape ``(num_gpus,)``.

    Returns:
        Kelvin, shape ``(num_gpus,)``.
    """
    share = relative_deviation**2 + settings.structural_ratio**2
    deviation: FloatArray = np.sqrt(base_variance + share * change**2)
    return deviation


class IntervalCalibration:
    """Scores past forecasts and keeps the factors.

    Args:
        num_gpus: Number of GPUs.
        settings: Horizons, spacing and rates.
    """

    def __init__(self, *, num_gpus: int, settings: ThermalSettings) -> None:
        """Start at the initial factor, without snapshots."""
        self._settings = settings
        self._horizons = np.asarray(settings.calibration_horizons_seconds)
        num_horizons = self._horizons.size
        num_slots = int(np.ceil(self._horizons[-1] / settings.calibration_spacing_seconds)) + 1
        num_values = len(settings.time_constants_seconds) + 5
        self._ring: NDArray[np.float32] = np.zeros((num_slots, num_values, num_gpus), dtype=np.float32)
        self._issued: FloatArray = np.full(num_slots, np.nan)
        self._valid: NDArray[np.bool_] = np.zeros((num_slots, num_gpus), dtype=np.bool_)
        self._next_slot = 0
        self._last_seconds = -np.inf
        self._log_factor: FloatArray = np.zeros((num_horizons, num_gpus))
        self._common: FloatArray = np.full(num_gpus, np.log(settings.start_interval_factor))
        self.num_scored: NDArray[np.int32] = np.zeros((num_horizons, num_gpus), dtype=np.int32)
        self.num_missed: NDArray[np.int32] = np.zeros((num_horizons, num_gpus), dtype=np.int32)

    def factor(self, horizon_seconds: float, chosen: slice) -> FloatArray:
        """Return what to multiply the model's deviation with.

        Between calibrated horizons the logarithm is interpolated over the logarithm of time; outside, the nearest
        counts.

        Args:
            horizon_seconds: How far ahead.
            chosen: Which GPUs.

        Returns:
            Factors, shape ``(num_chosen,)``.
        """
        positions = np.arange(self._horizons.size, dtype=np.float64)
        position = float(np.interp(np.log(max(horizon_seconds, 1.0)), np.log(self._horizons), positions))
        lower = int(position)
        upper = min(lower + 1, self._horizons.size - 1)
        weight = position - lower
        blended = (1.0 - weight) * self._log_factor[lower, chosen] + weight * self._log_factor[upper, chosen]
        factor: FloatArray = np.exp(self._common[chosen] + blended)
        return factor

    def observe(
        self,
        *,
        now_seconds: float,
        filtered: FloatArray,
        temperature: FloatArray,
        usable: NDArray[np.bool_],
        snapshot: Snapshot,
    ) -> None:
        """Score matured snapshots against a reading and keep a new one, at most once per spacing.

        Args:
            now_seconds: Time of the reading.
            filtered: Filters now, shape ``(num_tc, num_gpus)``.
            temperature: Celsius, shape ``(num_gpus,)``.
            usable: Where the reading may be believed.
            snapshot: The model now.
        """
        spacing = self._settings.calibration_spacing_seconds
        if now_seconds - self._last_seconds < spacing * (1.0 - 1e-9):
            return
        tolerance = 0.5 * max(spacing, now_seconds - self._last_seconds)
        self._last_seconds = now_seconds
        age = now_seconds - self._issued
        for index, horizon in enumerate(self._horizons):
            distance = np.where(np.isfinite(age), np.abs(age - horizon), np.inf)
            slot = int(np.argmin(distance))
            if distance[slot] <= tolerance:
                self._score(index, slot, float(age[slot]), filtered, temperature, usable)
        slot = self._next_slot
        self._ring[slot] = np.vstack(
            [
                snapshot.parameters,
                snapshot.offset,
                snapshot.rise,
                snapshot.base_variance,
                snapshot.relative_deviation,
            ]
        )
        self._issued[slot] = now_seconds
        self._valid[slot] = usable
        self._next_slot = (slot + 1) % self._issued.size

    def _score(
        self,
        index: int,
        slot: int,
        age_seconds: float,
        filtered: FloatArray,
        temperature: FloatArray,
        usable: NDArray[np.bool_],
    ) -> None:
        """Move the factors of one horizon by whether its interval held the reading."""
        settings = self._settings
        kept = self._ring[slot]
        num_gains = filtered.shape[0]
        ambient, gains = kept[0], kept[1 : num_gains + 1]
        offset, rise_then, base_variance, relative = kept[num_gains + 1 :]
        rise = np.sum(gains * filtered, axis=0)
        expected = ambient + rise + offset * np.exp(-age_seconds / settings.offset_decay_seconds)
        deviation = model_deviation(
            settings, base_variance=base_variance, relative_deviation=relative, change=rise - rise_then
        )
        scored = usable & self._valid[slot]
        bound = NORMAL_90 * deviation * np.exp(self._common + self._log_factor[index])
        missed = np.abs(np.where(scored, temperature, expected) - expected) > bound
        step = np.where(scored, np.where(missed, 1.0 - settings.miss_rate, -settings.miss_rate), 0.0)
        rate = settings.calibration_rate
        lowest, highest = np.log(settings.smallest_factor), np.log(settings.largest_factor)
        self._common = np.clip(self._common + rate * settings.shared_rate * step, lowest, highest)
        self._log_factor[index] = np.clip(self._log_factor[index] + rate * step, lowest, highest)
        self.num_scored[index] += scored
        self.num_missed[index] += scored & missed

    def coverage(self) -> FloatArray:
        """Return the observed coverage per calibrated horizon over all GPUs; NaN where nothing was scored."""
        scored = self.num_scored.sum(axis=1).astype(np.float64)
        return np.where(scored > 0, 1.0 - self.num_missed.sum(axis=1) / np.maximum(scored, 1.0), np.nan)
