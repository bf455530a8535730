"""One demand series, forecast as it arrives.

The closed loop, the command line and the backtest all drive this class; it is causal by construction because it only
ever holds what was observed. Pure: no I/O, no clock, bounded memory.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np

from forecasting.demand.calibration import ANCHOR_LEVELS, LevelCorrection
from forecasting.demand.events import DemandEvent, factor_between
from forecasting.demand.experts import Expert, ExpertBank
from forecasting.demand.gate import IngestGate
from forecasting.demand.pool import GRID_LEVELS, QuantilePool
from forecasting.demand.settings import ForecastSettings
from forecasting.demand.surge import SurgeTrigger
from forecasting.types import (
    DEFAULT_QUANTILES,
    DemandForecast,
    DemandTarget,
    FloatArray,
    ModelInfo,
    SeriesKey,
    SurgePhase,
    SurgeState,
)

MODEL_NAME = "quantile-pool"

_GRID_LOGITS = np.log(GRID_LEVELS / (1.0 - GRID_LEVELS))
_FLOOR_LEVEL = 0.99
_LONGEST_GROWTH_SECONDS = 3600.0  # No rate is believed to hold for more than an hour.
_FLOOR_SECONDS = 1800.0  # The growth floor was measured over half an hour.


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
        self._pool = QuantilePool(settings)
        self._correction = LevelCorrection(settings)
        self._trigger = SurgeTrigger(start=start, step_seconds=step_seconds, settings=settings)
        self._signup_gate, self._request_gate = IngestGate(), IngestGate()
        self._horizons = np.asarray(settings.scored_horizons, dtype=np.float64)

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
        index = self._next_index
        factor = self._event_factor(index)
        trigger = self._trigger
        signups = self._signup_gate.admit(index, signups / factor, is_corroborated=trigger.is_raised(leading=False))
        requests = self._request_gate.admit(index, requests / factor, is_corroborated=trigger.is_raised(leading=True))
        targets_requests = self._target is DemandTarget.REQUESTS
        count = requests if targets_requests else signups
        if math.isnan(count):
            self._num_missing += 1
        else:
            self._pool.score(index, count)
            self._correction.score(index, count)
        trigger.observe(index, leading=signups, lagging=requests)
        self._bank.observe(index, count, signups if targets_requests else math.nan)
        self._next_index = index + 1
        if self._bank.levels.num_observed == 0:
            return
        self._pool.remember(index, self._bank.outlook)
        if self._correction.is_due(index):
            in_surge = not trigger.is_calm
            self._correction.remember(index, self._quantiles(ANCHOR_LEVELS), in_surge=in_surge)

    def _event_factor(self, index: int) -> float:
        """Return what known events multiply the demand of an interval by."""
        if not self._events:
            return 1.0
        start = self._start.timestamp() + index * self._step_seconds
        return factor_between(self._events, start, start + self._step_seconds)

    def _quantiles(self, wanted: FloatArray) -> FloatArray:
        """Return calibrated quantiles at the scored horizons, without events.

        Args:
            wanted: Levels, ascending, shape ``(num_levels,)``.

        Returns:
            Counts, shape ``(num_levels, num_horizons)``, non-decreasing along the levels.
        """
        in_surge = not self._trigger.is_calm
        grid = self._pool.quantiles(self._bank.outlook)
        levels = self._correction.levels(wanted, in_surge=in_surge)
        logits = np.log(levels / (1.0 - levels))
        read = np.empty_like(levels)
        for column in range(levels.shape[1]):
            read[:, column] = np.interp(logits[:, column], _GRID_LOGITS, grid[:, column])
        return np.maximum.accumulate(self._bounded(read, wanted, in_surge=in_surge), axis=0)

    def _bounded(self, quantiles: FloatArray, levels: FloatArray, *, in_surge: bool) -> FloatArray:
        """Widen what too little evidence has made narrow, and cut what no demand has ever done."""
        settings, now = self._settings, self._bank.levels
        growth = self._growth_ahead()
        needed = settings.min_surge_residuals if in_surge else settings.min_residuals
        known = self._correction.num_scored(in_surge=in_surge) * settings.calibration_stride / needed
        if known < 1.0:
            outward = np.clip(np.abs(levels - 0.5) / 0.49, 0.0, 1.0)[:, None]
            # A cold start knows nothing of its noise. A surge has the intervals of calm to begin with and its own
            # growth to say how wide, so there the floor makes way as evidence comes in.
            outward = outward * (1.0 - known) if in_surge else outward
            factor = growth if in_surge else np.full_like(growth, settings.growth_floor)
            high = now.fast * factor**outward
            low = now.fast * (1.0 - outward * (1.0 - 1.0 / settings.growth_floor))
            quantiles = np.where(levels[:, None] > 0.5, np.maximum(quantiles, high), quantiles)
            quantiles = np.where(levels[:, None] < 0.5, np.minimum(quantiles, low), quantiles)
        beyond = np.clip((levels - _FLOOR_LEVEL) / (GRID_LEVELS[-1] - _FLOOR_LEVEL), 0.0, 1.0)[:, None]
        room = settings.growth_floor + (settings.growth_cap - settings.growth_floor) * beyond
        reach = np.maximum(np.maximum(now.last, now.trend(self._horizons)), now.fast * growth / settings.growth_floor)
        bounded: FloatArray = np.minimum(quantiles, np.maximum(now.record, room * reach))
        return bounded

    def _growth_ahead(self) -> FloatArray:
        """Return how far demand may multiply by each scored horizon while a surge grows, at least the usual floor.

        Where sign-ups grow, requests follow through the cohort kernel; a rate that falls is damped as it fell, so that
        the top of a wave is not multiplied once more.
        """
        settings, surge = self._settings, self.surge
        seconds = self._horizons * self._step_seconds
        usual = settings.growth_floor ** np.minimum(seconds / _FLOOR_SECONDS, 1.0)
        if surge.phase not in {SurgePhase.ONSET, SurgePhase.SURGE}:
            return usual
        longest = _LONGEST_GROWTH_SECONDS / self._step_seconds
        limit = math.log(settings.growth_limit)

        def growing(steps: FloatArray) -> FloatArray:
            return np.minimum(self._trigger.log_growth_ahead(np.minimum(steps, longest)), limit)

        factor = np.exp(growing(self._horizons))
        if self._target is DemandTarget.REQUESTS and self._trigger.is_led_by_signups:
            factor = np.fmin(factor, self._bank.cohort_growth(growing))
        return np.maximum(usual, factor)

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
        wanted = np.asarray(levels, dtype=np.float64)
        everything = np.unique(np.concatenate([wanted, GRID_LEVELS]))
        steps = np.arange(1.0, num_steps + 1.0)
        if self._bank.levels.num_observed == 0:
            quantiles = np.zeros((everything.size, num_steps))
        else:
            quantiles = _between(self._horizons, self._quantiles(everything), steps)
        factors = np.array([self._event_factor(self._next_index + step) for step in range(num_steps)])
        quantiles *= factors
        return DemandForecast(
            key=self._key,
            target=self._target,
            issued_at=self.issued_at,
            step_seconds=self._step_seconds,
            levels=levels,
            mean=_mean(everything, quantiles),
            quantiles=quantiles[np.searchsorted(everything, wanted)],
            surge=self.surge,
            model=ModelInfo(
                name=MODEL_NAME,
                fitted_seconds=self._next_index * self._step_seconds,
                num_points=self._bank.levels.num_observed,
            ),
            calibration=self._correction.report(),
            reasons=self._reasons(factors),
            warnings=self._warnings(),
        )

    def _reasons(self, factors: FloatArray) -> tuple[str, ...]:
        if self._bank.levels.num_observed == 0:
            return ()
        column = min(2, self._horizons.size - 1)
        shares = self._pool.expert_shares()[:, column]
        ranked = sorted(Expert, key=lambda expert: -shares[expert])[:3]
        named = ", ".join(f"{expert.name.lower().replace('_', ' ')} {shares[expert]:.0%}" for expert in ranked)
        reasons = [
            f"last value {self._bank.levels.last:.6g} per step, usual {self._bank.levels.base:.6g}",
            f"experts at {int(self._horizons[column])} steps, weighted by recent loss at the P90: {named}",
        ]
        points = self._bank.outlook.points[Expert.COHORTS]
        if math.isfinite(points[column]):
            reasons.append(
                f"cohorts of sign-ups alone would ask for {points[column]:.6g} at {int(self._horizons[column])} steps"
            )
            reasons.append(self._bank.cohort_reason())
        if self.surge.phase is not SurgePhase.CALM:
            reasons.append(f"{self.surge.phase.value}: quantiles are calibrated on surges, scale-down should wait")
        if np.any(factors != 1.0):
            reasons.append("known events: " + ", ".join(f"{event.name} x{event.factor:g}" for event in self._events))
        return tuple(reasons)

    def _warnings(self) -> tuple[str, ...]:
        warnings: list[str] = []
        num_observed = self._bank.levels.num_observed
        if num_observed == 0:
            warnings.append("nothing was observed: the forecast says nothing")
        elif num_observed < self._settings.min_residuals:
            warnings.append(
                f"only {num_observed} points: intervals rest on the growth of recorded fleets, not on these data"
            )
        if self._num_missing:
            warnings.append(f"{self._num_missing} of {self._next_index} intervals are missing")
        for name, gate in (("sign-ups", self._signup_gate), ("requests", self._request_gate)):
            if gate.is_holding:
                warnings.append(f"suspected metric fault in {name}: the newest reading is held back, hold capacity")
            elif gate.last_fault_index is not None:
                at = self._start + timedelta(seconds=self._step_seconds * gate.last_fault_index)
                warnings.append(f"{gate.num_faults} suspected metric faults in {name}, the last at {at.isoformat()}")
        return tuple(warnings)


def _mean(levels: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Return the mean of a distribution given by quantiles; each stands for the levels nearest to it.

    Args:
        levels: Ascending, shape ``(num_levels,)``.
        quantiles: Shape ``(num_levels, num_steps)``.

    Returns:
        Shape ``(num_steps,)``.
    """
    edges = np.concatenate([[0.0], 0.5 * (levels[1:] + levels[:-1]), [1.0]])
    mean: FloatArray = np.diff(edges) @ quantiles
    return mean


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
