"""Decides for one region: how many nodes, and which position on the ladder.

Called by :mod:`controller.planning.planner` for each region in order of urgency. The search is bounded: every
automatic position that touches demand, times at most :data:`~controller.planning.nodes.MAX_OPTIONS` node counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from controller.planning.demand import RegionDemand
from controller.planning.harm import breaks_hard_guard, harm_of_courses
from controller.planning.ladder import milder, shaping_indices
from controller.planning.nodes import (
    MAX_OPTIONS,
    PoolView,
    extra_nodes,
    growth_room,
    pool_outlook,
    spread_nodes,
)
from controller.planning.outlook import Courses, Outcome, roll_forward
from controller.planning.shaping import admitted_ratio
from controller.types import Alternative, Constraint, Policy, RegionMemory, Rung
from forecasting.types import FloatArray

MAX_ALTERNATIVES = 4
"""Rejected courses that a plan keeps for each region."""
SHORTAGE_RATIO = 0.01
"""Share of demand unserved with every node that can be had; above it limits may be considered without heat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionProblem:
    """What one region's decision rests on.

    Attributes:
        name: The region.
        policy: The policy.
        demand: Its demand over the horizon.
        backlog_requests: Requests that wait now.
        pools: Its pools.
        memory: Where it stands.
        now: Time of the decision.
        fresh: Whether every input that a restore needs is fresh.
        nodes_allowed: Nodes that the fleet's budgets still allow.
        may_disable: Whether another region may be disabled.
    """

    name: str
    policy: Policy
    demand: RegionDemand
    backlog_requests: float
    pools: tuple[PoolView, ...]
    memory: RegionMemory
    now: datetime
    fresh: bool
    nodes_allowed: int
    may_disable: bool


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
        held: Why a restore was held back; empty when none was.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """All courses of one region and what they lead to.

    ``indices`` and ``options`` give each course's position on the ladder and its row in ``spreads``. The last course
    is the counterfactual with neither limits nor new nodes.
    """

    indices: tuple[int, ...]
    options: tuple[int, ...]
    spreads: tuple[tuple[int, ...], ...]
    outcome: Outcome
    harm: FloatArray
    broken: FloatArray
    delay_steps: int

    def lowest_margin(self, course: int) -> float:
        """Return the lowest margin of a course once its flags act."""
        return float(self.outcome.margin_celsius[course, self.delay_steps :].min())


def decide_region(problem: RegionProblem) -> RegionDecision:
    """Return the decision for one region."""
    rooms, constraints = _rooms(problem)
    search = _search(problem, rooms)
    allowed = _allowed_indices(problem, search)
    best = _best_course(search, allowed)
    best_index = search.indices[best]
    index, held = _stable_index(problem, search, best_index)
    taken = best if index == best_index else _best_course(search, (index,))
    if best_index > index:
        constraints = (*constraints, Constraint(name="ladder", subject=problem.name, text=held))
    counterfactual = len(search.indices) - 1
    known = bool(np.isfinite(search.outcome.margin_celsius).any())
    below = np.flatnonzero(search.outcome.margin_celsius[counterfactual] <= 0.0)
    gpus = sum(view.spec.gpus_per_node * _serving(view) for view in problem.pools)
    return RegionDecision(
        best_index=best_index,
        index=index,
        nodes=search.spreads[search.options[taken]],
        min_margin_celsius=search.lowest_margin(taken) if known else None,
        unmitigated_margin_celsius=search.lowest_margin(counterfactual) if known else None,
        crossing_seconds=float(below[0] + 1) * problem.policy.step_seconds if below.size else None,
        peak_demand_per_second=float(problem.demand.planned.sum(axis=0).max()),
        capacity_per_second=gpus / problem.policy.capacity.gpu_seconds_per_request,
        held=held,
        constraints=constraints,
        alternatives=_alternatives(problem, search, taken, allowed),
    )


def _serving(view: PoolView) -> int:
    """Return the nodes of a pool that serve; none when unknown, which can only make the plan more careful."""
    counts = view.state.nodes.value if view.state is not None else None
    return 0 if counts is None else counts.serving


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


def _search(problem: RegionProblem, rooms: tuple[int, ...]) -> _Search:
    """Roll all courses of a region forward and price them."""
    policy = problem.policy
    num_steps = problem.demand.planned.shape[1]
    positions = (0, *shaping_indices(policy.ladder))
    most = min(sum(rooms), problem.nodes_allowed)
    counts = sorted({round(count) for count in np.linspace(0, most, min(most + 1, MAX_OPTIONS))})
    spreads = tuple(spread_nodes(problem.pools, rooms, count) for count in counts)
    serving = extra_nodes(problem.pools, spreads, num_steps=num_steps, step_seconds=policy.step_seconds)
    courses = [(index, option) for index in positions for option in range(len(spreads))]
    courses.append((0, 0))
    admitted = np.array(
        [[admitted_ratio(policy.ladder.steps[index], tier) for tier in policy.tiers] for index, _ in courses]
    )
    current = [admitted_ratio(policy.ladder.steps[problem.memory.step_index], tier) for tier in policy.tiers]
    before = np.tile(current, (len(courses), 1))
    before[-1] = 1.0
    delay_steps = min(int(np.ceil(policy.flag_propagation_seconds / policy.step_seconds)), num_steps - 1)
    outcome = roll_forward(
        demand_per_second=problem.demand.planned,
        backlog_requests=problem.backlog_requests,
        pools=tuple(
            pool_outlook(view, now=problem.now, num_steps=num_steps, step_seconds=policy.step_seconds)
            for view in problem.pools
        ),
        courses=Courses(
            admitted_before=before,
            admitted_after=admitted,
            delay_steps=delay_steps,
            extra_nodes=serving[[option for _, option in courses]],
        ),
        gpu_seconds_per_request=policy.capacity.gpu_seconds_per_request,
        step_seconds=policy.step_seconds,
    )
    prices = np.array([view.spec.cost_per_node_hour for view in problem.pools])
    harm = harm_of_courses(
        outcome,
        policy=policy,
        expected_per_second=problem.demand.expected,
        admitted_after=admitted,
        nodes_cost_per_hour=np.array([float(np.dot(spreads[option], prices)) for _, option in courses]),
        margin_target_celsius=max((view.spec.margin_target_celsius for view in problem.pools), default=0.0),
        delay_steps=delay_steps,
    )
    broken = breaks_hard_guard(outcome, delay_steps=delay_steps, step_seconds=policy.step_seconds)
    indices, options = zip(*courses, strict=True)
    return _Search(
        indices=indices,
        options=options,
        spreads=spreads,
        outcome=outcome,
        harm=harm,
        broken=broken,
        delay_steps=delay_steps,
    )


def _allowed_indices(problem: RegionProblem, search: _Search) -> tuple[int, ...]:
    """Return the positions that may be considered: those whose enter margin the gentlest course undercuts.

    A region that is short of capacity whatever is ordered may be shaped without heat: a refusal with a reason is
    better than a queue that times out. The present position always stays in the running.
    """
    unshaped = [course for course in range(len(search.indices) - 1) if search.indices[course] == 0]
    margin = max(search.lowest_margin(course) for course in unshaped)
    requests = max(float(problem.demand.planned.sum()) * problem.policy.step_seconds, 1e-9)
    shortage = min(float(search.outcome.unserved[course]) for course in unshaped) / requests > SHORTAGE_RATIO
    steps = problem.policy.ladder.steps
    allowed = [0]
    for index in shaping_indices(problem.policy.ladder):
        if steps[index].rung is Rung.DISABLE_FREE and not problem.may_disable:
            continue
        if shortage or margin < steps[index].enter_margin_celsius or index == problem.memory.step_index:
            allowed.append(index)
    return tuple(allowed)


def _best_course(search: _Search, allowed: tuple[int, ...]) -> int:
    """Return the course with the least harm among those that keep the hard guard, or the coolest if none does."""
    candidates = [course for course in range(len(search.indices) - 1) if search.indices[course] in allowed]
    if not candidates:
        candidates = [course for course in range(len(search.indices) - 1) if search.indices[course] == 0]
    # Rounding keeps float noise of equal shortfalls from deciding between courses of very different harm.
    return min(
        candidates,
        key=lambda course: (
            round(float(search.broken[course]), 1),
            float(search.harm[course]),
            search.indices[course],
            search.options[course],
        ),
    )


def _stable_index(problem: RegionProblem, search: _Search, best_index: int) -> tuple[int, str]:
    """Return the position to take and why a restore was held back.

    Cases: escalation goes at once, unless a breaker is open; staying stays; a restore moves one position, and only
    when the inputs are fresh, the dwell is over, the flap budget has room and the counterfactual keeps the exit margin.
    """
    current = problem.memory.step_index
    if best_index >= current:
        if best_index > current and problem.memory.breaker_open:
            return current, f"{problem.name}: breaker open, no automatic escalation until a person resets it"
        return best_index, ""
    step = problem.policy.ladder.steps[current]
    target = milder(problem.policy.ladder, current)
    since = problem.memory.since
    dwelt_seconds = float("inf") if since is None else (problem.now - since).total_seconds()
    counterfactual = max(
        search.lowest_margin(course)
        for course in range(len(search.indices) - 1)
        if search.indices[course] == target and search.options[course] == 0
    )
    if not problem.fresh:
        return current, f"{problem.name}: restore held back, an input is not fresh"
    if dwelt_seconds < step.min_dwell_seconds:
        return current, f"{problem.name}: restore held back for {step.min_dwell_seconds - dwelt_seconds:.0f} s of dwell"
    if len(problem.memory.relaxations) >= problem.policy.limits.flap_budget_per_hour:
        return current, f"{problem.name}: restore held back, the flap budget of this hour is used up"
    if counterfactual < step.exit_margin_celsius:
        return current, (
            f"{problem.name}: restore held back, one step milder would leave {counterfactual:.1f} °C of margin, "
            f"{step.exit_margin_celsius:.1f} °C are asked"
        )
    return target, ""


def _alternatives(
    problem: RegionProblem, search: _Search, taken: int, allowed: tuple[int, ...]
) -> tuple[Alternative, ...]:
    """Return the best course of each other position, best first, with what spoke against it."""
    ladder = problem.policy.ladder
    rows = []
    for index in sorted(set(search.indices)):
        if index == search.indices[taken]:
            continue
        course = _best_course(search, (index,))
        if index not in allowed:
            why = "not needed: margin stays above its enter margin"
        elif search.broken[course] > 0.0:
            why = f"would leave {search.lowest_margin(course):.1f} °C of margin"
        elif search.harm[course] > search.harm[taken]:
            why = f"harms more by {search.harm[course] - search.harm[taken]:.2f} over the horizon"
        else:
            why = "held back by dwell, exit margin or freshness"
        rows.append(
            Alternative(
                region=problem.name,
                rung=ladder.steps[index].rung,
                step_index=index,
                nodes_added=sum(search.spreads[search.options[course]]),
                harm=float(search.harm[course]),
                min_margin_celsius=search.lowest_margin(course),
                why_not=why,
            )
        )
    rows.sort(key=lambda row: (row.harm, row.step_index))
    return tuple(rows[:MAX_ALTERNATIVES])
