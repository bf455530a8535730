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
"""Share of demand unserved in the next minutes; above it limits may be considered without heat."""
SHAPING_LEAD_SECONDS = 600.0
"""How far ahead limits are chosen: flags take seconds, a GPU a few minutes, a warming room about ten."""


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
    """Courses of one region and what they lead to.

    ``indices`` and ``options`` give each course's position on the ladder and its row in ``spreads``. The last course
    is the counterfactual: neither limits nor new nodes, from this moment on.
    """

    indices: tuple[int, ...]
    options: tuple[int, ...]
    outcome: Outcome
    harm: FloatArray
    broken: FloatArray
    delay_steps: int

    def lowest_margin(self, course: int) -> float:
        """Return the lowest margin of a course once its flags act."""
        return float(self.outcome.margin_celsius[course, self.delay_steps :].min())


def decide_region(problem: RegionProblem) -> RegionDecision:
    """Return the decision for one region.

    Nodes first, over the whole horizon, for they take minutes to arrive; then the position on the ladder, over the
    time that flags and heat need, for a limit that is needed later can also be set later.
    """
    rooms, constraints = _rooms(problem)
    spreads = _spreads(problem, rooms)
    unlimited = _roll(problem, spreads, tuple((0, option) for option in range(len(spreads))), whole_horizon=True)
    option = _best_course(unlimited, (0,))
    positions = (0, *shaping_indices(problem.policy.ladder))
    search = _roll(problem, spreads, tuple((index, option) for index in positions), whole_horizon=False)
    allowed = _allowed_indices(problem, search)
    best_index = search.indices[_best_course(search, allowed)]
    index, held = _stable_index(problem, spreads, search.indices, best_index)
    taken = search.indices.index(index)
    if best_index > index:
        constraints = (*constraints, Constraint(name="ladder", subject=problem.name, text=held))
    counterfactual = len(unlimited.indices) - 1
    known = bool(np.isfinite(unlimited.outcome.margin_celsius).any())
    below = np.flatnonzero(unlimited.outcome.margin_celsius[counterfactual] <= 0.0)
    gpus = sum(view.spec.gpus_per_node * _serving(view) for view in problem.pools)
    return RegionDecision(
        best_index=best_index,
        index=index,
        nodes=spreads[option],
        min_margin_celsius=search.lowest_margin(taken) if known else None,
        unmitigated_margin_celsius=unlimited.lowest_margin(counterfactual) if known else None,
        crossing_seconds=float(below[0] + 1) * problem.policy.step_seconds if below.size else None,
        peak_demand_per_second=float(problem.demand.planned.sum(axis=0).max()),
        capacity_per_second=gpus / problem.policy.capacity.gpu_seconds_per_request,
        held=held,
        constraints=constraints,
        alternatives=_alternatives(problem, search, taken, allowed, nodes_added=sum(spreads[option])),
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


def _spreads(problem: RegionProblem, rooms: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the node counts that are compared, each spread over the region's pools; the first adds none."""
    most = min(sum(rooms), problem.nodes_allowed)
    counts = sorted({round(count) for count in np.linspace(0, most, min(most + 1, MAX_OPTIONS))})
    return tuple(spread_nodes(problem.pools, rooms, count) for count in counts)


def _roll(
    problem: RegionProblem,
    spreads: tuple[tuple[int, ...], ...],
    courses: tuple[tuple[int, int], ...],
    *,
    whole_horizon: bool,
) -> _Search:
    """Roll courses of a region forward, price them, and add the counterfactual as the last one."""
    policy = problem.policy
    num_steps = problem.demand.planned.shape[1]
    if not whole_horizon:
        num_steps = min(num_steps, max(2, round(SHAPING_LEAD_SECONDS / policy.step_seconds)))
    demand = problem.demand.planned[:, :num_steps]
    courses = (*courses, (0, 0))
    admitted = np.array(
        [[admitted_ratio(policy.ladder.steps[index], tier) for tier in policy.tiers] for index, _ in courses]
    )
    current = [admitted_ratio(policy.ladder.steps[problem.memory.step_index], tier) for tier in policy.tiers]
    before = np.tile(current, (len(courses), 1))
    before[-1] = 1.0
    delay_steps = min(int(np.ceil(policy.flag_propagation_seconds / policy.step_seconds)), num_steps - 1)
    options = tuple(option for _, option in courses)
    serving = extra_nodes(problem.pools, spreads, num_steps=num_steps, step_seconds=policy.step_seconds)
    outcome = roll_forward(
        demand_per_second=demand,
        backlog_requests=problem.backlog_requests,
        pools=tuple(
            pool_outlook(view, now=problem.now, num_steps=num_steps, step_seconds=policy.step_seconds)
            for view in problem.pools
        ),
        courses=Courses(
            admitted_before=before,
            admitted_after=admitted,
            delay_steps=delay_steps,
            extra_nodes=serving[list(options)],
        ),
        gpu_seconds_per_request=policy.capacity.gpu_seconds_per_request,
        step_seconds=policy.step_seconds,
    )
    prices = np.array([view.spec.cost_per_node_hour for view in problem.pools])
    harm = harm_of_courses(
        outcome,
        policy=policy,
        expected_per_second=problem.demand.expected[:, :num_steps],
        admitted_after=admitted,
        nodes_cost_per_hour=np.array([float(np.dot(spreads[option], prices)) for option in options]),
        margin_target_celsius=max((view.spec.margin_target_celsius for view in problem.pools), default=0.0),
        delay_steps=delay_steps,
    )
    return _Search(
        indices=tuple(index for index, _ in courses),
        options=options,
        outcome=outcome,
        harm=harm,
        broken=breaks_hard_guard(outcome, delay_steps=delay_steps, step_seconds=policy.step_seconds),
        delay_steps=delay_steps,
    )


def _allowed_indices(problem: RegionProblem, search: _Search) -> tuple[int, ...]:
    """Return the positions that may be considered: those whose enter margin the unlimited course undercuts.

    A region that runs short of capacity within minutes may be shaped without heat: a refusal with a reason is better
    than a queue that times out. The present position always stays in the running.
    """
    unlimited = search.indices.index(0)
    margin = search.lowest_margin(unlimited)
    shortage = _is_short(problem, search, unlimited)
    steps = problem.policy.ladder.steps
    allowed = [0]
    for index in shaping_indices(problem.policy.ladder):
        if steps[index].rung is Rung.DISABLE_FREE and not problem.may_disable:
            continue
        if shortage or margin < steps[index].enter_margin_celsius or index == problem.memory.step_index:
            allowed.append(index)
    return tuple(allowed)


def _is_short(problem: RegionProblem, search: _Search, course: int) -> bool:
    """Return whether a course leaves requests unserved at the expected demand of the next minutes."""
    admitted = problem.demand.planned[:, : search.outcome.load_ratio.shape[1]].sum() * problem.policy.step_seconds
    return float(search.outcome.unserved[course]) > SHORTAGE_RATIO * max(float(admitted), 1e-9)


def _best_course(search: _Search, allowed: tuple[int, ...]) -> int:
    """Return the course with the least harm among those that keep the hard guard, or the coolest if none does."""
    # Rounding keeps float noise of equal shortfalls from deciding between courses of very different harm.
    return min(
        (course for course in range(len(search.indices) - 1) if search.indices[course] in allowed),
        key=lambda course: (
            round(float(search.broken[course]), 1),
            float(search.harm[course]),
            search.indices[course],
            search.options[course],
        ),
    )


def _stable_index(
    problem: RegionProblem, spreads: tuple[tuple[int, ...], ...], indices: tuple[int, ...], best_index: int
) -> tuple[int, str]:
    """Return the position to take and why a restore was held back.

    Cases: escalation goes at once, unless a breaker is open; staying stays; a restore moves one position, and only
    when the inputs are fresh, the dwell is over, the flap budget has room and the counterfactual stays safe.
    """
    current = problem.memory.step_index
    if best_index > current and problem.memory.breaker_open:
        return current, f"{problem.name}: breaker open, no automatic escalation until a person resets it"
    if best_index >= current or current not in indices:
        return best_index, ""
    step = problem.policy.ladder.steps[current]
    since = problem.memory.since
    dwelt_seconds = float("inf") if since is None else (problem.now - since).total_seconds()
    if not problem.fresh:
        return current, f"{problem.name}: restore held back, an input is not fresh"
    if dwelt_seconds < step.min_dwell_seconds:
        return current, f"{problem.name}: restore held back for {step.min_dwell_seconds - dwelt_seconds:.0f} s of dwell"
    if len(problem.memory.relaxations) >= problem.policy.limits.flap_budget_per_hour:
        return current, f"{problem.name}: restore held back, the flap budget of this hour is used up"
    target = milder(problem.policy.ladder, current)
    unsafe = _unsafe_restore(problem, spreads, target, exit_margin_celsius=step.exit_margin_celsius)
    return (current, unsafe) if unsafe else (target, "")


def _unsafe_restore(
    problem: RegionProblem, spreads: tuple[tuple[int, ...], ...], target: int, *, exit_margin_celsius: float
) -> str:
    """Return why the whole horizon would not stay safe at a milder position without new orders; empty if it would."""
    restored = _roll(problem, spreads, ((target, 0),), whole_horizon=True)
    margin = restored.lowest_margin(0)
    if margin < exit_margin_celsius:
        return (
            f"{problem.name}: restore held back, one step milder would leave {margin:.1f} °C of margin, "
            f"{exit_margin_celsius:.1f} °C are asked"
        )
    if _is_short(problem, restored, 0):
        return f"{problem.name}: restore held back, one step milder would leave requests unserved"
    return ""


def _alternatives(
    problem: RegionProblem, search: _Search, taken: int, allowed: tuple[int, ...], *, nodes_added: int
) -> tuple[Alternative, ...]:
    """Return the other positions, best first, with what spoke against each."""
    rows = []
    for course, index in enumerate(search.indices[:-1]):
        if course == taken:
            continue
        if index not in allowed:
            why = "not needed: margin stays above its enter margin"
        elif search.broken[course] > 0.0:
            why = f"would leave {search.lowest_margin(course):.1f} °C of margin"
        elif search.harm[course] > search.harm[taken]:
            why = f"harms more by {search.harm[course] - search.harm[taken]:.2f} over the next minutes"
        else:
            why = "held back by dwell, exit margin or freshness"
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
