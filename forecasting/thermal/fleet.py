"""The thermal model of a fleet: observe power and temperature, forecast temperature under any power path.

Output-error form: powers pass through a bank of low-pass filters with fixed time constants, ``T = b + d + sum g_k x_k``
with gains ``g_k >= 0``. Measured temperature is never a regressor, so whole-degree readings bias nothing, and a
filter step is exact for any distance between samples. Gains and ambient ``b`` are a maximum a posteriori fit, the
offset ``d`` (fans, room, everything unmodelled) is a scalar Kalman filter.

Called by the planner, the simulator, the exporter (a batch of its own GPUs) and the command line. Pure: time is an
argument, nothing is read or written. The last axis of every internal array is the GPU.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import InputError
from forecasting.thermal import linear
from forecasting.thermal.projection import FleetThermalForecast, Projection, forecast_fleet
from forecasting.thermal.settings import ThermalSettings
from forecasting.types import FloatArray, ThermalConfidence

BoolArray = NDArray[np.bool_]


class FleetThermalModel:
    """Thermal models of many GPUs, updated and forecast together.

    Args:
        gpus: Names, unique; they also fix when each GPU's gains are refitted, so that a batch equals its parts.
        power_limit_watts: Thermal design power or enforced limit, shape ``(num_gpus,)``; NaN is unknown.
        limit_celsius: Temperature at which the hardware slows itself down, shape ``(num_gpus,)``; NaN is unknown.
        settings: Constants.

    Raises:
        InputError: If shapes or names do not fit.
    """

    def __init__(
        self,
        *,
        gpus: tuple[str, ...],
        power_limit_watts: FloatArray,
        limit_celsius: FloatArray,
        settings: ThermalSettings = ThermalSettings(),  # noqa: B008 (frozen, so one shared default is safe)
    ) -> None:
        """Start every GPU at the class prior."""
        if len(set(gpus)) != len(gpus):
            raise InputError("FleetThermalModel.gpus: names must be unique; use UUIDs")
        self.settings = settings
        self.gpus = gpus
        self.limit_celsius = _vector(limit_celsius, len(gpus), "limit_celsius").copy()
        limit = _vector(power_limit_watts, len(gpus), "power_limit_watts")
        known = np.isfinite(limit) & (limit > 0.0)
        self.power_limit_watts = np.where(known, limit, settings.unknown_power_limit_watts)
        self._time_constants = np.asarray(settings.time_constants_seconds)
        phases = np.array([zlib.crc32(name.encode()) for name in gpus], dtype=np.float64)
        self._refit_phase = phases / 2.0**32
        num_gains, num_gpus = self._time_constants.size, len(gpus)
        self._now_seconds = np.nan
        self._filtered = np.zeros((num_gains, num_gpus))
        self._last_power = np.zeros(num_gpus)
        self._started = np.zeros(num_gpus, dtype=np.bool_)
        self._last_seen_seconds = np.full(num_gpus, np.nan)
        self._power_mean = np.zeros(num_gpus)
        self._power_variance = np.zeros(num_gpus)
        self._evidence_seconds = np.zeros(num_gpus)
        self._offset = np.zeros(num_gpus)
        self._offset_variance = np.full(num_gpus, settings.ambient_deviation_celsius)
        shares = np.asarray(settings.prior_shares)
        self._set_prior(np.repeat((settings.prior_rise_celsius * shares)[:, None], num_gpus, axis=1))

    def _set_prior(self, gains: FloatArray) -> None:
        """Start from prior mean ``gains`` (kelvin at the power limit, shape ``(num_gains, num_gpus)``)."""
        settings = self.settings
        num_gains, num_gpus = gains.shape
        deviation = settings.prior_relative_deviation * gains + settings.prior_common_deviation * gains.sum(axis=0)
        self._prior_precision = np.vstack(
            [np.full(num_gpus, settings.ambient_deviation_celsius**-2.0), np.maximum(deviation, 1e-3) ** -2.0]
        )
        self._prior_mean = np.vstack([np.zeros(num_gpus), gains])
        self._parameters = self._prior_mean.copy()
        self._passive = self._parameters > 0.0
        self._passive[0] = True
        self._matrix = np.zeros((linear.packed_size(num_gains + 1), num_gpus))
        self._right = np.zeros((num_gains + 1, num_gpus))
        self._factor = linear.cholesky(self._posterior_matrix(slice(None)), num_gains + 1)

    # -- views ---------------------------------------------------------------------------------------------------

    @property
    def time_constants_seconds(self) -> FloatArray:
        """Time constants of the bank, shape ``(num_tc,)``."""
        return _read_only(self._time_constants)

    @property
    def gains(self) -> FloatArray:
        """Plateau rise per watt of each time constant, kelvin per watt, shape ``(num_gpus, num_tc)``."""
        return _read_only((self._parameters[1:] / self.power_limit_watts).T)

    @property
    def filtered_power_watts(self) -> FloatArray:
        """Low-passed power, shape ``(num_gpus, num_tc)``."""
        return _read_only((self._filtered * self.power_limit_watts).T)

    @property
    def offset_celsius(self) -> FloatArray:
        """Temperature at zero power (ambient plus tracked offset), shape ``(num_gpus,)``."""
        return _read_only(self._parameters[0] + self._offset)

    @property
    def thermal_resistance_celsius_per_watt(self) -> FloatArray:
        """Plateau rise per watt: the sum of the gains, shape ``(num_gpus,)``."""
        total: FloatArray = self._parameters[1:].sum(axis=0) / self.power_limit_watts
        return _read_only(total)

    @property
    def confidence(self) -> NDArray[np.object_]:
        """Where the gains come from, shape ``(num_gpus,)`` of ``ThermalConfidence``."""
        fitted = self._evidence_seconds >= self.settings.evidence_seconds * 2.0
        return np.where(fitted, ThermalConfidence.FITTED, ThermalConfidence.NONE).astype(object)

    # -- learning ------------------------------------------------------------------------------------------------

    def observe(
        self,
        *,
        now_seconds: float,
        temperature_celsius: FloatArray,
        power_watts: FloatArray,
        utilization_ratio: FloatArray | None = None,
        throttled: BoolArray | None = None,
    ) -> None:
        """Take one sample of every GPU.

        Args:
            now_seconds: Time of the sample; not later than the last one is ignored.
            temperature_celsius: Shape ``(num_gpus,)``; NaN is missing.
            power_watts: Mean since the last sample, shape ``(num_gpus,)``; NaN is missing.
            utilization_ratio: Busy share 0..1, shape ``(num_gpus,)``; tells a frozen reading from an idle GPU.
            throttled: True where the hardware held power down for heat; gains are not learned from such samples.
        """
        num_gpus = len(self.gpus)
        temperature = _vector(temperature_celsius, num_gpus, "temperature_celsius")
        power = _vector(power_watts, num_gpus, "power_watts") / self.power_limit_watts
        settings = self.settings
        with np.errstate(invalid="ignore"):
            power_known = (power >= 0.0) & (power <= settings.maximum_power_ratio)
            temperature_known = (temperature >= settings.minimum_temperature_celsius) & (
                temperature <= settings.maximum_temperature_celsius
            )
        elapsed = now_seconds - self._now_seconds
        if not np.isfinite(now_seconds) or elapsed <= 0.0:
            return
        self._now_seconds = now_seconds
        power = np.where(power_known, power, self._last_power)
        if np.isfinite(elapsed):
            self._advance(elapsed, power)
        usable = power_known & temperature_known
        self._restart(usable, now_seconds, power, temperature)
        self._last_power = power
        self._last_seen_seconds = np.where(usable, now_seconds, self._last_seen_seconds)
        learning = usable if throttled is None else usable & ~np.asarray(throttled, dtype=np.bool_)
        if np.isfinite(elapsed):
            self._learn(elapsed, learning, temperature)
            self._track(elapsed, usable, temperature)

    def _advance(self, elapsed_seconds: float, power: FloatArray) -> None:
        """Step the filters through ``elapsed_seconds`` at ``power`` (ratio of the limit), exactly."""
        keep = np.exp(-elapsed_seconds / self._time_constants)[:, None]
        self._filtered *= keep
        self._filtered += (1.0 - keep) * power
        share = -np.expm1(-elapsed_seconds / self.settings.excitation_seconds)
        difference = power - self._power_mean
        self._power_mean += share * difference
        self._power_variance = (1.0 - share) * (self._power_variance + share * difference**2)

    def _restart(self, usable: BoolArray, now_seconds: float, power: FloatArray, temperature: FloatArray) -> None:
        """Put GPUs that are new, or back after a long gap, into steady state at their present power."""
        settings = self.settings
        gap = now_seconds - self._last_seen_seconds
        fresh = usable & ~self._started
        back = usable & self._started & (gap > settings.gap_reset_seconds)
        chosen = fresh | back
        if not chosen.any():
            return
        self._filtered[:, chosen] = power[chosen]
        self._power_mean[chosen] = power[chosen]
        self._power_variance[chosen] = 0.0
        plateau = self._parameters[1:].sum(axis=0) * power
        ambient = temperature - plateau
        self._prior_mean[0, fresh] = ambient[fresh]
        self._parameters[0, fresh] = ambient[fresh]
        self._offset[chosen] = (ambient - self._parameters[0])[chosen]
        self._offset_variance[back] = settings.restart_offset_deviation_celsius**2
        self._started |= fresh

    def _learn(self, elapsed_seconds: float, learning: BoolArray, temperature: FloatArray) -> None:
        """Fade old evidence, add the sample's, and refit the GPUs whose turn it is."""
        settings = self.settings
        gate = np.minimum(1.0, self._power_variance / settings.excitation_ratio**2) * learning
        fade = np.exp(-elapsed_seconds / settings.memory_seconds * gate)
        weight = gate * min(1.0, elapsed_seconds / settings.evidence_seconds) / settings.evidence_deviation_celsius**2
        sample = np.vstack([np.ones_like(temperature), self._filtered])
        self._matrix *= fade
        self._right *= fade
        linear.add_outer_product(self._matrix, sample, weight)
        self._right += sample * (weight * np.where(learning, temperature, 0.0))
        self._evidence_seconds = self._evidence_seconds * fade + gate * elapsed_seconds
        turn = self._now_seconds / settings.refit_seconds + self._refit_phase
        due = np.floor(turn) > np.floor(turn - elapsed_seconds / settings.refit_seconds)
        due &= gate > 0.0
        if due.any():
            self._refit(np.flatnonzero(due))

    def _posterior_matrix(self, chosen: slice | NDArray[np.intp]) -> FloatArray:
        """Return evidence plus prior precision of ``chosen`` GPUs, packed."""
        matrix: FloatArray = np.array(self._matrix[:, chosen])
        for row in range(self._prior_precision.shape[0]):
            matrix[linear.packed_index(row, row)] += self._prior_precision[row, chosen]
        return matrix

    def _refit(self, chosen: NDArray[np.intp]) -> None:
        """Solve for ambient and non-negative gains again; what they explain anew leaves the offset."""
        matrix = self._posterior_matrix(chosen)
        prior = self._prior_precision[:, chosen] * self._prior_mean[:, chosen]
        parameters, passive = linear.solve_non_negative(
            matrix, self._right[:, chosen] + prior, self._passive[:, chosen]
        )
        change = self._parameters[:, chosen] - parameters
        self._offset[chosen] += change[0] + np.sum(change[1:] * self._filtered[:, chosen], axis=0)
        self._parameters[:, chosen] = parameters
        self._passive[:, chosen] = passive
        self._factor[:, chosen] = linear.cholesky(matrix, parameters.shape[0])

    def _track(self, elapsed_seconds: float, usable: BoolArray, temperature: FloatArray) -> None:
        """Update the offset by a scalar Kalman filter with clipped innovations."""
        settings = self.settings
        self._offset_variance = np.minimum(
            self._offset_variance + settings.offset_drift_celsius**2 * elapsed_seconds,
            settings.restart_offset_deviation_celsius**2,
        )
        noise = settings.reading_deviation_celsius**2
        innovation = np.where(usable, temperature - self._modelled(), 0.0)
        total = self._offset_variance + noise
        gain = np.where(usable, self._offset_variance / total, 0.0)
        bound = settings.outlier_deviations * np.sqrt(total)
        self._offset += gain * np.clip(innovation, -bound, bound)
        self._offset_variance *= 1.0 - gain

    def _modelled(self) -> FloatArray:
        """Return the modelled temperature now, celsius, shape ``(num_gpus,)``."""
        rise = np.sum(self._parameters[1:] * self._filtered, axis=0)
        temperature: FloatArray = self._parameters[0] + self._offset + rise
        return temperature

    # -- forecasting ---------------------------------------------------------------------------------------------

    def forecast(
        self,
        *,
        horizons_seconds: FloatArray,
        power_watts: FloatArray,
        levels: tuple[float, ...] = (0.05, 0.5, 0.95),
    ) -> FleetThermalForecast:
        """Forecast temperature quantiles and the time to slowdown under a power path.

        Args:
            horizons_seconds: Ascending, > 0, shape ``(num_horizons,)``.
            power_watts: Constant power, shape ``(num_gpus,)``, or mean power of the interval that ends at each
                horizon, shape ``(num_gpus, num_horizons)``; capped at the power limit.
            levels: Quantile levels, ascending, in (0, 1).

        Returns:
            The forecast; GPUs that were never seen have NaN-free values from the prior.

        Raises:
            InputError: If horizons, powers or levels do not fit.
        """
        horizons = _horizons(horizons_seconds)
        path = np.asarray(power_watts, dtype=np.float64)
        if path.ndim == 1:
            path = np.repeat(path[:, None], horizons.size, axis=1)
        if path.shape != (len(self.gpus), horizons.size):
            raise InputError(f"power_watts: shape {path.shape}, expected ({len(self.gpus)}, {horizons.size})")
        ratio = path.T / self.power_limit_watts
        ratio = np.clip(np.where(np.isfinite(ratio), ratio, self._last_power), 0.0, 1.0)
        projection = Projection(
            settings=self.settings,
            filtered=self._filtered,
            parameters=self._parameters,
            factor=self._factor,
            offset=self._offset,
            offset_variance=self._offset_variance,
            limit_celsius=self.limit_celsius,
        )
        return forecast_fleet(projection, gpus=self.gpus, horizons_seconds=horizons, power_ratio=ratio, levels=levels)


def _vector(values: FloatArray, num_gpus: int, name: str) -> FloatArray:
    """Return ``values`` as float64 of shape ``(num_gpus,)`` or say what is wrong with it."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (num_gpus,):
        raise InputError(f"{name}: shape {array.shape}, expected ({num_gpus},): one value per GPU")
    return array


def _horizons(values: FloatArray) -> FloatArray:
    """Return horizons as float64, checked to be positive and ascending."""
    horizons = np.asarray(values, dtype=np.float64)
    if horizons.ndim != 1 or horizons.size == 0 or not horizons[0] > 0.0 or not np.all(np.diff(horizons) > 0.0):
        raise InputError("horizons_seconds: must be positive and ascending, with at least one horizon")
    return horizons


def _read_only(array: FloatArray) -> FloatArray:
    """Return a view that refuses writing."""
    view = array.view()
    view.flags.writeable = False
    return view
