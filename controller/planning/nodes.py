"""How many nodes may be added or taken away, and to which pools."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from controller.planning.outlook import PoolOutlook
from controller.types import Constraint, PausedDirection, PoolCondition, PoolSpec, PoolState
from forecasting.types import FloatArray

NO_GROWTH = frozenset({PoolCondition.STOCK_OUT, PoolCondition.QUOTA_EXCEEDED, PoolCondition.FOREIGN_OWNER})
MAX_OPTIONS = 8
"""Most node counts that one decision compares for a region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """One pool: what it is, and how it was seen.

    Attributes:
        spec: From the policy.
        state: From the snapshot; None when the snapshot does not know the pool.
    """

    spec: PoolSpec
    state: PoolState | None

    @property
    def desired_nodes(self) -> int | None:
        """Nodes that the pool was asked to be; None when unknown."""
        counts = self.state.nodes.value if self.state is not None else None
        return None if counts is None else counts.desired

    @property
    def plateau_celsius(self) -> float:
        """Where its unfavourable GPU would settle fully used; infinity when unknown, so that it comes last."""
        thermal = self.state.thermal.value if self.state is not None else None
        if thermal is None:
            return float("inf")
        return thermal.offset_celsius + sum(thermal.gains_celsius_per_watt) * thermal.busy_power_watts


def pool_outlook(view: PoolView, *, now: datetime, num_steps: int, step_seconds: float) -> PoolOutlook:
    """Return the pool's serving nodes over the horizon, counting nodes on their way from their 95 % arrival.

    A node that is overdue is expected no sooner than the spread of its lead time from now.
    """
    counts = view.state.nodes.value if view.state is not None else None
    serving = np.full(num_steps, 0.0 if counts is None else float(counts.serving))
    if view.state is not None and PoolCondition.STOCK_OUT not in view.state.conditions:
        slack_seconds = view.spec.lead_time_p95_seconds - view.spec.lead_time_p50_seconds
        for arrival in view.state.arrivals:
            wait_seconds = (arrival.expected_p95 - now).total_seconds()
            due_seconds = wait_seconds if wait_seconds > 0.0 else slack_seconds
            serving[min(int(np.ceil(due_seconds / step_seconds)), num_steps) :] += arrival.num_nodes
    thermal = view.state.thermal.value if view.state is not None else None
    return PoolOutlook(thermal=thermal, gpus_per_node=view.spec.gpus_per_node, serving_nodes=serving)


def growth_room(view: PoolView) -> tuple[int, Constraint | None]:
    """Return how many nodes may be added to a pool in one decision, and what bound it if anything did."""
    spec = view.spec
    desired = view.desired_nodes
    if desired is None:
        return 0, Constraint(name="pool_unknown", subject=spec.name, text=f"pool {spec.name}: size is not known")
    if spec.paused in (PausedDirection.SCALE_OUT, PausedDirection.ALL):
        return 0, Constraint(
            name="paused", subject=spec.name, text=f"pool {spec.name}: scale-out is paused by a person"
        )
    conditions = view.state.conditions if view.state is not None else frozenset()
    blocking = sorted(condition.value for condition in conditions & NO_GROWTH)
    if blocking:
        return 0, Constraint(name=blocking[0], subject=spec.name, text=f"pool {spec.name}: {blocking[0]}")
    room = min(spec.max_nodes - desired, spec.max_step_nodes)
    if room <= 0:
        return 0, Constraint(
            name="max_nodes", subject=spec.name, text=f"pool {spec.name} is at its largest size, {spec.max_nodes} nodes"
        )
    return room, None


def spread_nodes(views: tuple[PoolView, ...], rooms: tuple[int, ...], num_nodes: int) -> tuple[int, ...]:
    """Return how many of ``num_nodes`` go to each pool: cooler pools first, each up to its room."""
    counts = [0] * len(views)
    left = num_nodes
    for index in sorted(range(len(views)), key=lambda index: (views[index].plateau_celsius, views[index].spec.name)):
        counts[index] = min(rooms[index], left)
        left -= counts[index]
    return tuple(counts)


def extra_nodes(
    views: tuple[PoolView, ...], spreads: tuple[tuple[int, ...], ...], *, num_steps: int, step_seconds: float
) -> FloatArray:
    """Return the ordered nodes that serve in each step, shape ``(num_options, num_pools, num_steps)``."""
    serving = np.zeros((len(spreads), len(views), num_steps))
    for option, counts in enumerate(spreads):
        for index, (view, count) in enumerate(zip(views, counts, strict=True)):
            # Capacity is counted only from the time by which it is there with 95 % probability.
            first = int(np.ceil(view.spec.lead_time_p95_seconds / step_seconds))
            serving[option, index, min(first, num_steps) :] = count
    return serving
