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
from forecasting.thermal.intervals import IntervalCalibration, Snapshot, model_deviation
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
    """What a forecast needs of a model; powers as effective ratios of the limit, gains in kelvin at the limit.

    Attributes:
        settings: Constants.
        filtered: Shape ``(num_tc, num_gpus)``.
        now: Parameters, offset and their uncertainty.
        stale_variance: Added while nothing is read; widens quantiles but raises no alarm, shape ``(num_gpus,)``.
        throttled: True where the hardware holds power down for heat already, shape ``(num_gpus,)``.
        limit_celsius: Shape ``(num_gpus,)``; NaN unknown.
        read_below: True where the last reading was below the limit, shape ``(num_gpus,)``.
        blur_seconds: Time that the last reading's mean power stands for: the present is not known more finely.
        calibration: Factors per horizon.
    """

    settings: ThermalSettings
    filtered: FloatArray
    now: Snapshot
    stale_variance: FloatArray
    throttled: NDArray[np.bool_]
    limit_celsius: FloatArray
    read_below: NDArray[np.bool_]
    blur_seconds: float
    calibration: IntervalCalibration


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """The projection of a chunk of GPUs, sliced once.

    Attributes:
        settings: Constants.
        filtered: Shape ``(num_tc, num_chunk)``.
        now: Parameters, offset and uncertainty of the chunk.
        stale_variance: Shape ``(num_chunk,)``.
        limit_celsius: Infinite where unknown, shape ``(num_chunk,)``.
        read_below: Shape ``(num_chunk,)``.
        blur_seconds: As in the projection.
    """

    settings: ThermalSettings
    filtered: FloatArray
    now: Snapshot
    stale_variance: FloatArray
    limit_celsius: FloatArray
    read_below: NDArray[np.bool_]
    blur_seconds: float

    def rise(self, filtered: FloatArray) -> FloatArray:
        """Return the modelled rise over ambient at filters ``filtered``, kelvin, shape ``(num_chunk,)``."""
        rise: FloatArray = np.einsum("kn,kn->n", self.now.parameters[1:], filtered)
        return rise

    def mean(self, rise: FloatArray, seconds: float) -> FloatArray:
        """Return the expected temperature ``seconds`` ahead, where the rise is ``rise``, shape ``(num_chunk,)``."""
        decay = float(np.exp(-seconds / self.settings.offset_decay_seconds))
        temperature: FloatArray = self.now.parameters[0] + rise + self.now.offset * decay
        return temperature

    def deviation(self, rise: FloatArray, factor: FloatArray) -> FloatArray:
        """Return the calibrated standard deviation there, kelvin, shape ``(num_chunk,)``."""
        deviation: FloatArray = factor * model_deviation(
            self.settings,
            base_variance=self.now.base_variance,
            relative_deviation=self.now.relative_deviation,
            change=rise - self.now.rise,
        )
        return deviation


def _part_of(projection: Projection, chosen: slice) -> _Part:
    """Return the chunk ``chosen`` of a projection."""
    now = projection.now
    limit = projection.limit_celsius[chosen]
    return _Part(
        settings=projection.settings,
        filtered=projection.filtered[:, chosen],
        now=Snapshot(
            parameters=now.parameters[:, chosen],
            offset=now.offset[chosen],
            rise=now.rise[chosen],
            base_variance=now.base_variance[chosen],
            relative_deviation=now.relative_deviation[chosen],
        ),
        stale_variance=projection.stale_variance[chosen],
        limit_celsius=np.where(np.isfinite(limit), limit, np.inf),
        read_below=projection.read_below[chosen],
        blur_seconds=projection.blur_seconds,
    )


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
        factors = [projection.calibration.factor(float(horizon), chosen) for horizon in (0.0, *horizons_seconds)]
        part_temperature, part_seconds = _forecast_part(
            _part_of(projection, chosen), horizons_seconds, power_ratio[:, chosen], levels, factors
        )
        temperature[:, chosen] = part_temperature
        seconds[:, chosen] = part_seconds
    seconds[:, projection.throttled] = 0.0
    return FleetThermalForecast(
        gpus=gpus,
        horizons_seconds=horizons_seconds,
        levels=levels,
        temperature_celsius=temperature,
        seconds_to_slowdown=seconds,
    )


def _forecast_part(
    part: _Part,
    horizons_seconds: FloatArray,
    power_ratio: FloatArray,
    levels: tuple[float, ...],
    factors: list[FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Return quantiles ``(num_levels, num_chunk, num_horizons)`` and crossing times ``(num_levels, num_chunk)``."""
    scores = np.array([NormalDist().inv_cdf(level) for level in levels])[:, None]
    time_constants = np.asarray(part.settings.time_constants_seconds)[:, None]
    offset, limit = part.now.offset, part.limit_celsius
    temperature = np.empty((len(levels), offset.size, horizons_seconds.size))
    crossing = np.full((len(levels), offset.size), np.inf)
    base = part.now.parameters[0] + np.maximum(offset, 0.0)
    widest = float(np.max(np.abs(scores)))
    filtered, before_seconds = part.filtered, 0.0
    before = part.deviation(part.now.rise, factors[0])
    for index, horizon in enumerate(horizons_seconds):
        power, end = power_ratio[index], float(horizon)
        keep = np.exp(-(end - before_seconds) / time_constants)
        after_filtered = filtered * keep + (1.0 - keep) * power
        rise = part.rise(after_filtered)
        after = part.deviation(rise, factors[index + 1])
        wide = np.sqrt(after**2 + part.stale_variance)
        temperature[:, :, index] = part.mean(rise, end) + scores * wide
        # Each filter moves monotonically, so this bounds the whole interval and most GPUs need no closer look.
        highest = base + part.rise(np.maximum(filtered, after_filtered))
        highest += widest * np.maximum(before, after)
        blurred = before_seconds < part.blur_seconds
        if blurred:
            crossing = np.where(part.read_below & (highest < limit) & (crossing == 0.0), np.inf, crossing)
        close = np.flatnonzero((highest >= limit) & (blurred | np.isinf(crossing).any(axis=0)))
        if close.size:
            interval = _Interval(
                start_seconds=before_seconds,
                end_seconds=end,
                filtered=filtered[:, close],
                power=power[close],
                deviations=(before[close], after[close]),
            )
            crossing[:, close] = _first_crossing(part, close, interval, scores=scores, crossing=crossing[:, close])
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
    part: _Part,
    close: NDArray[np.intp],
    interval: _Interval,
    *,
    scores: FloatArray,
    crossing: FloatArray,
) -> FloatArray:
    """Return ``crossing`` with crossings inside ``interval`` filled in, shape ``(num_levels, num_close)``.

    Points are denser near the start, where a load step moves the die fastest. A path that starts above the limit while
    the reading is below, and falls below within the blur of the present, is no crossing: the load fell between two
    scrapes, the reading has seen it, and the filters, which know the mean only, have not.
    """
    time_constants = np.asarray(part.settings.time_constants_seconds)[:, None]
    length = interval.end_seconds - interval.start_seconds
    gains, base = part.now.parameters[1:, close], part.now.parameters[0, close]
    offset, limit, read_below = part.now.offset[close], part.limit_celsius[close], part.read_below[close]
    first = 0 if interval.start_seconds == 0.0 else 1
    for step in range(first, STEPS_PER_INTERVAL + 1):
        share = (step / STEPS_PER_INTERVAL) ** 2
        keep = np.exp(-share * length / time_constants)
        inside = interval.filtered * keep + (1.0 - keep) * interval.power
        moment = interval.start_seconds + share * length
        decay = np.exp(-moment / part.settings.offset_decay_seconds)
        mean = base + np.einsum("kn,kn->n", gains, inside) + offset * decay
        spread = interval.deviations[0] * (1.0 - share) + interval.deviations[1] * share
        reached = mean - scores * spread >= limit
        if moment <= part.blur_seconds:
            crossing = np.where(read_below & ~reached & (crossing == 0.0), np.inf, crossing)
        crossing = np.where(reached & np.isinf(crossing), moment, crossing)
    return crossing
