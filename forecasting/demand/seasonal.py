"""Repeating shapes: how a slot of the day or week compares with the level around it.

Used by the forecaster for its seasonal experts. Pure; one shape per season and series.
"""

from __future__ import annotations

import numpy as np

from forecasting.types import FloatArray

_MAX_RATIO = 20.0  # A slot more than twenty times its surroundings is a spike, not a shape.


class SeasonalShape:
    """The ratio of each slot of one season to the level around it, averaged over a few seasons.

    Attributes:
        num_slots: Slots that the season is cut into.
    """

    def __init__(self, *, season_seconds: float, step_seconds: float, max_slots: int, memory: float) -> None:
        """Cut a season into slots.

        Args:
            season_seconds: Length of the season, > 0.
            step_seconds: Length of one interval, > 0.
            max_slots: Most slots to keep; a slot then spans several steps.
            memory: Seasons over which a slot is averaged, >= 1.
        """
        self.season_seconds = season_seconds
        self.num_slots = max(1, min(max_slots, round(season_seconds / step_seconds)))
        self._gain = 1.0 / max(memory, 1.0)
        self._ratio = np.ones(self.num_slots)
        self._count = np.zeros(self.num_slots, dtype=np.int32)

    def slots(self, epoch_seconds: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the slot of each time, shape ``(num_times,)``."""
        phase = np.mod(epoch_seconds, self.season_seconds) / self.season_seconds
        slots: np.ndarray[tuple[int], np.dtype[np.int64]] = np.minimum(
            (phase * self.num_slots + 1e-9).astype(np.int64), self.num_slots - 1
        )
        return slots

    def slot(self, epoch_seconds: float) -> int:
        """Return the slot of one time."""
        phase = (epoch_seconds % self.season_seconds) / self.season_seconds
        return min(int(phase * self.num_slots + 1e-9), self.num_slots - 1)

    def learn(self, slot: int, ratio: float) -> None:
        """Average one more observation into a slot.

        Args:
            slot: The slot, 0..num_slots - 1.
            ratio: The count over the level around it, >= 0.
        """
        seen = int(self._count[slot])
        gain = max(self._gain, 1.0 / (seen + 1.0))
        self._ratio[slot] += gain * (min(ratio, _MAX_RATIO) - self._ratio[slot])
        self._count[slot] = min(seen + 1, 1_000_000)

    def ratio(self, slot: int) -> float:
        """Return the ratio of one slot; 1 where nothing was learned."""
        return float(self._ratio[slot])

    def ratios(self, slots: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
        """Return the ratios of several slots; 1 where nothing was learned."""
        ratios: FloatArray = self._ratio[slots]
        return ratios
