"""Corrects the engine's estimate of a wait by how wrong it was lately. Pure.

The engine plays its queue forward; what it cannot know is who will come later and go first. For a tier below others
that adds a share of the wait that changes slowly with the traffic, so it is learned: an average of the logarithm of
actual over estimated wait, a tier each.
"""

from __future__ import annotations

import math

SMOOTHING_RATIO = 0.1
MIN_WAIT_SECONDS = 0.25
"""Shorter waits say more about single steps than about the queue, and teach nothing."""
MAX_CORRECTION = 4.0


class WaitCorrection:
    """One factor a tier."""

    def __init__(self, tiers: tuple[str, ...]) -> None:
        """Begin without corrections."""
        self._logs = dict.fromkeys(tiers, 0.0)

    def corrected(self, tier: str, estimated_seconds: float) -> float:
        """Return a tier's wait as lately experienced, for the engine's estimate of it."""
        return estimated_seconds * math.exp(self._logs[tier])

    def learn(self, tier: str, estimated_seconds: float, actual_seconds: float) -> None:
        """Take note of one wait.

        Args:
            tier: Whose.
            estimated_seconds: As the engine estimated it, not corrected.
            actual_seconds: As it came.
        """
        if not MIN_WAIT_SECONDS <= estimated_seconds < math.inf or actual_seconds <= 0.0:
            return
        most = math.log(MAX_CORRECTION)
        seen = min(max(math.log(actual_seconds / estimated_seconds), -most), most)
        self._logs[tier] += SMOOTHING_RATIO * (seen - self._logs[tier])
