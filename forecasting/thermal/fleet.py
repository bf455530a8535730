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
from forecasting.thermal.arrays import ascending_horizons, bounded, gpu_vector, read_only
from forecasting.thermal.bank import PowerBank, saturate, unsaturate
from forecasting.thermal.gains import GainEstimator
from forecasting.thermal.health import SampleCheck, SampleState
from forecasting.thermal.intervals import IntervalCalibration, Snapshot
from forecasting.thermal.projection import FleetThermalForecast, Projection, forecast_fleet
from forecasting.thermal.settings import ThermalSettings
from forecasting.types import FloatArray, ThermalConfidence

BoolArray = NDArray[np.bool_]

CONFIDENCE: NDArray[np.object_] = np.empty(3, dtype=object)
"""Confidence by rank. Filled one by one: numpy turns members of a string enumeration into plain strings otherwise."""

for _rank, _confidence in enumerate((ThermalConfidence.NONE, ThermalConfidence.FLEET_PRIOR, ThermalConfidence.FITTED)):
    CONFIDENCE[_rank] = _confidence


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
        num_gpus = len(gpus)
        self.settings = settings
        self.gpus = gpus
        self.limit_celsius = gpu_vector(limit_celsius, num_gpus, "limit_celsius").copy()
        limit = gpu_vector(power_limit_watts, num_gpus, "power_limit_watts")
        known = np.isfinite(limit) & (limit > 0.0)
        self.power_limit_watts = np.where(known, limit, settings.unknown_power_limit_watts)
        self._power_cap_ratio = np.where(known, 1.0, settings.largest_power_watts / self.power_limit_watts)
        self._refit_phase = np.array([zlib.crc32(name.encode()) / 2.0**32 for name in gpus])
        self._bank = PowerBank(num_gpus=num_gpus, settings=settings)
        self._gains = GainEstimator(num_gpus=num_gpus, settings=settings)
        self._check = SampleCheck(power_limit_watts=self.power_limit_watts, limit_known=known, settings=settings)
        self._calibration = IntervalCalibration(num_gpus=num_gpus, settings=settings)
        self._now_seconds = np.nan
        self._blur_seconds = 0.0
        self._last_power = np.zeros(num_gpus)
        self._last_reading = np.full(num_gpus, np.nan)
        self._started: BoolArray = np.zeros(num_gpus, dtype=np.bool_)
        self._has_history: BoolArray = np.zeros(num_gpus, dtype=np.bool_)
        self._last_seen_seconds = np.full(num_gpus, np.nan)
        self._offset = np.zeros(num_gpus)
        self._offset_variance = np.full(num_gpus, settings.start_offset_deviation_celsius**2)
        self._noise_variance = np.full(num_gpus, settings.reading_deviation_celsius**2)

    # -- views ---------------------------------------------------------------------------------------------------

    @property
    def time_constants_seconds(self) -> FloatArray:
        """Time constants of the bank, shape ``(num_tc,)``."""
        return read_only(self._bank.time_constants)

    @property
    def gains(self) -> FloatArray:
        """Gains of the linear form, kelvin per watt, shape ``(num_gpus, num_tc)``.

        The linear form is ``T = offset_celsius + sum_k gains_k x_k`` with ``x`` starting at ``filtered_power_watts``
        and relaxing to the power path. It is the chord of the model from its present state to the power limit: exact
        now, exact for a plateau at the limit, and cautious about how much a fall in power cools.
        """
        ratio = self._filtered_ratio()
        chord = 1.0 - self.settings.saturation * ratio
        return read_only((self._gains.parameters[1:] * chord / self.power_limit_watts).T)

    @property
    def filtered_power_watts(self) -> FloatArray:
        """Low-passed power, shape ``(num_gpus, num_tc)``."""
        return read_only((self._filtered_ratio() * self.power_limit_watts).T)

    @property
    def offset_celsius(self) -> FloatArray:
        """Intercept of the linear form of ``gains``, celsius, shape ``(num_gpus,)``; see ``ambient_celsius``."""
        ratio = self._filtered_ratio()
        curved = self._bank.filtered - (1.0 - self.settings.saturation * ratio) * ratio
        return read_only(self.ambient_celsius + np.sum(self._gains.parameters[1:] * curved, axis=0))

    @property
    def ambient_celsius(self) -> FloatArray:
        """Temperature at zero power (ambient ``b`` plus tracked offset ``d``), shape ``(num_gpus,)``."""
        return read_only(self._gains.parameters[0] + self._offset)

    @property
    def thermal_resistance_celsius_per_watt(self) -> FloatArray:
        """Plateau rise at the power limit over that limit, shape ``(num_gpus,)``; does not move with the load."""
        total: FloatArray = self._gains.parameters[1:].sum(axis=0) / self.power_limit_watts
        return read_only(total)

    @property
    def resistance_deviation_ratio(self) -> FloatArray:
        """Relative standard deviation of the thermal resistance, shape ``(num_gpus,)``."""
        return read_only(self._gains.relative_deviation)

    @property
    def confidence(self) -> NDArray[np.object_]:
        """Where the gains come from, shape ``(num_gpus,)`` of ``ThermalConfidence``."""
        fitted = self._gains.evidence_seconds >= self.settings.fitted_seconds
        return CONFIDENCE[np.where(fitted, 2, self._has_history.astype(np.intp))]

    @property
    def guard_celsius(self) -> FloatArray:
        """Degrees to keep below the limit: wider where nothing was ever learned, shape ``(num_gpus,)``."""
        unknown = self.confidence == ThermalConfidence.NONE
        return np.where(unknown, self.settings.unfitted_guard_celsius, self.settings.guard_celsius)

    @property
    def sample_state(self) -> NDArray[np.int8]:
        """What became of the last sample, shape ``(num_gpus,)`` of ``SampleState`` values."""
        return self._check.state

    @property
    def sensor_alert(self) -> BoolArray:
        """True where impossible readings keep coming, shape ``(num_gpus,)``."""
        return self._check.sensor_alert

    @property
    def started(self) -> BoolArray:
        """True where at least one good sample was seen, shape ``(num_gpus,)``."""
        return self._started.copy()

    @property
    def calibration(self) -> IntervalCalibration:
        """Scores of past forecasts."""
        return self._calibration

    @property
    def plateau_gains_celsius(self) -> FloatArray:
        """Plateau rise at the power limit of each time constant, kelvin, shape ``(num_gpus, num_tc)``."""
        return read_only(self._gains.parameters[1:].T)

    def _filtered_ratio(self) -> FloatArray:
        """Return the filters as power ratios, shape ``(num_tc, num_gpus)``."""
        return unsaturate(self._bank.filtered, self.settings.saturation)

    # -- learning ------------------------------------------------------------------------------------------------

    def adopt_prior(self, *, chosen: BoolArray, plateau_gains_celsius: FloatArray) -> None:
        """Start ``chosen`` GPUs from better gains than the class prior: own history, slot, fleet or model.

        Args:
            chosen: Shape ``(num_gpus,)``.
            plateau_gains_celsius: Kelvin at the power limit, shape ``(num_gpus, num_tc)``, finite where chosen.

        Raises:
            InputError: If a chosen gain is negative or not finite.
        """
        indices = np.flatnonzero(chosen)
        if indices.size == 0:
            return
        gains = np.asarray(plateau_gains_celsius, dtype=np.float64)[indices].T
        if not np.all(np.isfinite(gains)) or np.any(gains < 0.0):
            raise InputError("plateau_gains_celsius: a prior gain is negative or not finite; leave that GPU out")
        before = self._modelled()
        self._gains.set_prior(indices, gains)
        fresh = np.zeros(len(self.gpus), dtype=np.bool_)
        fresh[indices] = self._started[indices] & (self._gains.evidence_seconds[indices] == 0.0)
        self._gains.set_ambient(fresh, before - self._offset - self._rise())
        self._offset[indices] += (before - self._modelled())[indices]
        self._has_history[indices] = True

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
            now_seconds: Time of the sample; one not later than the last is ignored.
            temperature_celsius: Shape ``(num_gpus,)``; NaN is missing.
            power_watts: Mean since the last sample, shape ``(num_gpus,)``; NaN is missing.
            utilization_ratio: Busy share 0..1, shape ``(num_gpus,)``; tells a frozen reading from an idle GPU.
            throttled: True where the hardware held power down for heat; gains are not learned from such samples.

        Raises:
            InputError: If a shape does not fit.
        """
        num_gpus = len(self.gpus)
        temperature = gpu_vector(temperature_celsius, num_gpus, "temperature_celsius")
        power = gpu_vector(power_watts, num_gpus, "power_watts")
        elapsed = now_seconds - self._now_seconds
        if not np.isfinite(now_seconds) or elapsed <= 0.0:
            return
        self._blur_seconds = elapsed if np.isfinite(elapsed) else 0.0
        self._now_seconds = now_seconds
        self._check.judge(
            elapsed_seconds=elapsed,
            temperature=temperature,
            power_watts=power,
            utilization_ratio=utilization_ratio,
            throttled=throttled,
        )
        good = self._check.state == SampleState.GOOD
        usable = good | (self._check.state == SampleState.THROTTLED)
        ratio = np.where(usable, power / self.power_limit_watts, self._last_power)
        temperature = np.where(usable, temperature, 0.0)
        first = not np.isfinite(elapsed)
        if not first:
            self._bank.advance(elapsed, ratio)
        self._restart(usable, ratio, temperature)
        self._last_power = ratio
        self._last_seen_seconds = np.where(usable, now_seconds, self._last_seen_seconds)
        self._last_reading = np.where(usable, temperature, self._last_reading)
        if not first:
            self._learn(elapsed, good, temperature)
            self._track(elapsed, usable, temperature)
        self._calibration.observe(
            now_seconds=now_seconds,
            filtered=self._bank.filtered,
            temperature=temperature,
            usable=usable,
            snapshot=self._snapshot(),
        )

    def _restart(self, usable: BoolArray, ratio: FloatArray, temperature: FloatArray) -> None:
        """Put GPUs that are new, or back after a long gap, into steady state at their present power."""
        settings = self.settings
        gap = self._now_seconds - self._last_seen_seconds
        fresh = usable & ~self._started
        back = usable & self._started & (gap > settings.gap_reset_seconds)
        chosen = fresh | back
        if not chosen.any():
            return
        self._bank.settle(chosen, ratio)
        ambient = temperature - self._rise()
        self._gains.set_ambient(fresh, ambient)
        self._offset[chosen] = (ambient - self._gains.parameters[0])[chosen]
        self._offset_variance[back] = settings.restart_offset_deviation_celsius**2
        self._started |= fresh

    def _learn(self, elapsed_seconds: float, learning: BoolArray, temperature: FloatArray) -> None:
        """Add the sample to the evidence and refit the GPUs whose turn it is."""
        gate = self._bank.excitation * learning
        self._gains.learn(
            elapsed_seconds=elapsed_seconds, gate=gate, filtered=self._bank.filtered, temperature=temperature
        )
        turn = self._now_seconds / self.settings.refit_seconds + self._refit_phase
        due = np.floor(turn) > np.floor(turn - elapsed_seconds / self.settings.refit_seconds)
        indices = np.flatnonzero(due & (gate > 0.0))
        if indices.size:
            before = self._modelled()[indices]
            self._gains.refit(indices)
            # What the new gains explain leaves the offset, so that the modelled temperature does not jump.
            self._offset[indices] += before - self._modelled()[indices]

    def _track(self, elapsed_seconds: float, usable: BoolArray, temperature: FloatArray) -> None:
        """Update the offset by a scalar Kalman filter with clipped innovations."""
        settings = self.settings
        self._offset_variance = np.minimum(
            self._offset_variance + settings.offset_drift_celsius**2 * elapsed_seconds,
            settings.restart_offset_deviation_celsius**2,
        )
        total = self._offset_variance + settings.reading_deviation_celsius**2
        innovation = np.where(usable, temperature - self._modelled(), 0.0)
        bound = settings.outlier_deviations * np.sqrt(total)
        clipped = np.clip(innovation, -bound, bound)
        gain = np.where(usable, self._offset_variance / total, 0.0)
        self._offset += gain * clipped
        self._offset_variance *= 1.0 - gain
        share = -np.expm1(-elapsed_seconds / settings.noise_seconds)
        self._noise_variance += np.where(usable, share * (clipped**2 - self._noise_variance), 0.0)

    def _rise(self) -> FloatArray:
        """Return the modelled rise over ambient now, kelvin, shape ``(num_gpus,)``."""
        rise: FloatArray = np.sum(self._gains.parameters[1:] * self._bank.filtered, axis=0)
        return rise

    def _modelled(self) -> FloatArray:
        """Return the modelled temperature now, celsius, shape ``(num_gpus,)``."""
        temperature: FloatArray = self._gains.parameters[0] + self._offset + self._rise()
        return temperature

    def _snapshot(self) -> Snapshot:
        """Return what intervals are made of: parameters, offset and their uncertainty now."""
        floor = self.settings.smallest_noise_celsius**2
        return Snapshot(
            parameters=self._gains.parameters,
            offset=self._offset,
            rise=self._rise(),
            base_variance=self._offset_variance + np.maximum(self._noise_variance, floor),
            relative_deviation=self._gains.relative_deviation,
        )

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
                horizon, shape ``(num_gpus, num_horizons)``; capped at the power limit. NaN: the last power.
            levels: Quantile levels, ascending, in (0, 1).

        Returns:
            The forecast; a GPU that was never seen gets the prior's.

        Raises:
            InputError: If horizons, powers or levels do not fit.
        """
        horizons = ascending_horizons(horizons_seconds)
        path = np.asarray(power_watts, dtype=np.float64)
        if path.ndim == 1:
            path = np.repeat(path[:, None], horizons.size, axis=1)
        if path.shape != (len(self.gpus), horizons.size):
            raise InputError(f"power_watts: shape {path.shape}, expected ({len(self.gpus)}, {horizons.size})")
        ratio = bounded(path.T) / self.power_limit_watts
        ratio = np.clip(np.where(np.isfinite(ratio), ratio, self._last_power), 0.0, self._power_cap_ratio)
        age = np.where(self._started, self._now_seconds - self._last_seen_seconds, 0.0)
        projection = Projection(
            settings=self.settings,
            filtered=self._bank.filtered,
            now=self._snapshot(),
            stale_variance=np.minimum(
                self.settings.stale_drift_celsius**2 * age, self.settings.restart_offset_deviation_celsius**2
            ),
            throttled=self._check.state == SampleState.THROTTLED,
            limit_celsius=self.limit_celsius,
            read_below=self._last_reading < self.limit_celsius,
            blur_seconds=self._blur_seconds,
            calibration=self._calibration,
        )
        return forecast_fleet(
            projection,
            gpus=self.gpus,
            horizons_seconds=horizons,
            power_ratio=saturate(ratio, self.settings.saturation),
            levels=levels,
        )
