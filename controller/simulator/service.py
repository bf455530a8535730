"""The inference pods as a fluid: admission, a bounded queue a tier, service by priority, abandonment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.simulator.scenario import Scenario
from forecasting.types import FloatArray

WAIT_BIN_SECONDS = 1.0
"""Resolution of recorded waits."""
_NUM_WAIT_BINS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStep:
    """What happened to requests in one step; all but the last two have shape ``(num_regions, num_tiers)``.

    Attributes:
        served: Requests finished.
        dropped: Refused because the queue was full.
        abandoned: Given up while waiting.
        wait_seconds: Estimated wait of a request admitted now.
        load_ratio: Share of each region's capacity that worked, 0..1, shape ``(num_regions,)``.
    """

    served: FloatArray
    dropped: FloatArray
    abandoned: FloatArray
    wait_seconds: FloatArray
    load_ratio: FloatArray


class Service:
    """The queues of all regions.

    Attributes:
        queue: Requests that wait, shape ``(num_regions, num_tiers)``.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Start with empty queues."""
        self._users = scenario.users
        priorities = [tier.priority for tier in scenario.tiers]
        self._order = sorted(range(len(priorities)), key=lambda index: -priorities[index])
        shape = (len(scenario.regions), len(scenario.tiers))
        self.queue: FloatArray = np.zeros(shape)
        self._wait_histogram: FloatArray = np.zeros((shape[1], _NUM_WAIT_BINS))

    def step(self, admitted: FloatArray, capacity_per_second: FloatArray, *, step_seconds: float) -> ServiceStep:
        """Advance by one step.

        Args:
            admitted: Requests let in, shape ``(num_regions, num_tiers)``.
            capacity_per_second: Requests that each region can finish a second, shape ``(num_regions,)``.
            step_seconds: Length of the step.

        Returns:
            What became of the requests.
        """
        budget = capacity_per_second * step_seconds
        abandoned = self.queue * (1.0 - np.exp(-step_seconds / self._users.patience_seconds))
        self.queue = self.queue - abandoned + admitted
        served = np.zeros_like(self.queue)
        remaining = budget.copy()
        for tier in self._order:
            served[:, tier] = np.minimum(self.queue[:, tier], remaining)
            remaining -= served[:, tier]
        self.queue = self.queue - served
        dropped = self._drop_overflow(capacity_per_second)
        wait_seconds = self._estimate_wait(capacity_per_second)
        self._record_waits(served, wait_seconds)
        busy = np.divide(served.sum(axis=1), budget, out=np.zeros_like(budget), where=budget > 0.0)
        return ServiceStep(
            served=served,
            dropped=dropped,
            abandoned=abandoned,
            wait_seconds=wait_seconds,
            load_ratio=np.clip(busy, 0.0, 1.0),
        )

    def wait_quantile_seconds(self, tier: int, level: float) -> float:
        """Return a quantile of the waits of one tier's served requests; 0 when none was served."""
        cumulative = np.cumsum(self._wait_histogram[tier])
        if cumulative[-1] <= 0.0:
            return 0.0
        return float(np.searchsorted(cumulative, level * cumulative[-1])) * WAIT_BIN_SECONDS

    def _drop_overflow(self, capacity_per_second: FloatArray) -> FloatArray:
        """Refuse what exceeds the bound of the queue, the lowest priority first."""
        excess = np.maximum(self.queue.sum(axis=1) - capacity_per_second * self._users.queue_bound_seconds, 0.0)
        dropped = np.zeros_like(self.queue)
        for tier in reversed(self._order):
            dropped[:, tier] = np.minimum(self.queue[:, tier], excess)
            excess = excess - dropped[:, tier]
        self.queue = self.queue - dropped
        return dropped

    def _estimate_wait(self, capacity_per_second: FloatArray) -> FloatArray:
        """Return the work of the same or a higher priority ahead, over the capacity; the bound where there is none."""
        wait = np.zeros_like(self.queue)
        ahead = np.zeros(self.queue.shape[0])
        bound = np.full_like(ahead, self._users.queue_bound_seconds)
        for tier in self._order:
            ahead = ahead + self.queue[:, tier]
            wait[:, tier] = np.divide(ahead, capacity_per_second, out=bound.copy(), where=capacity_per_second > 0.0)
        return wait

    def _record_waits(self, served: FloatArray, wait_seconds: FloatArray) -> None:
        """Add the served requests to the histogram of waits."""
        bins = np.minimum(np.round(wait_seconds / WAIT_BIN_SECONDS).astype(np.int64), _NUM_WAIT_BINS - 1)
        for tier in range(served.shape[1]):
            np.add.at(self._wait_histogram[tier], bins[:, tier], served[:, tier])
