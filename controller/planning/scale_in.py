"""Gives nodes back, late and one at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from controller.planning.evidence import believable
from controller.planning.nodes import PoolView
from controller.planning.search import (
    RESTORED_SHORTAGE_RATIO,
    RegionGround,
    RegionProblem,
    RegionSearch,
    is_short,
    region_ground,
)
from controller.planning.sizing import RegionSizing
from controller.types import Constraint, PausedDirection, PlanMemory, PoolAction, PoolCondition, Reason
from forecasting.types import FloatArray

NO_SHRINKING = frozenset({PoolCondition.FOREIGN_OWNER, PoolCondition.PAUSED, PoolCondition.UPDATING})
SURPLUS_SECONDS = 180.0
"""How long a node must have cost more than it brings before it goes."""
DRAIN_MARGIN_CELSIUS = 5.0
"""A node that alone has no more margin than this is taken out of service."""
DRAIN_LOAD_RATIO = 0.95
"""The other nodes carry the expected demand when it stays below this share of them; a lost node serves nothing."""
COOL_MARGIN_CELSIUS = 4.0
"""Margin above the target that a pool must keep, now and without the node, before it gives one back."""


def surplus_pool(problem: RegionProblem) -> PoolView | None:
    """Return the pool of a region that could spare a node, the hottest first; None when none could.

    A node is surplus when over the whole horizon it costs more than the requests that would be refused without it are
    worth, and when nobody would have to be limited without it: what we give back must not be what calls the ladder.
    The youngest order goes first where nodes are on their way. Surges, limits and inputs that are not fresh forbid it.
    """
    if not problem.fresh or problem.demand.surging or problem.memory.step_index != 0:
        return None
    if any(view.desired_nodes is None for view in problem.pools):
        return None
    ground: RegionGround | None = None
    for view in sorted(problem.pools, key=lambda view: (-_finite(view.plateau_celsius), view.spec.name)):
        margin = believable(view.state.margin)
        cool = margin is not None and margin.low_celsius >= view.spec.margin_target_celsius + COOL_MARGIN_CELSIUS
        paused = view.spec.paused in (PausedDirection.SCALE_IN, PausedDirection.ALL)
        free = not paused and not view.state.conditions & NO_SHRINKING
        if not cool or not free or (view.desired_nodes or 0) <= view.spec.min_nodes:
            continue
        ground = ground or region_ground(problem)
        change = _without_one(problem, view, ground.serving_nodes)
        options = np.stack([np.zeros_like(change), change])
        sizing = RegionSizing(problem, ground)
        harm = sizing.cost(options) + sizing.refused_harm(options)
        if harm[1] < harm[0] and _stays_unlimited(
            problem, replace(ground, serving_nodes=ground.serving_nodes + change)
        ):
            return view
    return None


def _stays_unlimited(problem: RegionProblem, ground: RegionGround) -> bool:
    """Return whether a region needs no limit over the whole horizon with the nodes of ``ground``.

    The ladder's own question, asked farther ahead and with some to spare: no request that is expected finds the queue
    full, and where no guard answers for the heat, the planned demand leaves the margin that a pool must have now.
    """
    rolling = RegionSearch(problem, (0,) * len(problem.pools), ground)
    course = rolling.roll((), queue_seconds=problem.policy.horizon_seconds)
    target_celsius = max(view.spec.margin_target_celsius for view in problem.pools)
    cool = rolling.guarded or course.lowest_margin(0) >= target_celsius + COOL_MARGIN_CELSIUS
    return cool and not is_short(problem, course, 0, dropped_ratio=RESTORED_SHORTAGE_RATIO)


def _without_one(problem: RegionProblem, view: PoolView, serving_nodes: FloatArray) -> FloatArray:
    """Return the change of serving nodes when one pool gives up a node, shape ``(num_pools, num_steps)``.

    Args:
        problem: The region.
        view: The pool.
        serving_nodes: Nodes that serve in each step, same shape; a node on its way is missed only when it is due.
    """
    change = np.zeros_like(serving_nodes)
    row = problem.pools.index(view)
    path = serving_nodes[row]
    first = int(np.argmax(path >= path[-1])) if path[-1] > path[0] else 0
    change[row, first:] = -1.0
    return change


def drain_target(problem: RegionProblem) -> PoolAction | None:
    """Return the pool that gives its hottest node back because that node alone is about to slow down.

    One node in trouble is no reason to limit anybody: when the others can carry the planned demand it leaves (pools
    give up their hottest node first). Several hot nodes are common heat, which the ladder answers.

    Args:
        problem: The region.

    Returns:
        The action; None when no node is alone in trouble, or it cannot be spared.
    """
    if not problem.fresh or len(problem.memory.relaxations) >= problem.policy.limits.flap_budget_per_hour:
        return None
    gpus = sum((view.serving_nodes or 0) * view.spec.gpus_per_node for view in problem.pools)
    busy = float(problem.demand.expected.sum(axis=0).max()) * problem.policy.capacity.gpu_seconds_per_request
    for view in problem.pools:
        margin, nodes = believable(view.state.margin), view.desired_nodes
        if margin is None or nodes is None or nodes <= view.spec.min_nodes or view.state.arrivals:
            continue
        paused = view.spec.paused in (PausedDirection.SCALE_IN, PausedDirection.ALL)
        alone = margin.num_nodes_low == 1 and (view.serving_nodes or 0) > 1
        in_trouble = alone and margin.minimum_celsius <= DRAIN_MARGIN_CELSIUS
        spared = busy <= (gpus - view.spec.gpus_per_node) * DRAIN_LOAD_RATIO
        if in_trouble and spared and not paused and not view.state.conditions & NO_SHRINKING:
            text = (
                f"{problem.name}: one node of {view.spec.name} alone is down to {margin.minimum_celsius:.0f} °C of "
                f"margin while the median keeps {margin.median_celsius:.0f} °C; it leaves, the others carry the demand"
            )
            why = Reason(code="outlier_drained", text=text)
            return PoolAction(
                pool=view.spec.name, from_nodes=nodes, to_nodes=nodes - 1, ownership=view.spec.ownership, why=why
            )
    return None


def scale_in_target(
    problem: RegionProblem, view: PoolView, memory: PlanMemory, now: datetime
) -> tuple[PoolAction | None, Constraint | None]:
    """Return the pool to shrink by one node, or what holds that back.

    Args:
        problem: The region.
        view: Its pool that could spare a node.
        memory: Since when each pool has had a node to spare.
        now: Time of the decision.

    Returns:
        The action and the bound; both None when the pool's size is not known.
    """
    if view.desired_nodes is None:
        return None, None
    since = memory.pool(view.spec.name).surplus_since
    if since is None or (now - since).total_seconds() < SURPLUS_SECONDS:
        text = f"pool {view.spec.name}: a node is to spare; it goes after {SURPLUS_SECONDS:.0f} s of surplus"
        return None, Constraint(name="surplus_dwell", subject=view.spec.name, text=text)
    if len(problem.memory.relaxations) >= problem.policy.limits.flap_budget_per_hour:
        text = f"pool {view.spec.name}: scale-in held back, the flap budget of this hour is used up"
        return None, Constraint(name="flap_budget", subject=view.spec.name, text=text)
    nodes = view.desired_nodes
    why = Reason(
        code="surplus",
        text=f"{problem.name}: the planned demand has fitted on {nodes - 1} nodes of {view.spec.name} "
        f"for {SURPLUS_SECONDS / 60.0:.0f} min",
    )
    action = PoolAction(
        pool=view.spec.name, from_nodes=nodes, to_nodes=nodes - 1, ownership=view.spec.ownership, why=why
    )
    return action, None


def _finite(value: float) -> float:
    """Return a sortable value for an unknown temperature: such a pool leaves first."""
    return value if np.isfinite(value) else 1e9
