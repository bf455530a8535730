"""The members of the pool: forecasts of the next counts, each right in some weather.

The forecaster feeds every observation once; the bank answers with every expert's counts at the scored horizons and
with three guesses at how large their errors will be. Pure: no I/O, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from forecasting.demand.cohorts import SignupCohorts
from forecasting.demand.levels import TINY, Levels, ValueRing
from forecasting.demand.origins import OriginSlots
from forecasting.demand.seasonal import SeasonalShape
from forecasting.demand.settings import ForecastSettings
from forecasting.demand.stack import OnlineRidge
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
    COHORTS = 7
    STACK = 8
    USUAL = 9


class Scale(IntEnum):
    """What the errors of the experts are measured in."""

    LEARNED = 0
    """A regression on level and recent changes: wide when it is restless."""
    LEVEL = 1
    """In proportion to the present level: growth multiplies."""
    BASE = 2
    """In proportion to the usual size: spikes out of nowhere add."""


_NUM_FEATURES = 13
_NUM_SCALE_FEATURES = 8
_MAX_FEATURE = 10.0
_MAX_RING = 12_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlook:
    """What the bank expects after an interval.

    Attributes:
        points: Counts, shape ``(num_experts, num_horizons)``, >= 0; NaN where an expert has nothing to say.
        scales: Counts that an error of one means, shape ``(num_scales, num_horizons)``, > 0.
    """

    points: FloatArray
    scales: FloatArray


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
        self.levels = Levels(settings)
        self._cohorts = SignupCohorts(step_seconds=step_seconds, settings=settings)
        self._seasons = [
            SeasonalShape(
                season_seconds=season,
                step_seconds=step_seconds,
                max_slots=settings.max_slots_per_season,
                memory=settings.season_memory,
                fast_gain=settings.fast_gain,
            )
            for season in settings.season_seconds
        ]
        self._season_steps = [max(1, round(season / step_seconds)) for season in settings.season_seconds]
        self._ring = ValueRing(min(max(self._season_steps) + 2, _MAX_RING))
        self._horizons = np.asarray(settings.scored_horizons, dtype=np.float64)
        self._steps = np.asarray(settings.scored_horizons, dtype=np.int64)
        # Counts before the newest that a season before each target has; the last entry is a day before now.
        day, longest = self._season_steps[0], self._season_steps[-1]
        self._season_back = np.concatenate([day - self._steps, longest - self._steps, [day]])
        self._learner = _Learner(settings)
        self.outlook = Outlook(
            points=np.zeros((len(Expert), self._steps.size)), scales=np.full((len(Scale), self._steps.size), TINY)
        )

    def observe(self, index: int, count: float, signups: float) -> None:
        """Take the counts of interval ``index``; a missing one only moves time.

        Args:
            index: Number of the interval since the start, ascending by one.
            count: The target's count, >= 0, or NaN.
            signups: Sign-ups where the target is requests, >= 0, or NaN.
        """
        self._ring.push(count)
        self._cohorts.observe(signups)
        if not math.isnan(count):
            self._learner.learn(index, count)
            self.levels.observe(count)
            epoch = self._start_epoch + index * self._step_seconds
            for season, steps in zip(self._seasons, self._season_steps, strict=True):
                season.observe(epoch, count, gain=max(1.0 / steps, 1.0 / self.levels.num_observed))
        if self.levels.num_observed > 0:
            self.outlook = self._look_ahead(index)

    def cohort_growth(self, log_growth: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Return what requests multiply by at the scored horizons if sign-ups grow as told; NaN without sign-ups.

        Args:
            log_growth: Returns the logarithm of the growth of sign-ups by steps ahead.
        """
        return self._cohorts.growth(log_growth)

    def cohort_reason(self) -> str:
        """Return the factors of the cohort kernel in words."""
        return self._cohorts.reason(self.levels.fast)

    def _look_ahead(self, index: int) -> Outlook:
        levels, num_horizons = self.levels, self._horizons.size
        points = np.empty((len(Expert), num_horizons))
        points[Expert.LAST] = levels.last
        points[Expert.FAST_LEVEL] = levels.fast
        points[Expert.SLOW_LEVEL] = levels.slow
        points[Expert.TREND] = levels.trend(self._horizons)
        epochs = self._start_epoch + (index + self._horizons) * self._step_seconds
        points[Expert.DAY] = self._seasons[0].forecast(epochs)
        points[Expert.WEEK] = self._seasons[-1].forecast(epochs)
        before = self._ring.back(self._season_back)
        points[Expert.PEAK] = np.fmax(levels.last, before[:num_horizons])
        points[Expert.COHORTS] = self._cohorts.forecast(levels.fast)
        points[Expert.USUAL] = levels.base
        unit = (levels.last + levels.fast + levels.slow) / 3.0 + 0.02 * self._seasons[0].level + TINY
        features = self._features(points, before, unit)
        predicted = np.maximum(self._learner.points.predict(features), 0.0)
        points[Expert.STACK] = predicted * unit
        scale_features = self._scale_features(points, unit)
        scales = np.empty((len(Scale), num_horizons))
        usual = self._learner.mean_error
        scales[Scale.LEARNED] = np.maximum(self._learner.errors.predict(scale_features), 0.25 * usual) * unit
        scales[Scale.LEVEL] = usual * unit
        scales[Scale.BASE] = usual * (levels.base + TINY)
        self._learner.remember(index, features, scale_features, predicted, unit)
        return Outlook(points=np.maximum(points, 0.0), scales=scales)

    def _features(self, points: FloatArray, before: FloatArray, unit: float) -> FloatArray:
        """Return what the point regression sees, in units of the present level; what is unknown is the fast level."""
        levels, num_horizons = self.levels, self._horizons.size
        features = np.empty((num_horizons, _NUM_FEATURES))
        features[:, 0] = levels.last
        features[:, 1] = levels.fast
        features[:, 2] = levels.middle
        features[:, 3] = levels.slow
        features[:, 4] = points[Expert.TREND]
        features[:, 5] = points[Expert.DAY]
        features[:, 6] = points[Expert.WEEK]
        features[:, 7] = before[:num_horizons]
        features[:, 8] = before[-1]
        features[:, 9] = before[num_horizons:-1]
        features[:, 10] = self._seasons[0].level
        features[:, 11] = unit
        features[:, 12] = points[Expert.COHORTS]
        known = np.where(np.isfinite(features), features, levels.fast)
        scaled: FloatArray = np.minimum(known / unit, _MAX_FEATURE)
        return scaled

    def _scale_features(self, points: FloatArray, unit: float) -> FloatArray:
        """Return what the error regression sees: size, restlessness and disagreement, in units of the level."""
        levels = self.levels
        features = np.empty((self._horizons.size, _NUM_SCALE_FEATURES))
        features[:, 0] = unit
        features[:, 1] = levels.last
        features[:, 2] = levels.slow
        features[:, 3] = levels.volatility
        features[:, 4] = levels.agitation
        features[:, 5] = abs(levels.last - levels.fast)
        features[:, 6] = np.abs(points[Expert.STACK] - levels.last)
        features[:, 7] = np.abs(points[Expert.DAY] - points[Expert.STACK])
        scaled: FloatArray = np.minimum(features / unit, _MAX_FEATURE)
        return scaled


class _Learner:
    """The two regressions and the origins that still wait for their truth."""

    def __init__(self, settings: ForecastSettings) -> None:
        self._settings = settings
        num_horizons = len(settings.scored_horizons)
        point_prior = np.zeros(_NUM_FEATURES)
        point_prior[:2] = 0.5  # Half the last value, half the fast level.
        error_prior = np.zeros(_NUM_SCALE_FEATURES)
        error_prior[[0, 3]] = 0.1, 1.0  # A tenth of the level and the usual change.
        self.points = OnlineRidge(
            prior=point_prior,
            num_horizons=num_horizons,
            memory=settings.stack_memory,
            prior_steps=settings.stack_prior_steps,
        )
        self.errors = OnlineRidge(
            prior=error_prior,
            num_horizons=num_horizons,
            memory=settings.stack_memory,
            prior_steps=settings.stack_prior_steps,
        )
        self.mean_error = np.full(num_horizons, 0.3)
        self._slots = OriginSlots(np.asarray(settings.scored_horizons, dtype=np.int64))
        num_slots = self._slots.num_slots
        self._features = np.zeros((num_slots, _NUM_FEATURES), dtype=np.float32)
        self._scale_features = np.zeros((num_slots, _NUM_SCALE_FEATURES), dtype=np.float32)
        self._predicted = np.zeros(num_slots, dtype=np.float32)
        self._unit = np.zeros(num_slots)

    def remember(
        self, index: int, features: FloatArray, scale_features: FloatArray, predicted: FloatArray, unit: float
    ) -> None:
        slots = self._slots.at(index)
        self._features[slots] = features
        self._scale_features[slots] = scale_features
        self._predicted[slots] = predicted
        self._unit[slots] = unit
        self._slots.mark(index)

    def learn(self, index: int, count: float) -> None:
        slots, ready = self._slots.at(index), self._slots.are_ready(index)
        if not ready[0]:
            return  # The nearest origin comes first; without it there is none.
        mask = ready.astype(np.float64)
        predicted = self._predicted[slots] * mask
        truth = count / np.where(ready, self._unit[slots], 1.0) * mask
        error = truth - predicted
        limit = self._settings.outlier_factor * self.mean_error
        size = np.minimum(np.abs(error), 2.0 * limit)
        bounded = np.minimum(np.maximum(error, -limit), limit)
        self.points.learn(self._features[slots] * mask[:, None], predicted + bounded)
        self.errors.learn(self._scale_features[slots] * mask[:, None], size)
        self.mean_error += 0.01 * mask * (size - self.mean_error)
