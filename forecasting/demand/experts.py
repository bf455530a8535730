"""The members of the pool: simple forecasts of the next counts, each right in some weather.

The forecaster feeds every observation once and asks for the forecasts of all experts at the scored horizons. An
expert holds its state in a few floats, so an observation costs microseconds. Pure: no I/O, no clock.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np

from forecasting.demand.seasonal import SeasonalShape
from forecasting.demand.settings import ForecastSettings
from forecasting.types import FloatArray


class Expert(IntEnum):
    """Row of an expert in the pool's arrays."""

    LAST = 0
    FAST_LEVEL = 1
    SLOW_LEVEL = 2
    TREND = 3
    DAY = 4
    WEEK = 5
    PEAK = 6


_MAX_LOG_GROWTH = math.log(30.0)  # No expert promises more than thirty times the level; beyond lies nonsense.
_TINY = 1e-12


class ExpertBank:
    """All experts of one series."""

    def __init__(self, *, start_epoch: float, step_seconds: float, settings: ForecastSettings) -> None:
        """Start with no history.

        Args:
            start_epoch: Start of the first interval in unix seconds.
            step_seconds: Length of each interval, > 0.
            settings: The constants.
        """
        self._start_epoch = start_epoch
        self._step_seconds = step_seconds
        self._settings = settings
        self._seasons = [
            SeasonalShape(
                season_seconds=season,
                step_seconds=step_seconds,
                max_slots=settings.max_slots_per_season,
                memory=settings.season_memory,
            )
            for season in settings.season_seconds
        ]
        self._steps_per_season = [max(1, round(season / step_seconds)) for season in settings.season_seconds]
        self._season_level = [math.nan for _ in self._seasons]
        self._deseasonal = [math.nan for _ in self._seasons]
        self._yesterday = _Ring(min(self._steps_per_season[0], 4096))
        self.last = math.nan
        self.fast = math.nan
        self.slow = math.nan
        self.volatility = 0.0
        self._growth = 0.0
        self.num_observed = 0

    @property
    def log_growth_per_step(self) -> float:
        """The smoothed log growth rate of the level, per step."""
        return self._growth

    def observe(self, index: int, value: float) -> None:
        """Take the count of interval ``index``; a missing one only moves time.

        Args:
            index: Number of the interval since the start, ascending by one.
            value: The count, >= 0, or NaN.
        """
        self._yesterday.push(value)
        if math.isnan(value):
            return
        settings = self._settings
        if self.num_observed == 0:
            self.last = self.fast = self.slow = value
            self._season_level = [value for _ in self._seasons]
            self._deseasonal = [value for _ in self._seasons]
        change = abs(value - self.fast)
        gain = max(settings.volatility_smoothing, 1.0 / (self.num_observed + 1.0))
        self.volatility += gain * (change - self.volatility)
        self._observe_growth(value)
        self.last = value
        self.slow += settings.slow_smoothing * (value - self.slow)
        epoch = self._start_epoch + index * self._step_seconds
        for position, shape in enumerate(self._seasons):
            self._observe_season(position, shape, epoch, value)
        self.num_observed += 1

    def _observe_growth(self, value: float) -> None:
        settings = self._settings
        before = self.fast
        self.fast += settings.fast_smoothing * (value - self.fast)
        offset = 0.05 * max(self.slow, self.fast) + _TINY
        rate = math.log((self.fast + offset) / (before + offset))
        damped = self._growth * math.exp(-1.0 / settings.trend_damping_steps)
        self._growth = damped + settings.trend_smoothing * (rate - damped)

    def _observe_season(self, position: int, shape: SeasonalShape, epoch: float, value: float) -> None:
        gain = max(1.0 / self._steps_per_season[position], 1.0 / (self.num_observed + 1.0))
        level = self._season_level[position]
        level += gain * (value - level)
        self._season_level[position] = level
        slot = shape.slot(epoch)
        ratio = shape.ratio(slot)
        # A slot that is nearly empty says nothing about the level, so its weight goes to zero with its ratio.
        weight = self._settings.fast_smoothing * min(1.0, ratio)
        deseasonalised = value / max(ratio, 0.1)
        self._deseasonal[position] += weight * (deseasonalised - self._deseasonal[position])
        shape.learn(slot, value / level if level > _TINY else 1.0)

    def forecast(self, index: int, horizons: FloatArray) -> FloatArray:
        """Return every expert's forecast.

        Args:
            index: Number of the last observed interval.
            horizons: Steps ahead, shape ``(num_horizons,)``, each >= 1.

        Returns:
            Counts, shape ``(num_experts, num_horizons)``, >= 0; NaN where nothing was observed yet.
        """
        points = np.empty((len(Expert), horizons.size))
        points[Expert.LAST] = self.last
        points[Expert.FAST_LEVEL] = self.fast
        points[Expert.SLOW_LEVEL] = self.slow
        points[Expert.TREND] = self._trend(horizons)
        epochs = self._start_epoch + (index + horizons) * self._step_seconds
        for position, shape in enumerate(self._seasons[:2]):
            ratios = shape.ratios(shape.slots(epochs))
            points[Expert.DAY + position] = self._deseasonal[position] * ratios
        if len(self._seasons) == 1:
            points[Expert.WEEK] = points[Expert.DAY]
        yesterday = self._yesterday.back(self._steps_per_season[0] - horizons.astype(np.int64))
        points[Expert.PEAK] = np.fmax(self.last, yesterday)
        return np.maximum(points, 0.0)

    def _trend(self, horizons: FloatArray) -> FloatArray:
        damping = self._settings.trend_damping_steps
        total = self._growth * damping * (1.0 - np.exp(-horizons / damping))
        grown: FloatArray = self.fast * np.exp(np.clip(total, -_MAX_LOG_GROWTH, _MAX_LOG_GROWTH))
        return grown


class _Ring:
    """The last values, newest last, in a bounded array."""

    def __init__(self, capacity: int) -> None:
        self._values = np.full(capacity, np.nan)
        self._next = 0

    def push(self, value: float) -> None:
        self._values[self._next] = value
        self._next = (self._next + 1) % self._values.size

    def back(self, steps: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
        """Return the values ``steps`` before the newest (0 is the newest); NaN outside the ring."""
        inside = (steps >= 0) & (steps < self._values.size)
        positions = (self._next - 1 - np.where(inside, steps, 0)) % self._values.size
        return np.where(inside, self._values[positions], np.nan)
