"""Rivals: the autoscalers that people run today, and halves of our own planner. None of them sees a degree."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from controller.simulator.controllers import Decision, MeltguardController
from controller.simulator.record import DecisionMark
from controller.types import FleetSnapshot, ForecastSet, Ladder, Policy, PoolSpec, Rung


class ReplicaController:
    """Base of the rivals that size each pool from its region's request rate.

    Args:
        policy: Pool bounds and the cost of a request.
    """

    uses_models = False
    NAME = "replicas"
    TARGET_RATIO = 0.7
    PERIOD = timedelta(seconds=30)
    COOLDOWN = timedelta(seconds=300)

    def __init__(self, policy: Policy) -> None:
        """Start without history."""
        self.policy = policy
        self._next: datetime | None = None
        self._last_need: dict[str, datetime] = {}
        self._num_decisions = 0

    def demand_per_second(self, region: str, rate: float, now: datetime) -> float:
        """Return the demand that a region is sized for.

        Args:
            region: The region.
            rate: Its present requests a second.
            now: Time of the decision.

        Returns:
            Requests a second.
        """
        del region, now
        return rate

    def decide(self, snapshot: FleetSnapshot, forecasts: ForecastSet, now: datetime) -> Decision:
        """Return new sizes once a period.

        Args:
            snapshot: What is known.
            forecasts: Demand forecasts; may be ignored.
            now: Virtual time.

        Returns:
            What to do.
        """
        del forecasts
        if self._next is not None and now < self._next:
            return Decision()
        self._next = now + self.PERIOD
        self._num_decisions += 1
        rates = {
            region.name: sum(tier.first_attempt_rate.value or 0.0 for tier in region.tiers)
            for region in snapshot.regions
        }
        states = {state.name: state for state in snapshot.pools}
        sizes, marks = {}, []
        for spec in self.policy.pools:
            counts = states[spec.name].nodes.value if spec.name in states else None
            if counts is None:
                continue
            demand = self.demand_per_second(spec.region, rates.get(spec.region, 0.0), now)
            wanted = self._wanted(spec, counts.desired, demand, now)
            if wanted != counts.desired:
                sizes[spec.name] = wanted
                marks.append(self._mark(spec, counts.desired, wanted, demand, now))
        return Decision(pool_nodes=sizes, marks=tuple(marks))

    def _wanted(self, spec: PoolSpec, desired: int, demand_per_second: float, now: datetime) -> int:
        """Return a pool's size: up at once, down only after the cooldown without need."""
        pools = sum(1 for other in self.policy.pools if other.region == spec.region)
        busy = demand_per_second * self.policy.capacity.gpu_seconds_per_request / pools
        raw = math.ceil(busy / (self.TARGET_RATIO * spec.gpus_per_node))
        wanted = min(max(raw, spec.min_nodes), spec.max_nodes)
        if wanted >= desired:
            self._last_need[spec.name] = now
            return wanted
        since = self._last_need.setdefault(spec.name, now)
        return wanted if now - since >= self.COOLDOWN else desired

    def _mark(self, spec: PoolSpec, before: int, after: int, demand_per_second: float, now: datetime) -> DecisionMark:
        """Return the words for one change of size."""
        return DecisionMark(
            at=now,
            decision_id=f"{self.NAME}-{self._num_decisions:06d}",
            kind="nodes",
            region=spec.region,
            rung=0,
            title=f"{spec.name}: {before} → {after} nodes",
            reason=f"sized for {demand_per_second:.2f} requests/s",
            nodes_added=after - before,
        )


class KedaController(ReplicaController):
    """Sizes pools on the request rate as a KEDA ScaledObject on a Prometheus trigger does.

    Polling every 30 s and a cooldown of 300 s are KEDA's defaults (documentation, "ScaledObject specification").
    """

    NAME = "keda"


class HoltWintersController(ReplicaController):
    """Sizes pools for the rate one lead time ahead, by Holt's linear exponential smoothing.

    The season of a day is left out: no run is long enough to learn one. Level and trend gains 0.3 and 0.1 a minute.
    """

    NAME = "predictive"
    PERIOD = timedelta(seconds=60)
    LEVEL_GAIN = 0.3
    TREND_GAIN = 0.1

    def __init__(self, policy: Policy) -> None:
        """Start without level and trend."""
        super().__init__(policy)
        self._state: dict[str, tuple[float, float]] = {}
        self._seen_at: dict[str, datetime] = {}

    def demand_per_second(self, region: str, rate: float, now: datetime) -> float:
        """Return the rate that level and trend promise one lead time ahead, as :class:`ReplicaController` asks.

        Args:
            region: The region.
            rate: Its present requests a second.
            now: Time of the decision.

        Returns:
            Requests a second.
        """
        if self._seen_at.get(region) != now:
            level, trend = self._state.get(region, (rate, 0.0))
            promised = level + trend
            new_level = promised + self.LEVEL_GAIN * (rate - promised)
            new_trend = trend + self.TREND_GAIN * (new_level - level - trend)
            self._state[region] = new_level, new_trend
            self._seen_at[region] = now
        level, trend = self._state[region]
        lead_seconds = max(spec.lead_time_p95_seconds for spec in self.policy.pools if spec.region == region)
        return max(level + trend * lead_seconds / self.PERIOD.total_seconds(), 0.0)


class DynamoLikeController(ReplicaController):
    """Sizes pools as a throughput planner does: ARIMA(1,1,0) on the request rate every 180 s, within a GPU budget."""

    NAME = "dynamo"
    PERIOD = timedelta(seconds=180)
    WINDOW = 40

    def __init__(self, policy: Policy) -> None:
        """Start without history; the budget is the sum of the largest sizes."""
        super().__init__(policy)
        self._rates: dict[str, deque[float]] = {}
        self._seen_at: dict[str, datetime] = {}

    def demand_per_second(self, region: str, rate: float, now: datetime) -> float:
        """Return the rate of the next period by a fitted AR(1) on its differences, as the base class asks.

        Args:
            region: The region.
            rate: Its present requests a second.
            now: Time of the decision.

        Returns:
            Requests a second.
        """
        rates = self._rates.setdefault(region, deque(maxlen=self.WINDOW))
        if self._seen_at.get(region) != now:
            rates.append(rate)
            self._seen_at[region] = now
        if len(rates) < 4:
            return rate
        changes = np.diff(np.asarray(rates))
        scale = float(changes[:-1] @ changes[:-1])
        weight = float(changes[:-1] @ changes[1:]) / scale if scale > 0.0 else 0.0
        return max(rate + max(min(weight, 1.0), -1.0) * float(changes[-1]), 0.0)


class CapacityOnlyController(MeltguardController):
    """Our planner without limits: forecasts and nodes, and users left alone."""

    def __init__(self, policy: Policy) -> None:
        """Cut the ladder below its first limit."""
        steps = tuple(step for step in policy.ladder.steps if step.rung < Rung.SHAPE_QUIETLY)
        super().__init__(replace(policy, ladder=Ladder(steps=steps)))


class ShapingOnlyController(MeltguardController):
    """Our planner without nodes: limits alone, on the fleet as it stands."""

    def __init__(self, policy: Policy) -> None:
        """Allow no growth."""
        super().__init__(replace(policy, limits=replace(policy.limits, max_nodes_per_hour=0)))
