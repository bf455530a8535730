"""Repeating shapes: how a slot of the day or week compares with the level around it.

Used by the expert bank for its seasonal experts. Pure; one shape per season and series.
"""

from __future__ import annotations

import math

import numpy as np

from forecasting.types import FloatArray

_MAX_RATIO = 20.0  # A slot more than twenty times its surroundings is a spike, not a shape.
_LEAST_RATIO = 0.1  # A slot that is nearly empty says little about the level.
_TINY = 1e-12


class SeasonalShape:
    """The ratio of each slot of one season to the level around it, and the present level without the shape.

    Attributes:
        num_slots: Slots that the season is cut into.
        level: Average over about one season; 0 before the first count.
    """

    def __init__(
        self, *, season_seconds: float, step_seconds: float, max_slots: int, memory: float, fast_gain: float
    ) -> None:
        """Cut a season into slots.

        Args:
            season_seconds: Length of the season, > 0.
            step_seconds: Length of one interval, > 0.
            max_slots: Most slots to keep; a slot then spans several steps.
            memory: Seasons over which a slot is averaged, >= 1.
            fast_gain: Gain of the level without the shape, (0, 1] per step.
        """
        self._season_seconds = season_seconds
        self.num_slots = max(1, min(max_slots, round(season_seconds / step_seconds)))
        self._gain = 1.0 / max(memory, 1.0)
        self._fast_gain = fast_gain
        self._ratio = np.ones(self.num_slots, dtype=np.float32)
        self._num_seen = np.zeros(self.num_slots, dtype=np.int16)
        self._deseasonalised = math.nan
        self.level = 0.0

    def slots(self, epoch_seconds: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the slot of each time, shape ``(num_times,)``."""
        phase = np.mod(epoch_seconds, self._season_seconds) / self._season_seconds
        # The slack keeps a time on a slot's very edge in that slot in spite of float division.
        slots: np.ndarray[tuple[int], np.dtype[np.int64]] = np.minimum(
            (phase * self.num_slots + 1e-9).astype(np.int64), self.num_slots - 1
        )
        return slots

    def observe(self, epoch_seconds: float, count: float, *, gain: float) -> None:
        """Take one count.

        Args:
            epoch_seconds: Start of its interval, unix seconds.
            count: The count, finite, >= 0.
            gain: Gain of the season's level, (0, 1].
        """
        if math.isnan(self._deseasonalised):
            self._deseasonalised = self.level = count
        self.level += gain * (count - self.level)
        phase = (epoch_seconds % self._season_seconds) / self._season_seconds
        slot = min(int(phase * self.num_slots + 1e-9), self.num_slots - 1)
        ratio = float(self._ratio[slot])
        weight = self._fast_gain * min(1.0, ratio)
        self._deseasonalised += weight * (count / max(ratio, _LEAST_RATIO) - self._deseasonalised)
        seen = int(self._num_seen[slot])
        fresh = min(count / self.level if self.level > _TINY else 1.0, _MAX_RATIO)
        self._ratio[slot] = ratio + max(self._gain, 1.0 / (seen + 1.0)) * (fresh - ratio)
        self._num_seen[slot] = min(seen + 1, 32_000)

    def forecast(self, epoch_seconds: FloatArray) -> FloatArray:
        """Return the present level in the shape of the slots to come, shape ``(num_times,)``."""
        shaped: FloatArray = self._deseasonalised * self._ratio[self.slots(epoch_seconds)].astype(np.float64)
        return shaped
