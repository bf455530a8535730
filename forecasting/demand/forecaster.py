"""One demand series, forecast as it arrives.

The closed loop, the command line and the backtest all drive this class; it is causal by construction because it only
ever holds what was observed. Pure: no I/O, no clock, bounded memory.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np

from forecasting.demand.events import DemandEvent, factor_between
from forecasting.demand.experts import Expert, ExpertBank
from forecasting.demand.pool import QuantilePool
from forecasting.demand.settings import ForecastSettings
from forecasting.demand.surge import SurgeTrigger
from forecasting.types import (
    DEFAULT_QUANTILES,
    Calibration,
    DemandForecast,
    DemandTarget,
    FloatArray,
    ModelInfo,
    SeriesKey,
    SurgeState,
)

MODEL_NAME = "quantile-pool"
_MEAN_LEVELS = np.linspace(0.025, 0.975, 20)


class DemandForecaster:
    """Forecasts one series of counts, one interval at a time."""

    def __init__(
        self,
        *,
        key: SeriesKey,
        start: datetime,
        step_seconds: float,
        target: DemandTarget,
        settings: ForecastSettings = ForecastSettings(),  # noqa: B008 (frozen)
        events: tuple[DemandEvent, ...] = (),
    ) -> None:
        """Start with no history.

        Args:
            key: The region and tier that the series belongs to.
            start: Start of the first interval, aware.
            step_seconds: Length of each interval, > 0.
            target: What the forecast counts.
            settings: The constants.
            events: Known events that multiply demand.

        Raises:
            ValueError: If ``start`` is naive or the step is not positive.
        """
        if start.tzinfo is None:
            raise ValueError("DemandForecaster.start must carry a time zone")
        if not step_seconds > 0.0:
            raise ValueError(f"DemandForecaster.step_seconds must be positive, not {step_seconds}")
        self._key = key
        self._start = start
        self._step_seconds = step_seconds
        self._target = target
        self._settings = settings
        self._events = events
        self._next_index = 0
        self._num_missing = 0
        self._bank = ExpertBank(start_epoch=start.timestamp(), step_seconds=step_seconds, settings=settings)
        self._pool = QuantilePool(num_experts=len(Expert), settings=settings)
        self._trigger = SurgeTrigger(start=start, step_seconds=step_seconds)
        self._horizons = self._pool.horizons.astype(np.float64)
        self._num_covered = 0
        self._num_judged = 0
        self._next_upper = math.nan

    @property
    def surge(self) -> SurgeState:
        """What the surge trigger says now."""
        return self._trigger.state

    @property
    def issued_at(self) -> datetime:
        """The end of the last observed interval."""
        return self._start + timedelta(seconds=self._step_seconds * self._next_index)

    def observe(self, *, signups: float = math.nan, requests: float = math.nan) -> None:
        """Take the next interval.

        Args:
            signups: Sign-ups in the interval, >= 0; NaN is missing. A negative count is taken as missing.
            requests: Requests in the interval, >= 0; NaN is missing. A negative count is taken as missing.
        """
        value, other = (requests, signups) if self._target is DemandTarget.REQUESTS else (signups, requests)
        value = value if 0.0 <= value < math.inf else math.nan
        other = other if 0.0 <= other < math.inf else math.nan
        index = self._next_index
        value /= self._event_factor(index)
        if math.isnan(value):
            self._num_missing += 1
        else:
            self._judge(value)
            self._pool.score(index, value)
        self._trigger.observe(index, leading=signups if signups >= 0.0 else math.nan, lagging=requests)
        self._bank.observe(index, value)
        self._next_index = index + 1
        self._pool.remember(index, self._bank.forecast(index, self._horizons), self._scale())

    def _event_factor(self, index: int) -> float:
        """Return what known events multiply the demand of an interval by."""
        if not self._events:
            return 1.0
        start = self._start.timestamp() + index * self._step_seconds
        return factor_between(self._events, start, start + self._step_seconds)

    def _judge(self, value: float) -> None:
        if math.isfinite(self._next_upper):
            self._num_judged += 1
            self._num_covered += value <= self._next_upper
        self._next_upper = math.nan

    def _scale(self) -> float:
        return self._bank.volatility + 0.1 * max(self._bank.slow, 0.0) + 1e-9

    def forecast(self, *, num_steps: int, levels: tuple[float, ...] = DEFAULT_QUANTILES) -> DemandForecast:
        """Forecast the next intervals; the state does not change.

        Args:
            num_steps: Intervals to forecast, >= 1.
            levels: Quantile levels, ascending, each in (0, 1).

        Returns:
            The forecast; with nothing observed, zeros and a warning that says so.

        Raises:
            ValueError: If ``num_steps`` or ``levels`` are out of range.
        """
        _check_levels(levels)
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, not {num_steps}")
        wanted = np.asarray(levels)
        index = self._next_index - 1
        everything = np.concatenate([wanted, _MEAN_LEVELS])
        order = np.argsort(everything, kind="stable")
        steps = np.arange(1.0, num_steps + 1.0)
        if self._bank.num_observed == 0:
            quantiles = np.zeros((everything.size, num_steps))
        else:
            points = self._bank.forecast(index, self._horizons)
            at_grid = np.empty((everything.size, self._horizons.size))
            at_grid[order] = self._pool.quantiles(points, self._scale(), everything[order])
            quantiles = _between(self._horizons, at_grid, steps)
        factors = np.array([self._event_factor(self._next_index + step) for step in range(num_steps)])
        warnings = self._warnings()
        upper = factors * self._with_floor(quantiles[: wanted.size], wanted)
        return DemandForecast(
            key=self._key,
            target=self._target,
            issued_at=self.issued_at,
            step_seconds=self._step_seconds,
            levels=levels,
            mean=factors * quantiles[wanted.size :].mean(axis=0),
            quantiles=upper,
            surge=self.surge,
            model=ModelInfo(
                name=MODEL_NAME,
                fitted_seconds=self._next_index * self._step_seconds,
                num_points=self._bank.num_observed,
            ),
            calibration=Calibration(),
            reasons=self._reasons(),
            warnings=warnings,
        )

    def _with_floor(self, quantiles: FloatArray, levels: FloatArray) -> FloatArray:
        """Widen the upper side while too few errors are known, by the growth that recorded load has shown."""
        settings = self._settings
        if int(self._pool.num_scored[0]) >= settings.min_residuals or self._bank.num_observed == 0:
            return quantiles
        above = np.clip((levels - 0.5) / 0.49, 0.0, 1.0)
        floor = self._bank.fast * (1.0 + (settings.growth_floor - 1.0) * above)
        floored = np.where(levels[:, None] > 0.5, np.maximum(quantiles, floor[:, None]), quantiles)
        below = self._bank.fast * (1.0 - np.clip((0.5 - levels) / 0.49, 0.0, 1.0) / settings.growth_floor)
        widened = np.where(levels[:, None] < 0.5, np.minimum(floored, below[:, None]), floored)
        return np.maximum.accumulate(widened, axis=0)

    def _reasons(self) -> tuple[str, ...]:
        if self._bank.num_observed == 0:
            return ()
        weights = self._pool.weights()[:, min(2, self._horizons.size - 1)]
        ranked = sorted(Expert, key=lambda expert: -weights[expert])
        shares = ", ".join(f"{expert.name.lower()} {weights[expert]:.0%}" for expert in ranked[:3])
        return (f"pool weights at 3 steps: {shares}", f"last value {self._bank.last:.6g} per step")

    def _warnings(self) -> tuple[str, ...]:
        warnings: list[str] = []
        if self._bank.num_observed == 0:
            warnings.append("nothing was observed: the forecast says nothing")
        elif int(self._pool.num_scored[0]) < self._settings.min_residuals:
            warnings.append(
                f"only {self._bank.num_observed} points: intervals rest on the growth of recorded fleets, not on data"
            )
        if self._num_missing:
            warnings.append(f"{self._num_missing} of {self._next_index} intervals are missing")
        return tuple(warnings)


def _between(horizons: FloatArray, values: FloatArray, steps: FloatArray) -> FloatArray:
    """Interpolate linearly between the scored horizons; beyond the last, its value holds.

    Args:
        horizons: Ascending, shape ``(num_horizons,)``.
        values: Shape ``(num_levels, num_horizons)``.
        steps: Shape ``(num_steps,)``.

    Returns:
        Shape ``(num_levels, num_steps)``.
    """
    upper = np.clip(np.searchsorted(horizons, steps), 1, horizons.size - 1) if horizons.size > 1 else None
    if upper is None:
        return np.repeat(values, steps.size, axis=1)
    lower = upper - 1
    fraction = np.clip((steps - horizons[lower]) / (horizons[upper] - horizons[lower]), 0.0, 1.0)
    blended: FloatArray = values[:, lower] * (1.0 - fraction) + values[:, upper] * fraction
    return blended


def _check_levels(levels: tuple[float, ...]) -> None:
    if not levels or not all(0.0 < level < 1.0 for level in levels):
        raise ValueError(f"levels must lie in (0, 1), not {levels}")
    if any(b <= a for a, b in zip(levels, levels[1:], strict=False)):
        raise ValueError(f"levels must ascend, not {levels}")
