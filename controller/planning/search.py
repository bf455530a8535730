"""Compares courses of action for one region: node counts and positions on the ladder, rolled forward and priced.

Called by :mod:`controller.planning.region`. The search is bounded: every position that may be held, times at most
:data:`~controller.planning.nodes.MAX_OPTIONS` node counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from controller.planning.demand import RegionDemand
from controller.planning.harm import breaks_hard_guard, harm_of_courses
from controller.planning.heat import heat_bank
from controller.planning.nodes import PoolView, extra_nodes, pool_thermal, serving_path
from controller.planning.outlook import Courses, Outcome, RegionOutlook, roll_forward
from controller.planning.shaping import admitted_ratio
from controller.types import Policy, RegionMemory, Rung, RungOverride
from forecasting.types import FloatArray

SHAPING_LEAD_SECONDS = 600.0
"""How far ahead limits are chosen: flags take seconds, a GPU a few minutes, a warming room about ten."""
SHORTAGE_RATIO = 0.01
"""Share of demand unserved in the next minutes; above it limits may be considered without heat."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
        shaping_room_per_second: Requests a second that it may hold back within the fleet's blast radius.
        approved: Up to which rung a person has given leave; None when nobody has.
        override: A rung that a person set by hand; None without.
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
    shaping_room_per_second: float = float("inf")
    approved: Rung | None = None
    override: RungOverride | None = None

    @property
    def capacity_known(self) -> bool:
        """Whether the serving nodes of every pool are known; a shortage is only concluded from what is known."""
        return all(view.serving_nodes is not None for view in self.pools)

    def admitted(self, index: int) -> tuple[float, ...]:
        """Return the share of each tier that a position admits."""
        step = self.policy.ladder.steps[index]
        return tuple(admitted_ratio(step, tier) for tier in self.policy.tiers)

    def withheld_per_second(self, index: int) -> float:
        """Return the expected demand that a position holds back, requests a second."""
        return float(self.demand.expected.mean(axis=1) @ (1.0 - np.asarray(self.admitted(index))))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """Courses of one region and what they lead to.

    ``indices`` and ``options`` give each course's position on the ladder and its row of the node counts. The last
    course is the counterfactual: neither limits nor new nodes, from this moment on.
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

    def best(self, allowed: frozenset[int]) -> int:
        """Return the course with the least harm among those that keep the hard guard, or the coolest if none does.

        Args:
            allowed: Positions on the ladder that may be taken; at least one of them must have a course.
        """
        # Rounding keeps float noise of equal shortfalls from deciding between courses of very different harm.
        return min(
            (course for course in range(len(self.indices) - 1) if self.indices[course] in allowed),
            key=lambda course: (
                round(float(self.broken[course]), 1),
                float(self.harm[course]),
                self.indices[course],
                self.options[course],
            ),
        )


class RegionSearch:
    """Rolls courses of one region forward; what all of them share is computed once.

    Args:
        problem: The region.
        spreads: Node counts that may be compared, nodes for each pool, one row an option; the first adds none.
    """

    def __init__(self, problem: RegionProblem, spreads: tuple[tuple[int, ...], ...]) -> None:
        """Compute serving nodes, thermal responses and prices."""
        policy = problem.policy
        step_seconds = policy.step_seconds
        num_steps = problem.demand.planned.shape[1]
        paths = [
            serving_path(view, now=problem.now, num_steps=num_steps, step_seconds=step_seconds)
            for view in problem.pools
        ]
        thermals = (pool_thermal(view, policy.capacity) for view in problem.pools)
        known = tuple(thermal for thermal in thermals if thermal is not None)
        self._problem = problem
        self._outlook = RegionOutlook(
            gpus_per_node=np.array([view.spec.gpus_per_node for view in problem.pools], dtype=np.float64),
            serving_nodes=np.array(paths).reshape(len(paths), num_steps),
            heat=heat_bank(known, num_steps=num_steps, step_seconds=step_seconds),
            gpu_seconds_per_request=policy.capacity.gpu_seconds_per_request,
            step_seconds=step_seconds,
        )
        self._extra = extra_nodes(problem.pools, spreads, num_steps=num_steps, step_seconds=step_seconds)
        prices = np.array([view.spec.cost_per_node_hour for view in problem.pools])
        self._cost_per_hour = np.array([float(np.dot(spread, prices)) for spread in spreads])
        self._target_celsius = max((view.spec.margin_target_celsius for view in problem.pools), default=0.0)
        self._before = problem.admitted(problem.memory.step_index)

    def roll(self, courses: tuple[tuple[int, int], ...], *, whole_horizon: bool) -> Search:
        """Roll courses forward, price them, and add the counterfactual as the last one.

        Args:
            courses: Position on the ladder and option of each.
            whole_horizon: False looks only as far ahead as limits are chosen.

        Returns:
            The search.
        """
        problem, policy = self._problem, self._problem.policy
        num_steps = problem.demand.planned.shape[1]
        if not whole_horizon:
            num_steps = min(num_steps, max(2, round(SHAPING_LEAD_SECONDS / policy.step_seconds)))
        courses = (*courses, (0, 0))
        options = [option for _, option in courses]
        admitted_of = {index: problem.admitted(index) for index in {index for index, _ in courses}}
        admitted = np.array([admitted_of[index] for index, _ in courses])
        before = np.tile(self._before, (len(courses), 1))
        before[-1] = 1.0
        delay_steps = min(int(np.ceil(policy.flag_propagation_seconds / policy.step_seconds)), num_steps - 1)
        given = Courses(
            admitted_before=before,
            admitted_after=admitted,
            delay_steps=delay_steps,
            extra_nodes=self._extra[options, :, :num_steps],
        )
        outcome = self._outcome(given, problem.demand.planned[:, :num_steps])
        if not whole_horizon:
            # A queue that grows after all can be met by a limit within seconds, a room that is too hot cannot:
            # heat answers to the planned quantile, refused and waiting requests to the mean.
            usual = self._outcome(given, problem.demand.expected[:, :num_steps])
            outcome = replace(outcome, unserved=usual.unserved, waited_seconds=usual.waited_seconds)
        harm = harm_of_courses(
            outcome,
            policy=policy,
            expected_per_second=problem.demand.expected[:, :num_steps],
            admitted_after=admitted,
            nodes_cost_per_hour=self._cost_per_hour[options],
            margin_target_celsius=self._target_celsius,
            delay_steps=delay_steps,
        )
        return Search(
            indices=tuple(index for index, _ in courses),
            options=tuple(options),
            outcome=outcome,
            harm=harm,
            broken=breaks_hard_guard(outcome, delay_steps=delay_steps, step_seconds=policy.step_seconds),
            delay_steps=delay_steps,
        )

    def _outcome(self, courses: Courses, demand_per_second: FloatArray) -> Outcome:
        """Return what courses lead to at a demand, shape ``(num_tiers, num_steps)``."""
        return roll_forward(
            self._outlook,
            courses,
            demand_per_second=demand_per_second,
            backlog_requests=self._problem.backlog_requests,
        )


def is_short(problem: RegionProblem, search: Search, course: int) -> bool:
    """Return whether a course leaves requests unserved at the demand that it was rolled forward with.

    Args:
        problem: The region.
        search: The courses.
        course: Which one.

    Returns:
        True when more than :data:`SHORTAGE_RATIO` of the demand is unserved; never when the capacity is unknown.
    """
    num_steps = search.outcome.load_ratio.shape[1]
    offered = float(problem.demand.planned[:, :num_steps].sum()) * problem.policy.step_seconds
    short = float(search.outcome.unserved[course]) > SHORTAGE_RATIO * max(offered, 1e-9)
    return short and problem.capacity_known
