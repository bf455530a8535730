"""Running levels of one signal: what it is now, lately and usually.

The expert bank, the cohort expert and the surge trigger read them. Pure: a few floats per signal.
"""

from __future__ import annotations

import math

import numpy as np

from forecasting.demand.settings import ForecastSettings
from forecasting.types import FloatArray

_MAX_LOG_GROWTH = math.log(30.0)  # No trend promises more than thirty times the level; beyond lies nonsense.
TINY = 1e-12
"""Keeps divisions by a level of zero finite; far below any count."""


class Levels:
    """Exponential averages of counts at several speeds, with a damped log growth rate.

    The growth follows the level-and-slope state space in its steady state: the slope is corrected by a fixed gain and
    decays towards zero, so that a saturating wave is not extrapolated for ever.

    Attributes:
        last: The last count; NaN before the first.
        fast: Average over about two steps.
        middle: Average over about five steps.
        slow: Average over about ten steps.
        base: Average over about three hundred steps.
        record: The highest count, slowly forgotten.
        volatility: Mean absolute change of about twenty steps.
        agitation: Mean absolute change of about three steps.
        growth: Log growth rate per step.
        num_observed: Counts taken.
    """

    def __init__(self, settings: ForecastSettings) -> None:
        """Start with no history."""
        self._settings = settings
        self._damping = math.exp(-1.0 / settings.growth_damping_steps)
        self._forgetting = math.exp(-1.0 / settings.record_memory)
        self.last = self.fast = self.middle = self.slow = self.base = math.nan
        self.record = self.volatility = self.agitation = self.growth = 0.0
        self.num_observed = 0

    def observe(self, count: float) -> None:
        """Take one count, finite and >= 0."""
        settings = self._settings
        if self.num_observed == 0:
            self.last = self.fast = self.middle = self.slow = self.base = count
        first = 1.0 / (self.num_observed + 1.0)  # While young, an average is the mean of what there is.
        change = abs(count - self.fast)
        self.volatility += max(settings.volatility_gain, first) * (change - self.volatility)
        self.agitation += max(0.3, first) * (change - self.agitation)
        before = self.fast
        self.fast += settings.fast_gain * (count - self.fast)
        offset = 0.05 * max(self.slow, self.fast) + TINY
        rate = math.log((self.fast + offset) / (before + offset))
        self.growth = self.growth * self._damping + settings.growth_gain * (rate - self.growth * self._damping)
        self.last = count
        self.middle += max(settings.middle_gain, first) * (count - self.middle)
        self.slow += max(settings.slow_gain, first) * (count - self.slow)
        self.base += max(settings.base_gain, first) * (count - self.base)
        self.record = max(count, self.record * self._forgetting)
        self.num_observed += 1

    def trend(self, horizons: FloatArray) -> FloatArray:
        """Return the fast level grown at the damped rate, shape ``(num_horizons,)``."""
        steps = self._settings.growth_damping_steps
        total = self.growth * steps * -np.expm1(-horizons / steps)
        grown: FloatArray = self.fast * np.exp(np.minimum(np.maximum(total, -_MAX_LOG_GROWTH), _MAX_LOG_GROWTH))
        return grown


class ValueRing:
    """The last counts, newest last, in a bounded array; gaps stay gaps."""

    def __init__(self, capacity: int) -> None:
        """Start with nothing but gaps.

        Args:
            capacity: Counts kept, >= 1.
        """
        self._values = np.full(capacity, np.nan, dtype=np.float32)
        self._next = 0

    def push(self, count: float) -> None:
        """Take the next count, or NaN."""
        self._values[self._next] = min(count, 3e38)
        self._next = (self._next + 1) % self._values.size

    def back(self, steps: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
        """Return the counts ``steps`` before the newest (0 is the newest); NaN outside the ring."""
        inside = (steps >= 0) & (steps < self._values.size)
        positions = (self._next - 1 - np.where(inside, steps, 0)) % self._values.size
        return np.where(inside, self._values[positions], np.nan).astype(np.float64)
