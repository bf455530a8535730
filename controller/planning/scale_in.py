"""Gives nodes back, late and one at a time."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from controller.planning.evidence import believable
from controller.planning.nodes import PoolView
from controller.planning.search import RegionProblem
from controller.types import Constraint, PausedDirection, PlanMemory, PoolAction, PoolCondition, Reason

NO_SHRINKING = frozenset({PoolCondition.FOREIGN_OWNER, PoolCondition.PAUSED, PoolCondition.UPDATING})
SURPLUS_SECONDS = 900.0
"""How long a pool must have had a node too many before it gives one back."""
SPARE_RATIO = 0.85
"""A node is surplus when the others would stay below this share of the planned utilisation."""
DRAIN_MARGIN_CELSIUS = 5.0
"""A node that alone has no more margin than this is taken out of service."""
DRAIN_LOAD_RATIO = 0.95
"""The other nodes carry the expected demand when it stays below this share of them; a lost node serves nothing."""
COOL_MARGIN_CELSIUS = 4.0
"""Margin above the target that the pool must keep now before it gives a node back."""


def surplus_pool(problem: RegionProblem) -> PoolView | None:
    """Return the pool of a region that could spare a node, the hottest first; None when none could.

    A node is surplus when the planned demand of the whole horizon fits on the others with room to spare. Nodes on
    their way, surges and inputs that are not fresh forbid it.
    """
    if not problem.fresh or problem.demand.surging or problem.memory.step_index != 0:
        return None
    if any(view.state.arrivals or view.desired_nodes is None for view in problem.pools):
        return None
    capacity = problem.policy.capacity
    gpus = sum((view.desired_nodes or 0) * view.spec.gpus_per_node for view in problem.pools)
    busy = float(problem.demand.planned.sum(axis=0).max()) * capacity.gpu_seconds_per_request
    for view in sorted(problem.pools, key=lambda view: (-_finite(view.plateau_celsius), view.spec.name)):
        margin = believable(view.state.margin)
        nodes = view.desired_nodes or 0
        cool = margin is not None and margin.low_celsius >= view.spec.margin_target_celsius + COOL_MARGIN_CELSIUS
        left = gpus - view.spec.gpus_per_node
        fits = left > 0 and busy / left <= capacity.utilization_target_ratio * SPARE_RATIO
        paused = view.spec.paused in (PausedDirection.SCALE_IN, PausedDirection.ALL)
        free = not paused and not view.state.conditions & NO_SHRINKING
        if cool and fits and free and nodes > view.spec.min_nodes:
            return view
    return None


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
    problem: RegionProblem, memory: PlanMemory, now: datetime
) -> tuple[PoolAction | None, Constraint | None]:
    """Return the pool to shrink by one node, or what holds that back.

    Args:
        problem: The region.
        memory: Since when each pool has had a node to spare.
        now: Time of the decision.

    Returns:
        The action and the bound; both None when there is no surplus.
    """
    view = surplus_pool(problem)
    if view is None or view.desired_nodes is None:
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
