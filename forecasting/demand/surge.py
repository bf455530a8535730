"""Calls a surge, early and seldom wrongly: evidence against calm, summed over steps, per signal.

For sign-ups (which lead) and requests (which lag) a watch compares each count with the usual level in the shape of the
day, asks how improbable the excess is among the quiet weeks before, and sums the surprise (a CUSUM of -ln p). No single
reading can cross the threshold, so a glitch is no surge; two in a row, or one in each signal, can. The threshold is the
height that quiet days before have exceeded at most once in the budgeted number of days, so it is set causally and by
the data. Pure and bounded; the forecaster feeds it.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta

import numpy as np

from forecasting.demand.residuals import ResidualHistograms
from forecasting.demand.seasonal import SeasonalShape
from forecasting.demand.settings import ForecastSettings
from forecasting.types import SurgePhase, SurgeState

_DAY_SECONDS = 86400.0
_MAX_DAYS = 120
"""Quiet days whose highest sums are remembered; four budgets of thirty days."""

_DRIFT = 2.0
"""Surprise per step that calm is allowed; -ln p averages 1 in calm."""

_MAX_SURPRISE = 7.0
"""Surprise that one reading may add: one in a thousand."""

_PRIOR_THRESHOLD = 9.0
"""Threshold while few days are known: two readings of one in a thousand each, or ten of one in eighteen."""

_END_RATIO = 1.25
_HIGH_RATIO = 3.0
_TINY = 1e-12


class SignalWatch:
    """Sums the surprise of one signal.

    Attributes:
        evidence: The running sum of surprise over drift, >= 0.
        ratio: The fast level over the usual one, >= 0.
        growth: Log growth rate of the fast level per step.
    """

    def __init__(self, *, step_seconds: float, settings: ForecastSettings) -> None:
        """Start with nothing seen."""
        self._steps_per_day = max(1, round(_DAY_SECONDS / step_seconds))
        self._budget_days = settings.quiet_days
        self._shape = SeasonalShape(
            season_seconds=min(settings.season_seconds[0], _DAY_SECONDS),
            step_seconds=step_seconds,
            max_slots=48,
            memory=7.0,
            fast_gain=0.5,
        )
        self._histogram = ResidualHistograms(shape=(1,), num_bins=192, memory=60.0 * max(self._steps_per_day, 24))
        self._usual_gain = 1.0 / max(self._steps_per_day, 24)
        self._usual = math.nan
        self._spread = 0.5
        self._fast = math.nan
        self._num_seen = 0
        self._peaks: deque[float] = deque(maxlen=_MAX_DAYS)
        self._peak = 0.0
        self.evidence = 0.0
        self.ratio = 1.0
        self.growth = 0.0

    def observe(self, index: int, epoch_seconds: float, count: float, *, in_surge: bool) -> None:
        """Take one reading.

        Args:
            index: Number of the interval.
            epoch_seconds: Start of the interval, unix seconds.
            count: The reading, finite, >= 0, or NaN.
            in_surge: Whether a surge has been called; calm is not learned from it.
        """
        if not math.isnan(count):
            self._take(epoch_seconds, count, in_surge=in_surge)
        if (index + 1) % self._steps_per_day == 0:
            if not in_surge:
                self._peaks.append(self._peak)
            self._peak = 0.0

    def _take(self, epoch_seconds: float, count: float, *, in_surge: bool) -> None:
        if self._num_seen == 0:
            self._usual = self._fast = count
        shape = self._shape.ratio_at(epoch_seconds) if self._num_seen > 2 * self._steps_per_day else 1.0
        expected = self._usual * max(shape, 0.2)
        offset = 0.1 * self._usual + _TINY
        excess = math.log((count + offset) / (expected + offset))
        surprise = self._surprise(excess / self._spread)
        if self._num_seen >= 5:
            self.evidence = max(0.0, self.evidence + min(surprise, _MAX_SURPRISE) - _DRIFT)
        if not in_surge:
            self._peak = max(self._peak, self.evidence)
            self._learn(epoch_seconds, count, excess)
        else:
            # A level that stays becomes the usual one, at a tenth of the pace.
            self._usual += 0.1 * self._usual_gain * (count - self._usual)
        self._follow(count, expected, offset)
        self._num_seen += 1

    def _surprise(self, deviation: float) -> float:
        """Return -ln of the share of quiet deviations beyond this one, with a normal prior while few are known."""
        prior = 30.0
        normal_tail = 0.5 * math.erfc(min(deviation, 30.0) / math.sqrt(2.0))
        share, weight = self._histogram.share_above(deviation)
        tail = (prior * max(normal_tail, math.exp(-_MAX_SURPRISE)) + weight * share) / (prior + weight)
        return -math.log(max(tail, math.exp(-2.0 * _MAX_SURPRISE)))

    def _learn(self, epoch_seconds: float, count: float, excess: float) -> None:
        first = 1.0 / (self._num_seen + 1.0)
        gain = max(self._usual_gain, first)
        limited = min(count, 3.0 * self._usual + _TINY) if self._num_seen >= 5 else count
        self._usual += gain * (limited - self._usual)
        self._shape.observe(epoch_seconds, limited, gain=gain)
        self._spread += max(0.3 * self._usual_gain, first) * (max(1.2533 * abs(excess), 0.02) - self._spread)
        if self._num_seen >= 5:
            self._histogram.add(np.array([excess / self._spread]), np.array([True]))

    def _follow(self, count: float, expected: float, offset: float) -> None:
        before = self._fast
        self._fast += 0.5 * (count - self._fast)
        rate = math.log((self._fast + offset) / (before + offset))
        self.growth += 0.4 * (rate - self.growth)
        self.ratio = (self._fast + offset) / (expected + offset)

    @property
    def threshold(self) -> float:
        """The evidence that calls a surge."""
        days = len(self._peaks)
        if days < self._budget_days:
            return max(_PRIOR_THRESHOLD, 1.05 * max(self._peaks, default=0.0))
        ordered = sorted(self._peaks, reverse=True)
        return max(0.5 * _PRIOR_THRESHOLD, 1.02 * ordered[days // self._budget_days - 1])


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

    def observe(self, index: int, *, leading: float, lagging: float) -> None:
        """Take one interval.

        Args:
            index: Number of the interval.
            leading: Sign-ups, or NaN.
            lagging: Requests, or NaN.
        """
        epoch = self._epoch + index * self._step_seconds
        in_surge = not self.is_calm
        self._has_leading = self._has_leading or not math.isnan(leading)
        self._leading.observe(index, epoch, leading, in_surge=in_surge)
        self._lagging.observe(index, epoch, lagging, in_surge=in_surge)
        self._judge(index)

    def _judge(self, index: int) -> None:
        watches = (self._leading, self._lagging)
        strength = max(watch.evidence / watch.threshold for watch in watches)
        lead = self._leading if self._has_leading else self._lagging
        loudest = max(watches, key=lambda watch: watch.evidence / watch.threshold)
        per_hour = (lead if lead.ratio > 1.2 else loudest).growth * 3600.0 / self._step_seconds
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
            if self._calm_steps >= 3:
                self._calm_steps = 0
                self._leading.evidence = self._lagging.evidence = 0.0
                return SurgePhase.CALM
        else:
            self._calm_steps = 0
        if loudest.growth < 0.0:
            return SurgePhase.DECAY
        return (
            SurgePhase.SURGE if raised > _HIGH_RATIO or self.state.phase is not SurgePhase.ONSET else SurgePhase.ONSET
        )
