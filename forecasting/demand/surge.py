"""Calls a surge: growth in the sign-ups, or in the requests where sign-ups are not known.

The forecaster feeds it; the controller reads its state. Pure and bounded.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from forecasting.types import SurgePhase, SurgeState

_FAST_GAIN = 0.4
_SLOW_GAIN = 0.02
_ONSET_RATIO = 1.8
_END_RATIO = 1.2


class SurgeTrigger:
    """Compares a fast with a slow level of the leading signal."""

    def __init__(self, *, start: datetime, step_seconds: float) -> None:
        """Start calm.

        Args:
            start: Start of the first interval, aware.
            step_seconds: Length of each interval, > 0.
        """
        self._start = start
        self._step_seconds = step_seconds
        self._fast = math.nan
        self._slow = math.nan
        self._growth = 0.0
        self._above = 0
        self.state = SurgeState()

    def observe(self, index: int, *, leading: float, lagging: float) -> None:
        """Take one interval.

        Args:
            index: Number of the interval.
            leading: Sign-ups, or NaN.
            lagging: Requests, or NaN.
        """
        value = leading if not math.isnan(leading) else lagging
        if math.isnan(value):
            return
        if math.isnan(self._fast):
            self._fast = self._slow = value
        before = self._fast
        self._fast += _FAST_GAIN * (value - self._fast)
        offset = 0.05 * self._slow + 1e-9
        self._growth += 0.3 * (math.log((self._fast + offset) / (before + offset)) - self._growth)
        ratio = (self._fast + offset) / (self._slow + offset)
        self._slow += _SLOW_GAIN * (min(value, 3.0 * self._slow + offset) - self._slow)
        self._above = self._above + 1 if ratio > _ONSET_RATIO else 0
        self._step(index, ratio)

    def _step(self, index: int, ratio: float) -> None:
        phase = self.state.phase
        if phase is SurgePhase.CALM:
            phase = SurgePhase.ONSET if self._above >= 2 else phase
        elif ratio < _END_RATIO:
            phase = SurgePhase.CALM
        else:
            phase = SurgePhase.SURGE if self._growth > 0.0 else SurgePhase.DECAY
        per_hour = self._growth * 3600.0 / self._step_seconds
        since = self.state.since
        if phase is not self.state.phase:
            since = self._start + timedelta(seconds=self._step_seconds * (index + 1))
        self.state = SurgeState(
            phase=phase,
            probability=1.0 / (1.0 + math.exp(-6.0 * math.log(max(ratio, 1e-9) / _ONSET_RATIO))),
            since=since,
            growth_per_hour=per_hour,
            doubling_seconds=math.log(2.0) / per_hour * 3600.0 if per_hour > 1e-9 else None,
        )
