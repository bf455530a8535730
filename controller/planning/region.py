"""Decides for one region: how many nodes, and which position on the ladder.

Called by :mod:`controller.planning.planner` for each region in order of urgency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.planning.ladder import is_permitted, shaping_indices
from controller.planning.nodes import MAX_OPTIONS, extra_nodes, growth_room, spread_nodes
from controller.planning.search import (
    SHORTAGE_RATIO,
    RegionGround,
    RegionProblem,
    RegionSearch,
    Search,
    is_short,
    region_ground,
)
from controller.planning.sizing import RegionSizing
from controller.planning.stability import duration_constraint, override_index, stable_index
from controller.types import Alternative, Constraint, Rung

ORDER_RELUCTANCE = 0.1
"""A node must bring this share more than it costs before it is ordered; keeps orders and their opposites apart."""
MAX_ALTERNATIVES = 4
"""Rejected courses that a plan keeps for each region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionDecision:
    """What was decided for one region.

    Attributes:
        best_index: Position that the optimiser prefers.
        index: Position that is taken, after the rules of stability.
        nodes: Nodes to add to each pool.
        min_margin_celsius: Lowest predicted margin of the course taken; None without thermal data.
        unmitigated_margin_celsius: The same with neither limits nor new nodes; None without thermal data.
        crossing_seconds: When the unmitigated course passes the limit; None when not within the horizon.
        peak_demand_per_second: Highest planned demand, requests a second.
        capacity_per_second: Requests that the serving nodes can finish a second.
        held: Why the optimiser's position is not taken; empty when it is.
        constraints: Bounds that changed the decision.
        alternatives: Courses that were rejected, best first.
    """

    best_index: int
    index: int
    nodes: tuple[int, ...]
    min_margin_celsius: float | None
    unmitigated_margin_celsius: float | None
    crossing_seconds: float | None
    peak_demand_per_second: float
    capacity_per_second: float
    held: str
    constraints: tuple[Constraint, ...]
    alternatives: tuple[Alternative, ...]


def decide_region(problem: RegionProblem) -> RegionDecision:
    """Return the decision for one region.

    Nodes first, over the whole horizon, for they take minutes to arrive; then the position on the ladder, over the
    time that flags and heat need, for a limit that is needed later can also be set later.
    """
    rooms, constraints = _rooms(problem)
    spreads = possible_spreads(problem, rooms)
    ground = region_ground(problem)
    nodes = nodes_that_pay(problem, spreads, ground)
    rolling = RegionSearch(problem, nodes, ground)
    unlimited = rolling.roll((), whole_horizon=True)
    search = rolling.roll(_positions(problem))
    allowed, barred = _allowed_indices(problem, search, guarded=rolling.guarded)
    best_index = search.indices[search.best(allowed)]
    index, held = stable_index(problem, rolling, best_index)
    taken = search.indices.index(index)
    if best_index > index:
        constraints = (*constraints, Constraint(name="ladder", subject=problem.name, text=held))
    counterfactual = len(unlimited.indices) - 1
    known = bool(np.isfinite(unlimited.outcome.margin_celsius).any())
    below = np.flatnonzero(unlimited.outcome.margin_celsius[counterfactual] <= 0.0)
    gpus = sum(view.spec.gpus_per_node * (view.serving_nodes or 0) for view in problem.pools)
    return RegionDecision(
        best_index=best_index,
        index=index,
        nodes=nodes,
        min_margin_celsius=search.lowest_margin(taken) if known else None,
        unmitigated_margin_celsius=unlimited.lowest_margin(counterfactual) if known else None,
        crossing_seconds=float(below[0] + 1) * problem.policy.step_seconds if below.size else None,
        peak_demand_per_second=float(problem.demand.planned.sum(axis=0).max()),
        capacity_per_second=gpus / problem.policy.capacity.gpu_seconds_per_request,
        held=held,
        constraints=(*constraints, *barred, *duration_constraint(problem)),
        alternatives=_alternatives(problem, search, taken, allowed, nodes_added=sum(nodes)),
    )


def nodes_that_pay(
    problem: RegionProblem, spreads: tuple[tuple[int, ...], ...], ground: RegionGround
) -> tuple[int, ...]:
    """Return the node counts to add: those whose requests are worth the most above their cost, with some to spare.

    Args:
        problem: The region.
        spreads: Node counts that are compared, as :func:`possible_spreads` returns them.
        ground: The region's nodes and heat.

    Returns:
        Nodes for each pool.
    """
    if len(spreads) == 1:
        return spreads[0]
    num_steps, step_seconds = problem.demand.planned.shape[1], problem.policy.step_seconds
    extra = extra_nodes(problem.pools, spreads, num_steps=num_steps, step_seconds=step_seconds)
    sizing = RegionSizing(problem, ground)
    price = (1.0 + ORDER_RELUCTANCE) * sizing.cost(extra)
    # No order can be worth more than everything that is refused without one.
    refused = sizing.refused_harm(extra[:1])
    worth = int(np.searchsorted(price, refused[0]))
    if worth <= 1:
        return spreads[0]
    return spreads[int(np.argmin(price[:worth] + sizing.refused_harm(extra[:worth])))]


def _positions(problem: RegionProblem) -> tuple[int, ...]:
    """Return the positions whose courses are compared: none, all that may be held, the present one, a person's."""
    positions = {0, *shaping_indices(problem.policy.ladder, approved=problem.approved), problem.memory.step_index}
    if problem.override is not None:
        positions.add(override_index(problem))
    return tuple(sorted(positions))


def _rooms(problem: RegionProblem) -> tuple[tuple[int, ...], tuple[Constraint, ...]]:
    """Return how many nodes each pool may add, and what bounds that."""
    rooms, constraints = [], []
    for view in problem.pools:
        room, constraint = growth_room(view)
        rooms.append(min(room, problem.nodes_allowed))
        if constraint is not None:
            constraints.append(constraint)
        elif room > problem.nodes_allowed:
            text = f"budget allows {problem.nodes_allowed} more nodes in this hour"
            constraints.append(Constraint(name="budget", subject=view.spec.name, text=text))
    return tuple(rooms), tuple(constraints)


def possible_spreads(problem: RegionProblem, rooms: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the node counts that are compared, each spread over the region's pools; the first adds none.

    This is the search's only approximation: at most :data:`~controller.planning.nodes.MAX_OPTIONS` totals, and cooler
    pools first whatever they cost. With pools of one price and lead time nothing is lost by it.

    Args:
        problem: The region.
        rooms: Most nodes that each pool may take.

    Returns:
        Nodes for each pool, one row an option, ascending in their total.
    """
    most = min(sum(rooms), problem.nodes_allowed)
    counts = sorted({round(count) for count in np.linspace(0, most, min(most + 1, MAX_OPTIONS))})
    return tuple(spread_nodes(problem.pools, rooms, count) for count in counts)


def _allowed_indices(
    problem: RegionProblem, search: Search, *, guarded: bool
) -> tuple[frozenset[int], tuple[Constraint, ...]]:
    """Return the positions that may be considered, and what barred those that heat alone would have allowed.

    A position may be considered when the unlimited course undercuts its enter margin. A region that runs short of
    capacity within minutes may be shaped without heat: a refusal with a reason is better than a queue that times out.
    Where the pods guard themselves heat shows as a shortage, and is met as one.
    The present position always stays in the running; the fleet's blast radius bars positions beyond it.
    """
    unlimited = search.indices.index(0)
    margin = search.lowest_margin(unlimited)
    shortage = is_short(problem, search, unlimited, dropped_ratio=SHORTAGE_RATIO)
    steps, current = problem.policy.ladder.steps, problem.memory.step_index
    allowed = {0, current}
    barred: dict[str, str] = {}
    for index in _positions(problem):
        step = steps[index]
        called_for = shortage or (margin < step.enter_margin_celsius and not guarded)
        if index in allowed or not called_for or not is_permitted(step, approved=problem.approved):
            continue
        if step.rung >= Rung.DISABLE_FREE and not problem.may_disable:
            barred["max_regions_disabled"] = f"{problem.name}: another region may not be disabled"
        elif index > current and problem.withheld_per_second(index) > problem.shaping_room_per_second:
            barred["max_shaped_demand_ratio"] = (
                f"{problem.name}: rung {int(step.rung)} would limit more than "
                f"{problem.policy.limits.max_shaped_demand_ratio:.0%} of all demand; a person must decide"
            )
        else:
            allowed.add(index)
    bounds = (Constraint(name=name, subject=problem.name, text=text) for name, text in barred.items())
    return frozenset(allowed), tuple(bounds)


def _alternatives(
    problem: RegionProblem, search: Search, taken: int, allowed: frozenset[int], *, nodes_added: int
) -> tuple[Alternative, ...]:
    """Return the other positions, best first, with what spoke against each."""
    rows = []
    for course, index in enumerate(search.indices[:-1]):
        if course == taken:
            continue
        if index not in allowed:
            why = "not called for by its enter margin, or barred by a bound"
        elif search.broken[course] > 0.0:
            why = f"would leave {search.lowest_margin(course):.1f} °C of margin"
        elif search.harm[course] > search.harm[taken]:
            why = f"harms more by {search.harm[course] - search.harm[taken]:.2f} over the next minutes"
        else:
            why = "held back by dwell, exit margin, freshness or a person"
        rows.append(
            Alternative(
                region=problem.name,
                rung=problem.policy.ladder.steps[index].rung,
                step_index=index,
                nodes_added=nodes_added,
                harm=float(search.harm[course]),
                min_margin_celsius=search.lowest_margin(course),
                why_not=why,
            )
        )
    rows.sort(key=lambda row: (row.harm, row.step_index))
    return tuple(rows[:MAX_ALTERNATIVES])
