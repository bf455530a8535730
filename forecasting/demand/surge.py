"""Calls a surge, early and seldom wrongly: evidence against calm, summed over steps, per signal.

For sign-ups (which lead) and requests (which lag) a watch compares the logarithm of each count with the usual one of
that time of day and with the level of the last day, divides by the usual spread and sums what exceeds two spreads (a
CUSUM). A reading counts at most six spreads, so that no single one can cross the threshold: a glitch is no surge, two
readings in a row are evidence. The threshold is the height that the days before exceeded at most once in the budgeted
number of days, so it is set causally and by the data. Pure and bounded; the forecaster feeds it.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta

import numpy as np

from forecasting.demand.settings import ForecastSettings
from forecasting.types import FloatArray, SurgePhase, SurgeState

_DAY_SECONDS = 86400.0
_MAX_DAYS = 120
"""Days whose highest sums are remembered; four budgets of thirty days."""

_MAX_SLOTS = 48
"""Slots of the day; half an hour each where the step is shorter."""

_DRIFT = 2.0
"""Spreads per step that calm is allowed."""

_MAX_DEVIATION = 6.0
"""Spreads that one reading may add before drift."""

_PRIOR_THRESHOLD = 6.0
"""Threshold while few days are known: two readings in a row of five spreads, or six of three."""

_LEAST_THRESHOLD = _MAX_DEVIATION - _DRIFT
"""Never less than one reading can add, so that one reading never calls a surge."""

_MAX_PEAK_FACTOR = 1.3
"""A day's peak counts at most this much above the threshold; one real surge must not silence the trigger."""

_LEVEL_SECONDS = 300.0
_GROWTH_SECONDS = 600.0
_PAST_GROWTH_SECONDS = 1200.0
"""Memories of the level, of its growth rate and of the rate before, where the step is short: one read off two minutes
of Poisson counts is noise."""

_MAX_DAMPING = 8.0
"""Bound on the rise of the reciprocal of the growth rate per step; at 1 the number per step stays."""

_LEAST_SPREAD = 0.05
_WARM_UP = 5
_END_RATIO = 1.25
_END_STEPS = 3
_HIGH_RATIO = 3.0
_TINY = 1e-12


class SignalWatch:
    """Sums the evidence of one signal.

    Attributes:
        evidence: The running sum of deviation over drift, >= 0.
        ratio: The fast level over the usual one, >= 0.
        growth: Log growth rate per step, over a few steps or ten minutes, whichever is longer.
    """

    def __init__(self, *, step_seconds: float, settings: ForecastSettings) -> None:
        """Start with nothing seen."""
        self._steps_per_day = max(1, round(_DAY_SECONDS / step_seconds))
        self._budget_days = settings.quiet_days
        num_slots = min(self._steps_per_day, _MAX_SLOTS)
        self._usual_of_slot = [math.nan] * num_slots
        self._slot_gain = 1.0 / (10.0 * self._steps_per_day / num_slots)
        self._level_gain = 1.0 / max(self._steps_per_day, 24)
        self._mean = math.nan
        self._shift = 0.0
        self._spread = 0.3
        self._fast = self._followed = math.nan
        self._follow_gain = min(0.5, -math.expm1(-step_seconds / _LEVEL_SECONDS))
        self._growth_gain = min(0.4, -math.expm1(-step_seconds / _GROWTH_SECONDS))
        self._past_gain = min(0.2, -math.expm1(-step_seconds / _PAST_GROWTH_SECONDS))
        self._past_growth = 0.0
        self._num_seen = 0
        self._peaks: deque[float] = deque(maxlen=_MAX_DAYS)
        self._peak = 0.0
        self.threshold = _PRIOR_THRESHOLD
        self.evidence = 0.0
        self.ratio = 1.0
        self.growth = 0.0

    def observe(self, index: int, epoch_seconds: float, count: float) -> None:
        """Take one reading.

        Args:
            index: Number of the interval.
            epoch_seconds: Start of the interval, unix seconds.
            count: The reading, finite, >= 0, or NaN.
        """
        if not math.isnan(count):
            self._take(epoch_seconds, count)
        if (index + 1) % self._steps_per_day == 0:
            self._peaks.append(min(self._peak, _MAX_PEAK_FACTOR * self.threshold))
            self._peak = 0.0
            self.threshold = self._budgeted_threshold()

    def _take(self, epoch_seconds: float, count: float) -> None:
        if self._num_seen == 0:
            self._mean = self._fast = self._followed = count
        first = 1.0 / (self._num_seen + 1.0)
        self._mean += max(0.1 * self._level_gain, first) * (count - self._mean)
        offset = 0.05 * self._mean + _TINY
        value = math.log(count + offset)
        slot = int((epoch_seconds % _DAY_SECONDS) / _DAY_SECONDS * len(self._usual_of_slot))
        usual = self._usual_of_slot[slot]
        if math.isnan(usual):
            # The first day has no yesterday: its usual value is the mean so far.
            usual = self._usual_of_slot[slot] = math.log(self._mean + offset)
        excess = value - usual - self._shift
        if self._num_seen >= _WARM_UP:
            deviation = min(excess / max(self._spread, _LEAST_SPREAD), _MAX_DEVIATION)
            self.evidence = max(0.0, self.evidence + deviation - _DRIFT)
            self._peak = max(self._peak, self.evidence)
        self._learn(slot, value, excess, first)
        self._follow(count, math.exp(min(usual + self._shift, 700.0)), offset)
        self._num_seen += 1

    def _learn(self, slot: int, value: float, excess: float, first: float) -> None:
        """Move level, shape and spread by bounded steps, so that a surge does not become usual within the hour."""
        self._shift += max(self._level_gain, 0.3 * first) * min(max(excess, -0.5), 0.5)
        deviation = value - self._usual_of_slot[slot]
        self._usual_of_slot[slot] += self._slot_gain * min(max(deviation, -0.5), 0.5)
        # The median of the absolute excess, tracked by its sign, times what makes it a normal's deviation.
        towards = 1.0 if 1.4826 * abs(excess) > self._spread else -1.0
        self._spread *= math.exp(towards * max(0.2 * self._level_gain, 0.3 * first))
        self._spread = max(self._spread, 1e-3)

    def _follow(self, count: float, expected: float, offset: float) -> None:
        before = self._followed
        self._fast += 0.5 * (count - self._fast)
        self._followed += self._follow_gain * (count - self._followed)
        rate = math.log((self._followed + offset) / (before + offset))
        self.growth += self._growth_gain * (rate - self.growth)
        self._past_growth += self._past_gain * (rate - self._past_growth)
        self.ratio = (self._fast + offset) / max(expected, offset)

    def log_growth_ahead(self, steps: FloatArray) -> FloatArray:
        """Return how much the logarithm of the signal may still grow.

        A rate that does not fall is taken to go on. One that falls is taken to fall as it did: its reciprocal rises by
        ``damping`` per step, so that growth at a constant number of users per hour (damping 1) is continued exactly,
        as ``log(1 + growth * steps)``, and a wave that flattens is not extrapolated past its plateau.

        Args:
            steps: Steps ahead, >= 0, shape ``(num_horizons,)``.

        Returns:
            Natural logarithms of growth factors, >= 0, shape ``(num_horizons,)``.
        """
        if self.growth <= 0.0:
            return np.zeros_like(steps)
        if self._past_growth <= self.growth:
            return self.growth * steps
        # The averages stand for the rate one memory ago each; between them the reciprocal has risen.
        apart = 1.0 / self._past_gain - 1.0 / self._growth_gain
        damping = min((1.0 / self.growth - 1.0 / self._past_growth) / apart, _MAX_DAMPING)
        damped: FloatArray = np.log1p(damping * self.growth * steps) / max(damping, _TINY)
        return np.minimum(damped, self.growth * steps)

    def _budgeted_threshold(self) -> float:
        """Return the evidence that the days so far exceeded no more often than the budget allows."""
        days = len(self._peaks)
        ordered = sorted(self._peaks, reverse=True)
        if days < self._budget_days:
            return max(_PRIOR_THRESHOLD, 1.05 * ordered[0])
        return max(_LEAST_THRESHOLD, 1.001 * ordered[days // self._budget_days])

    def reset(self) -> None:
        """Forget the evidence, when a surge has ended."""
        self.evidence = 0.0


class SurgeTrigger:
    """Joins the two watches into one verdict."""

    def __init__(self, *, start: datetime, step_seconds: float, settings: ForecastSettings) -> None:
        """Start calm.

        Args:
            start: Start of the first interval, aware.
            step_seconds: Length of each interval, > 0.
            settings: The constants.
        """
        self._start = start
        self._epoch = start.timestamp()
        self._step_seconds = step_seconds
        self._leading = SignalWatch(step_seconds=step_seconds, settings=settings)
        self._lagging = SignalWatch(step_seconds=step_seconds, settings=settings)
        self._lead = self._lagging
        self._has_leading = False
        self._calm_steps = 0
        self.state = SurgeState()

    @property
    def is_calm(self) -> bool:
        """Whether no surge is under way."""
        return self.state.phase is SurgePhase.CALM

    def is_raised(self, *, leading: bool) -> bool:
        """Return whether a signal stands far above its usual level, which corroborates the other."""
        watch = self._leading if leading else self._lagging
        return watch.ratio > 2.0

    def log_growth_ahead(self, steps: FloatArray) -> FloatArray:
        """Return how much the logarithm of the signal that leads may still grow.

        Args:
            steps: Steps ahead, >= 0, shape ``(num_horizons,)``.

        Returns:
            Natural logarithms of growth factors, >= 0, shape ``(num_horizons,)``.
        """
        return self._lead.log_growth_ahead(steps)

    @property
    def is_led_by_signups(self) -> bool:
        """Whether the growth is that of sign-ups rather than of requests."""
        return self._lead is self._leading

    def observe(self, index: int, *, leading: float, lagging: float) -> None:
        """Take one interval.

        Args:
            index: Number of the interval.
            leading: Sign-ups, or NaN.
            lagging: Requests, or NaN.
        """
        epoch = self._epoch + index * self._step_seconds
        self._has_leading = self._has_leading or not math.isnan(leading)
        self._leading.observe(index, epoch, leading)
        self._lagging.observe(index, epoch, lagging)
        self._judge(index)

    def _judge(self, index: int) -> None:
        watches = (self._leading, self._lagging)
        strength = max(watch.evidence / watch.threshold for watch in watches)
        lead = self._leading if self._has_leading else self._lagging
        loudest = max(watches, key=lambda watch: watch.evidence / watch.threshold)
        self._lead = lead if lead.ratio > 1.2 else loudest
        per_hour = self._lead.growth * 3600.0 / self._step_seconds
        phase = self._next_phase(strength, loudest)
        since = self.state.since
        if (phase is SurgePhase.CALM) != self.is_calm:
            since = self._start + timedelta(seconds=self._step_seconds * (index + 1))
        self.state = SurgeState(
            phase=phase,
            probability=1.0 / (1.0 + math.exp(-6.0 * (min(strength, 10.0) - 1.0))),
            since=since,
            growth_per_hour=per_hour,
            doubling_seconds=math.log(2.0) / per_hour * 3600.0 if per_hour > 1e-9 else None,
        )

    def _next_phase(self, strength: float, loudest: SignalWatch) -> SurgePhase:
        raised = max(self._leading.ratio, self._lagging.ratio)
        if self.is_calm:
            return SurgePhase.ONSET if strength > 1.0 else SurgePhase.CALM
        if raised < _END_RATIO:
            self._calm_steps += 1
            if self._calm_steps >= _END_STEPS:
                self._calm_steps = 0
                self._leading.reset()
                self._lagging.reset()
                return SurgePhase.CALM
        else:
            self._calm_steps = 0
        if loudest.growth < 0.0:
            return SurgePhase.DECAY
        return (
            SurgePhase.SURGE if raised > _HIGH_RATIO or self.state.phase is not SurgePhase.ONSET else SurgePhase.ONSET
        )
