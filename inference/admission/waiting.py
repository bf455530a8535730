"""What the engine's estimate of a wait cannot know: who will come later and go first. Pure; time is an argument.

The engine plays its queue forward. Requests of heavier tiers that arrive during the wait overtake, so while a share
``r`` of the engine's speed goes to them, a wait ``w`` becomes ``w / (1 - r)``: the queue ahead is worked off with what
is left. ``r`` is measured (admitted tokens of heavier tiers, averaged over the last seconds, over the speed). What
remains wrong is learned: an average of the logarithm of actual over estimated wait, a tier each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MAX_SMOOTHING_RATIO = 0.05
"""What one wait changes at most; where many end together, each changes less, so that they are averaged over time."""
AVERAGING_SECONDS = 15.0
MIN_WAIT_SECONDS = 0.25
"""Shorter waits say more about single steps than about the queue, and teach nothing."""
MAX_CORRECTION = 2.0
MAX_OVERTAKING_RATIO = 0.8


@dataclass(slots=True)
class _Traffic:
    """Admitted tokens of one tier: a sum that fades, and when it began."""

    began_at: float
    at: float
    faded_tokens: float = 0.0

    def add(self, num_tokens: int, now: float) -> None:
        """Let the sum fade until ``now``, and add to it."""
        self.faded_tokens *= math.exp(-max(now - self.at, 0.0) / AVERAGING_SECONDS)
        self.faded_tokens += num_tokens
        self.at = now

    def tokens_per_second(self, now: float) -> float:
        """Return the mean rate lately, also when it began less than the averaging time ago."""
        self.add(0, now)
        seen = -math.expm1(-max(now - self.began_at, 1.0) / AVERAGING_SECONDS)
        return self.faded_tokens / (AVERAGING_SECONDS * seen)


class WaitCorrection:
    """Corrects waits, a tier each."""

    def __init__(self, weights: Mapping[str, float], now: float) -> None:
        """Begin without traffic.

        Args:
            weights: Priority weight of each tier.
            now: Monotonic seconds.
        """
        self._weights = dict(weights)
        self._logs = dict.fromkeys(weights, 0.0)
        self._learned_at = dict.fromkeys(weights, now)
        self._traffic = {tier: _Traffic(began_at=now, at=now) for tier in weights}

    def admitted(self, tier: str, num_tokens: int, now: float) -> None:
        """Take note of admitted work.

        Args:
            tier: Whose.
            num_tokens: Its image tokens.
            now: Monotonic seconds.
        """
        self._traffic[tier].add(num_tokens, now)

    def modelled(self, tier: str, estimated_seconds: float, tokens_per_second: float, now: float) -> float:
        """Return a wait with those who will overtake.

        Args:
            tier: Who waits.
            estimated_seconds: The engine's estimate.
            tokens_per_second: The engine's speed, above 0.
            now: Monotonic seconds.

        Returns:
            Seconds, at least the estimate.
        """
        weight = self._weights[tier]
        heavier = sum(
            traffic.tokens_per_second(now) for name, traffic in self._traffic.items() if self._weights[name] > weight
        )
        return estimated_seconds / (1.0 - min(heavier / tokens_per_second, MAX_OVERTAKING_RATIO))

    def corrected(self, tier: str, modelled_seconds: float) -> float:
        """Return a tier's wait as lately experienced, for what is modelled."""
        return modelled_seconds * math.exp(self._logs[tier])

    def learn(self, tier: str, modelled_seconds: float, actual_seconds: float, now: float) -> None:
        """Take note of one wait.

        Args:
            tier: Whose.
            modelled_seconds: As it was modelled at admission.
            actual_seconds: As it came.
            now: Monotonic seconds.
        """
        if not MIN_WAIT_SECONDS <= modelled_seconds < math.inf or actual_seconds <= 0.0:
            return
        most = math.log(MAX_CORRECTION)
        seen = min(max(math.log(actual_seconds / modelled_seconds), -most), most)
        passed_seconds = max(now - self._learned_at[tier], 0.0)
        self._learned_at[tier] = now
        share = min(-math.expm1(-passed_seconds / AVERAGING_SECONDS), MAX_SMOOTHING_RATIO)
        self._logs[tier] += share * (seen - self._logs[tier])
