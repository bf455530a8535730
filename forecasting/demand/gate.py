"""The ingest gate: readings that no demand can explain become missing, never zero and never a surge.

Counter resets and negative deltas, a single reading far above everything seen, and a single drop to nothing are held
back until the next reading or the other signal confirms them. Real flash crowds pass one step late at worst. Pure.
"""

from __future__ import annotations

import math

_MIN_HISTORY = 24
_SPIKE_FACTOR = 10.0
"""A reading this far above the record is no ordinary growth within one step; the largest real step in the recorded
sign-ups is fourfold, the largest glitch a hundredfold over the record."""

_CONFIRM_RATIO = 1.0 / 3.0
_FLOOR_RATIO = 0.2
_FORGETTING = 0.001


class IngestGate:
    """Watches one signal.

    Attributes:
        num_faults: Readings that were held back or refused so far.
        last_fault_index: Interval of the latest; None before the first.
        is_holding: Whether the newest reading is held back.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.num_faults = 0
        self.last_fault_index: int | None = None
        self.is_holding = False
        self._held = math.nan
        self._record = 0.0
        self._floor = math.inf
        self._num_seen = 0
        self._base = 0.0

    def admit(self, index: int, count: float, *, is_corroborated: bool) -> float:
        """Return the reading, or NaN where it cannot be believed yet.

        Args:
            index: Number of the interval.
            count: The reading; NaN is missing.
            is_corroborated: Whether the other signal is far above its own usual level now.

        Returns:
            The reading, or NaN.
        """
        self.is_holding = False
        if math.isnan(count):
            return math.nan
        if count < 0.0 or math.isinf(count):
            self._note(index)
            return math.nan
        held, self._held = self._held, math.nan
        if self._is_odd(count) and not is_corroborated and not _confirms(held, count):
            self._held = count
            self.is_holding = True
            self._note(index)
            return math.nan
        self._learn(count)
        return count

    def _is_odd(self, count: float) -> bool:
        if self._num_seen < _MIN_HISTORY or self._record <= 0.0:
            return False
        too_high = count > _SPIKE_FACTOR * self._record
        too_low = count == 0.0 and self._floor > _FLOOR_RATIO * self._base
        return too_high or too_low

    def _learn(self, count: float) -> None:
        self._num_seen += 1
        self._base += max(0.01, 1.0 / self._num_seen) * (count - self._base)
        self._record = max(count, self._record * (1.0 - _FORGETTING))
        self._floor = min(count, self._floor * (1.0 + _FORGETTING)) if self._num_seen > 1 else count

    def _note(self, index: int) -> None:
        self.num_faults += 1
        self.last_fault_index = index


def _confirms(held: float, count: float) -> bool:
    """Return whether a reading repeats the one that was held back before it."""
    if math.isnan(held):
        return False
    return count == 0.0 if held == 0.0 else count >= _CONFIRM_RATIO * held
