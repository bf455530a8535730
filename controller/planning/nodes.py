"""How many nodes may be added or taken away, and to which pools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from controller.planning.evidence import believable
from controller.planning.heat import fallback_thermal
from controller.types import (
    Constraint,
    NodeCounts,
    PausedDirection,
    PoolCondition,
    PoolMemory,
    PoolSpec,
    PoolState,
    PoolThermal,
)
from forecasting.capacity import CapacityModel
from forecasting.types import FloatArray

NO_GROWTH = frozenset(
    {PoolCondition.STOCK_OUT, PoolCondition.QUOTA_EXCEEDED, PoolCondition.FOREIGN_OWNER, PoolCondition.PAUSED}
)
MAX_OPTIONS = 8
"""Most node counts that one decision compares for a region."""
ORDER_PATIENCE_FACTOR = 1.5
"""An order that no reading shows is believed for this many lead times at 95 %; then it is taken for lost."""


DRIFT_WINDOW_SECONDS = 600.0
"""Longest window over which observers measure a room's drift; until it has passed, it shows our own scale-in."""
ROOM_HEAT_MARGIN_CELSIUS = 5.0
"""Margin above the target below which a warming room forbids more nodes."""
ROOM_HEAT_CELSIUS_PER_SECOND = 0.005
"""Drift of a pool's plateau from which its room counts as warming up: half a degree in less than two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """One pool: what it is, how it is seen, and what is remembered of it.

    Attributes:
        spec: From the policy.
        state: From the snapshot, as far as it may be believed.
        memory: What was done to it.
    """

    spec: PoolSpec
    state: PoolState
    memory: PoolMemory

    @property
    def counts(self) -> NodeCounts | None:
        """Node counts, fresh or old; None when unknown."""
        return believable(self.state.nodes)

    @property
    def serving_nodes(self) -> int | None:
        """Nodes that serve, or that did when they were last counted; None when they never were."""
        return self.memory.seen_nodes if self.counts is None else self.counts.serving

    @property
    def desired_nodes(self) -> int | None:
        """Nodes that the pool was asked to be; None when unknown.

        A reading from before our last order does not know of it; the order then stands for the reading.
        """
        counts = self.counts
        if counts is None:
            return None
        ordered_at, read_at = self._last_order(), self.state.nodes.as_of
        if ordered_at is not None and read_at is not None and read_at <= ordered_at:
            return counts.desired if self.memory.desired_nodes is None else self.memory.desired_nodes
        return counts.desired

    @property
    def guard_ratio(self) -> float | None:
        """Share of full work that the pods' guards allow now; None where no guard answers and none can be relied on."""
        return self.state.guard_ratio.value if self.state.guard_ratio.is_fresh else None

    @property
    def plateau_celsius(self) -> float:
        """Where its unfavourable GPU would settle fully used; infinity when unknown, so that it comes last."""
        thermal = believable(self.state.thermal)
        if thermal is None:
            return float("inf")
        return thermal.offset_celsius + sum(thermal.gains_celsius_per_watt) * thermal.busy_power_watts

    def _last_order(self) -> datetime | None:
        """Return when the pool's size was last changed by us."""
        times = [at for at in (self.memory.last_scale_out, self.memory.last_scale_in) if at is not None]
        return max(times, default=None)


def serving_path(view: PoolView, *, now: datetime, num_steps: int, step_seconds: float) -> FloatArray:
    """Return the pool's serving nodes over the horizon, counting nodes on their way from their 95 % arrival.

    A node that is overdue is expected no sooner than the spread of its lead time from now; one that was ordered but
    that no reading shows yet, a lead time after its order. A pool that was never counted is taken at its largest, for
    an unknown pool is no evidence of a shortage.

    Args:
        view: The pool.
        now: Time of the decision.
        num_steps: Length of the horizon.
        step_seconds: Length of a step.

    Returns:
        Nodes, shape ``(num_steps,)``.
    """
    known = view.serving_nodes
    serving = np.full(num_steps, float(view.spec.max_nodes if known is None else known))
    if PoolCondition.STOCK_OUT in view.state.conditions:
        return serving
    slack_seconds = view.spec.lead_time_p95_seconds - view.spec.lead_time_p50_seconds
    for arrival in view.state.arrivals:
        wait_seconds = (arrival.expected_p95 - now).total_seconds()
        due_seconds = wait_seconds if wait_seconds > 0.0 else slack_seconds
        serving[min(int(np.ceil(due_seconds / step_seconds)), num_steps) :] += arrival.num_nodes
    unseen, due_seconds = _unseen_order(view, now)
    serving[min(int(np.ceil(due_seconds / step_seconds)), num_steps) :] += unseen
    return serving


def _unseen_order(view: PoolView, now: datetime) -> tuple[int, float]:
    """Return how many nodes were ordered that no reading shows yet, and in how many seconds they are due."""
    counts, ordered_at, desired = view.counts, view.memory.last_scale_out, view.desired_nodes
    if counts is None or ordered_at is None or desired is None:
        return 0, 0.0
    patience_seconds = ORDER_PATIENCE_FACTOR * view.spec.lead_time_p95_seconds
    since_seconds = (now - ordered_at).total_seconds()
    if since_seconds > patience_seconds:
        return 0, 0.0
    shown = counts.serving + sum(arrival.num_nodes for arrival in view.state.arrivals)
    return max(desired - shown, 0), max(view.spec.lead_time_p95_seconds - since_seconds, 0.0)


def pool_thermal(view: PoolView, capacity: CapacityModel, now: datetime) -> PoolThermal | None:
    """Return the response that the roll-forward uses for a pool; None when nothing is known about its heat.

    A drift that was measured across our own scale-in is left out.

    Cases: a fitted response that the seen margin bears out; a fitted response above the seen margin of two nodes or
    more, which is lowered to what is seen; no fitted response but a seen margin, which the measured class carries on.

    Args:
        view: The pool.
        capacity: Power of an idle and a busy GPU.
        now: Time of the decision.

    Returns:
        The response.
    """
    thermal, margin = believable(view.state.thermal), believable(view.state.margin)
    shrunk = view.memory.last_scale_in
    if thermal is not None and shrunk is not None and (now - shrunk).total_seconds() < DRIFT_WINDOW_SECONDS:
        # The others took over the load of the node that left; the room did not warm up.
        thermal = replace(thermal, offset_trend_celsius_per_second=0.0)
    if margin is None:
        return thermal
    common = margin.num_nodes_low >= 2 or (view.serving_nodes or 0) <= 1
    seen_celsius = margin.low_celsius if common else margin.median_celsius
    if thermal is None:
        power = believable(view.state.power_watts)
        return fallback_thermal(
            seen_celsius,
            capacity.busy_watts_per_gpu if power is None else power,
            idle_power_watts=capacity.idle_watts_per_gpu,
            busy_power_watts=capacity.busy_watts_per_gpu,
        )
    rise = sum(g * x for g, x in zip(thermal.gains_celsius_per_watt, thermal.filtered_power_watts, strict=True))
    modelled_celsius = thermal.limit_celsius - thermal.offset_celsius - rise
    if modelled_celsius <= seen_celsius:
        return thermal
    return replace(thermal, offset_celsius=thermal.offset_celsius + modelled_celsius - seen_celsius)


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
    blocking = sorted(condition.value for condition in view.state.conditions & NO_GROWTH)
    if blocking:
        return 0, Constraint(name=blocking[0], subject=spec.name, text=f"pool {spec.name}: {blocking[0]}")
    if _warms_its_room(view):
        text = f"pool {spec.name}: its room warms up under the load; more nodes would add heat, not capacity"
        return 0, Constraint(name="room_heat", subject=spec.name, text=text)
    room = min(spec.max_nodes - desired, spec.max_step_nodes)
    if room <= 0:
        return 0, Constraint(
            name="max_nodes", subject=spec.name, text=f"pool {spec.name} is at its largest size, {spec.max_nodes} nodes"
        )
    return room, None


def _warms_its_room(view: PoolView) -> bool:
    """Return whether a pool is near its limit because its room warms up, which more nodes would only speed up."""
    margin, thermal = believable(view.state.margin), believable(view.state.thermal)
    if margin is None or thermal is None:
        return False
    near = margin.low_celsius < view.spec.margin_target_celsius + ROOM_HEAT_MARGIN_CELSIUS
    return near and thermal.offset_trend_celsius_per_second > ROOM_HEAT_CELSIUS_PER_SECOND


def spread_nodes(views: tuple[PoolView, ...], rooms: tuple[int, ...], num_nodes: int) -> tuple[int, ...]:
    """Spread nodes over pools: cooler pools first, each up to its room.

    Args:
        views: The pools.
        rooms: Most that each may take.
        num_nodes: How many are to be spread.

    Returns:
        Nodes for each pool.
    """
    counts = [0] * len(views)
    left = num_nodes
    for index in sorted(range(len(views)), key=lambda index: (views[index].plateau_celsius, views[index].spec.name)):
        counts[index] = min(rooms[index], left)
        left -= counts[index]
    return tuple(counts)


def extra_nodes(
    views: tuple[PoolView, ...], spreads: tuple[tuple[int, ...], ...], *, num_steps: int, step_seconds: float
) -> FloatArray:
    """Return the ordered nodes that serve in each step.

    Args:
        views: The pools.
        spreads: Nodes for each pool, one row an option.
        num_steps: Length of the horizon.
        step_seconds: Length of a step.

    Returns:
        Nodes, shape ``(num_options, num_pools, num_steps)``.
    """
    serving = np.zeros((len(spreads), len(views), num_steps))
    for option, counts in enumerate(spreads):
        for index, (view, count) in enumerate(zip(views, counts, strict=True)):
            # Capacity is counted only from the time by which it is there with 95 % probability.
            first = int(np.ceil(view.spec.lead_time_p95_seconds / step_seconds))
            serving[option, index, min(first, num_steps) :] = count
    return serving
