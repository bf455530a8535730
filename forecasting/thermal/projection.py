"""From the present heat state to temperature quantiles and the time to slowdown.

Called by ``FleetThermalModel.forecast``; pure arithmetic on arrays whose last axis is the GPU. It must not change the
model's state.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import InputError
from forecasting.thermal import linear
from forecasting.thermal.settings import ThermalSettings
from forecasting.types import FloatArray

CHUNK_GPUS = 4096
"""GPUs that are forecast at a time: bounds memory, and a vector of this length stays in the processor's cache."""

STEPS_PER_INTERVAL = 8
"""Points inside an interval at which a crossing is looked for; the path may peak between two horizons."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetThermalForecast:
    """Temperature quantiles of many GPUs under one power path each.

    Attributes:
        gpus: Names, in the order of the axes below.
        horizons_seconds: Shape ``(num_horizons,)``.
        levels: Quantile levels.
        temperature_celsius: Shape ``(num_levels, num_gpus, num_horizons)``, non-decreasing along the levels.
        seconds_to_slowdown: Shape ``(num_levels, num_gpus)``, quantiles of the time: level 0.05 of the time is where
            level 0.95 of the temperature reaches the limit. Infinite: not within the last horizon, or limit unknown.
    """

    gpus: tuple[str, ...]
    horizons_seconds: FloatArray
    levels: tuple[float, ...]
    temperature_celsius: FloatArray
    seconds_to_slowdown: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """What a forecast needs of a model; powers as ratios of the limit, gains in kelvin at the limit.

    Attributes:
        settings: Constants.
        filtered: Shape ``(num_tc, num_gpus)``.
        parameters: Ambient, then gains, shape ``(num_tc + 1, num_gpus)``.
        factor: Packed Cholesky factor of the posterior precision.
        offset: Tracked offset, celsius, shape ``(num_gpus,)``.
        offset_variance: Its variance, shape ``(num_gpus,)``.
        limit_celsius: Shape ``(num_gpus,)``; NaN unknown.
    """

    settings: ThermalSettings
    filtered: FloatArray
    parameters: FloatArray
    factor: FloatArray
    offset: FloatArray
    offset_variance: FloatArray
    limit_celsius: FloatArray

    def part(self, chosen: slice) -> Projection:
        """Return the projection of some of the GPUs."""
        return Projection(
            settings=self.settings,
            filtered=self.filtered[:, chosen],
            parameters=self.parameters[:, chosen],
            factor=self.factor[:, chosen],
            offset=self.offset[chosen],
            offset_variance=self.offset_variance[chosen],
            limit_celsius=self.limit_celsius[chosen],
        )

    def mean(self, filtered: FloatArray, seconds: FloatArray | float) -> FloatArray:
        """Return the expected temperature ``seconds`` ahead with the filters at ``filtered``, shape ``(num_gpus,)``."""
        decay = np.exp(-np.asarray(seconds) / self.settings.offset_decay_seconds)
        rise = np.sum(self.parameters[1:] * filtered, axis=0)
        temperature: FloatArray = self.parameters[0] + rise + self.offset * decay
        return temperature

    def deviation(self, filtered: FloatArray, seconds: float) -> FloatArray:
        """Return the model's standard deviation there: gains, offset and reading, kelvin, shape ``(num_gpus,)``."""
        settings = self.settings
        change = np.vstack([np.zeros_like(self.offset), filtered - self.filtered])
        whitened = linear.solve_lower(self.factor, change)
        variance = (
            np.sum(whitened**2, axis=0)
            + self.offset_variance
            + settings.offset_drift_celsius**2 * seconds
            + settings.reading_deviation_celsius**2
        )
        return np.asarray(settings.start_interval_factor * np.sqrt(variance), dtype=np.float64)


def forecast_fleet(
    projection: Projection,
    *,
    gpus: tuple[str, ...],
    horizons_seconds: FloatArray,
    power_ratio: FloatArray,
    levels: tuple[float, ...],
) -> FleetThermalForecast:
    """Forecast all GPUs, a chunk at a time.

    Args:
        projection: The models' state.
        gpus: Names.
        horizons_seconds: Ascending, shape ``(num_horizons,)``.
        power_ratio: Power over the limit in the interval ending at each horizon, shape ``(num_horizons, num_gpus)``.
        levels: Quantile levels, ascending, in (0, 1).

    Returns:
        The forecast.

    Raises:
        InputError: If the levels are not ascending within (0, 1).
    """
    if not levels or any(not 0.0 < level < 1.0 for level in levels) or list(levels) != sorted(set(levels)):
        raise InputError(f"levels: {levels} must be ascending and inside (0, 1)")
    num_gpus = len(gpus)
    temperature = np.empty((len(levels), num_gpus, horizons_seconds.size))
    seconds = np.full((len(levels), num_gpus), np.inf)
    for start in range(0, num_gpus, CHUNK_GPUS):
        chosen = slice(start, min(start + CHUNK_GPUS, num_gpus))
        part_temperature, part_seconds = _forecast_part(
            projection.part(chosen), horizons_seconds, power_ratio[:, chosen], levels
        )
        temperature[:, chosen] = part_temperature
        seconds[:, chosen] = part_seconds
    return FleetThermalForecast(
        gpus=gpus,
        horizons_seconds=horizons_seconds,
        levels=levels,
        temperature_celsius=temperature,
        seconds_to_slowdown=seconds,
    )


def _forecast_part(
    part: Projection, horizons_seconds: FloatArray, power_ratio: FloatArray, levels: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return quantiles ``(num_levels, num_gpus, num_horizons)`` and crossing times ``(num_levels, num_gpus)``."""
    scores = np.array([NormalDist().inv_cdf(level) for level in levels])[:, None]
    time_constants = np.asarray(part.settings.time_constants_seconds)[:, None]
    num_gpus = part.offset.size
    temperature = np.empty((len(levels), num_gpus, horizons_seconds.size))
    crossing = np.full((len(levels), num_gpus), np.inf)
    guarded = np.where(np.isfinite(part.limit_celsius), part.limit_celsius, np.inf)
    filtered, before_seconds = part.filtered, 0.0
    before = part.deviation(filtered, 0.0)
    for index, horizon in enumerate(horizons_seconds):
        power, end = power_ratio[index], float(horizon)
        keep = np.exp(-(end - before_seconds) / time_constants)
        after_filtered = filtered * keep + (1.0 - keep) * power
        after = part.deviation(after_filtered, end)
        temperature[:, :, index] = part.mean(after_filtered, end) + scores * after
        # Each filter moves monotonically, so this bounds the whole interval and most GPUs need no closer look.
        highest = (
            part.parameters[0]
            + np.maximum(part.offset, 0.0)
            + np.sum(part.parameters[1:] * np.maximum(filtered, after_filtered), axis=0)
            + np.max(np.abs(scores)) * np.maximum(before, after)
        )
        close = np.flatnonzero((highest >= guarded) & np.isinf(crossing).any(axis=0))
        if close.size:
            interval = _Interval(
                start_seconds=before_seconds,
                end_seconds=end,
                filtered=filtered[:, close],
                power=power[close],
                deviations=(before[close], after[close]),
            )
            crossing[:, close] = _first_crossing(
                part, close, interval, scores=scores, limit=guarded[close], crossing=crossing[:, close]
            )
        filtered, before_seconds, before = after_filtered, end, after
    return temperature, crossing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Interval:
    """One stretch of constant power, for the GPUs that may cross their limit in it.

    Attributes:
        start_seconds: Start, after now.
        end_seconds: End.
        filtered: Filters at the start, shape ``(num_tc, num_close)``.
        power: Ratio of the limit, shape ``(num_close,)``.
        deviations: Standard deviation at the start and at the end, each shape ``(num_close,)``.
    """

    start_seconds: float
    end_seconds: float
    filtered: FloatArray
    power: FloatArray
    deviations: tuple[FloatArray, FloatArray]


def _first_crossing(
    part: Projection,
    close: NDArray[np.intp],
    interval: _Interval,
    *,
    scores: FloatArray,
    limit: FloatArray,
    crossing: FloatArray,
) -> FloatArray:
    """Return ``crossing`` with crossings inside ``interval`` filled in, shape ``(num_levels, num_close)``.

    Points are denser near the start, where a load step moves the die fastest.
    """
    time_constants = np.asarray(part.settings.time_constants_seconds)[:, None]
    length = interval.end_seconds - interval.start_seconds
    gains, base, offset = part.parameters[1:, close], part.parameters[0, close], part.offset[close]
    first = 0 if interval.start_seconds == 0.0 else 1
    for step in range(first, STEPS_PER_INTERVAL + 1):
        share = (step / STEPS_PER_INTERVAL) ** 2
        keep = np.exp(-share * length / time_constants)
        inside = interval.filtered * keep + (1.0 - keep) * interval.power
        moment = interval.start_seconds + share * length
        decay = np.exp(-moment / part.settings.offset_decay_seconds)
        mean = base + np.sum(gains * inside, axis=0) + offset * decay
        spread = interval.deviations[0] * (1.0 - share) + interval.deviations[1] * share
        reached = mean - scores * spread >= limit
        crossing = np.where(reached & np.isinf(crossing), moment, crossing)
    return crossing
