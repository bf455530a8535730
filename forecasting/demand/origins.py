"""Where a forecast waits for its truth: one ring of slots per horizon, as deep as the horizon is far.

The pool and the regressions keep their arrays in this layout. A forecast one step ahead waits for one step, so it needs
one slot; kept as deep as the farthest horizon, the same arrays would be four times as large. Pure and bounded.
"""

from __future__ import annotations

import numpy as np

IndexArray = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Integers, shape ``(num_horizons,)``."""

_NEVER = -(10**9)  # The index of an origin that has not been.


class OriginSlots:
    """Tells which slots hold what was said, and whether it was said at all.

    Attributes:
        num_slots: Slots of all horizons together, the length of the arrays that callers keep.
    """

    def __init__(self, steps: IndexArray) -> None:
        """Lay out the slots.

        Args:
            steps: The horizons in steps, each >= 1, shape ``(num_horizons,)``.
        """
        self._steps = steps
        self._first = np.concatenate([[0], np.cumsum(steps)[:-1]])
        self.num_slots = int(np.sum(steps))
        self._origin = np.full(self.num_slots, _NEVER, dtype=np.int64)

    def at(self, index: int) -> IndexArray:
        """Return the slots, shape ``(num_horizons,)``, of what is said after interval ``index``.

        What was said a horizon before about this very interval lies in the same slots until it is overwritten.
        """
        slots: IndexArray = self._first + index % self._steps
        return slots

    def mark(self, index: int) -> None:
        """Note that something was said after interval ``index``."""
        self._origin[self.at(index)] = index

    def are_ready(self, index: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return which horizons said something about interval ``index``, shape ``(num_horizons,)``."""
        ready: np.ndarray[tuple[int], np.dtype[np.bool_]] = self._origin[self.at(index)] == index - self._steps
        return ready
