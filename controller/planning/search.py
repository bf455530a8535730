"""Compares positions on the ladder for one region, rolled forward and priced.

Called by :mod:`controller.planning.region`. The search is bounded: every position that may be held.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from controller.planning.demand import RegionDemand
from controller.planning.harm import breaks_hard_guard, harm_of_courses
from controller.planning.heat import HeatBank, heat_bank
from controller.planning.nodes import PoolView, extra_nodes, pool_thermal, serving_path
from controller.planning.outlook import Courses, Outcome, RegionOutlook, roll_forward
from controller.planning.shaping import admitted_ratio
from controller.types import Policy, RegionMemory, Rung, RungOverride
from forecasting.types import FloatArray

SHAPING_LEAD_SECONDS = 240.0
"""How far ahead limits meet queues: flags take seconds, a full queue a minute."""
HEAT_LEAD_SECONDS = 600.0
"""How far ahead limits meet heat that no guard meets: a GPU takes a few minutes, a warming room about ten."""
SHORTAGE_RATIO = 0.01
"""Share of demand dropped in the next minutes; above it limits may be considered without heat."""
RESTORED_SHORTAGE_RATIO = 0.0
"""The same for the milder position of a restore; lower, so that a limit is not left and entered again at once."""


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
class RegionGround:
    """What every look at a region shares.

    Attributes:
        serving_nodes: Nodes of each pool that serve without further orders, shape ``(num_pools, num_steps)``.
        heat: Thermal response of the pools; None when none of them is known.
    """

    serving_nodes: FloatArray
    heat: HeatBank | None


def region_ground(problem: RegionProblem) -> RegionGround:
    """Return a region's nodes and heat over the horizon of its demand.

    Args:
        problem: The region.

    Returns:
        The ground.
    """
    policy, num_steps = problem.policy, problem.demand.planned.shape[1]
    paths = [
        serving_path(view, now=problem.now, num_steps=num_steps, step_seconds=policy.step_seconds)
        for view in problem.pools
    ]
    thermals = (pool_thermal(view, policy.capacity, problem.now) for view in problem.pools)
    known = tuple(thermal for thermal in thermals if thermal is not None)
    return RegionGround(
        serving_nodes=np.array(paths).reshape(len(paths), num_steps),
        heat=heat_bank(known, num_steps=num_steps, step_seconds=policy.step_seconds),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """Courses of one region and what they lead to.

    ``indices`` gives each course's position on the ladder. The last course is the counterfactual: neither limits nor
    new nodes, from this moment on.
    """

    indices: tuple[int, ...]
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

        Returns:
            Row of the course.
        """
        # Rounding keeps float noise of equal shortfalls from deciding between courses of very different harm.
        return min(
            (course for course in range(len(self.indices) - 1) if self.indices[course] in allowed),
            key=lambda course: (
                round(float(self.broken[course]), 1),
                float(self.harm[course]),
                self.indices[course],
            ),
        )


class RegionSearch:
    """Rolls courses of one region forward; what all of them share is computed once.

    Args:
        problem: The region.
        nodes: Nodes that are added to each pool in every course but the counterfactual.
        ground: The region's nodes and heat, from :func:`region_ground`.

    Attributes:
        guarded: Whether every pool's pods are seen to guard themselves; then heat costs capacity, not hardware.
    """

    def __init__(self, problem: RegionProblem, nodes: tuple[int, ...], ground: RegionGround) -> None:
        """Compute serving nodes, thermal responses and prices."""
        policy = problem.policy
        step_seconds = policy.step_seconds
        num_steps = problem.demand.planned.shape[1]
        self._problem = problem
        # A guard bounds the work of its GPU within seconds: what it leaves is the capacity that is there.
        self.guarded = bool(problem.pools) and all(view.guard_ratio is not None for view in problem.pools)
        allowed = [1.0 if view.guard_ratio is None else view.guard_ratio for view in problem.pools]
        gpus_per_node = [view.spec.gpus_per_node * share for view, share in zip(problem.pools, allowed, strict=True)]
        self._outlook = RegionOutlook(
            gpus_per_node=np.array(gpus_per_node, dtype=np.float64),
            serving_nodes=ground.serving_nodes,
            heat=ground.heat,
            gpu_seconds_per_request=policy.capacity.gpu_seconds_per_request,
            patience_seconds=policy.patience_seconds,
            step_seconds=step_seconds,
        )
        self._extra = extra_nodes(problem.pools, (nodes,), num_steps=num_steps, step_seconds=step_seconds)
        self._target_celsius = max((view.spec.margin_target_celsius for view in problem.pools), default=0.0)
        self._before = problem.admitted(problem.memory.step_index)

    def roll(
        self, indices: tuple[int, ...], *, whole_horizon: bool = False, queue_seconds: float = SHAPING_LEAD_SECONDS
    ) -> Search:
        """Roll courses forward, price them, and add the counterfactual as the last one.

        Queues answer to the mean of demand over the next minutes, for a queue that grows after all is met by a limit
        within seconds. Heat answers to the planned quantile, and farther ahead, for a room that is too hot cools down
        slowly; where pods guard themselves it is left to them, and what they give up shows as missing capacity.

        Args:
            indices: Position on the ladder of each.
            whole_horizon: Whether heat is looked at to the end of the forecast.
            queue_seconds: How far ahead queues are looked at, at most to the end of the forecast.

        Returns:
            The search.
        """
        problem, policy = self._problem, self._problem.policy
        indices = (*indices, 0)
        num_steps = problem.demand.planned.shape[1]
        queue_steps = min(num_steps, max(2, round(queue_seconds / policy.step_seconds)))
        heat_steps = num_steps if whole_horizon else max(2, round(HEAT_LEAD_SECONDS / policy.step_seconds))
        delay_steps = min(int(np.ceil(policy.flag_propagation_seconds / policy.step_seconds)), queue_steps - 1)
        admitted = np.array([problem.admitted(index) for index in indices])
        outcome = self._outcome(admitted, delay_steps, problem.demand.expected[:, :queue_steps])
        heat = self._outcome(admitted, delay_steps, problem.demand.planned[:, :heat_steps])
        outcome = replace(outcome, margin_celsius=heat.margin_celsius)
        feared = outcome
        if self.guarded:
            feared = replace(outcome, margin_celsius=np.full_like(outcome.margin_celsius, np.inf))
        harm = harm_of_courses(
            feared,
            policy=policy,
            expected_per_second=problem.demand.expected[:, :queue_steps],
            admitted_after=admitted,
            margin_target_celsius=self._target_celsius,
            delay_steps=delay_steps,
        )
        return Search(
            indices=indices,
            outcome=outcome,
            harm=harm,
            broken=breaks_hard_guard(feared, delay_steps=delay_steps, step_seconds=policy.step_seconds),
            delay_steps=delay_steps,
        )

    def _outcome(self, admitted: FloatArray, delay_steps: int, demand_per_second: FloatArray) -> Outcome:
        """Return what courses lead to at a demand, shape ``(num_tiers, num_steps)``; the last one is without nodes."""
        before = np.tile(self._before, (admitted.shape[0], 1))
        before[-1] = 1.0
        extra = np.repeat(self._extra[:, :, : demand_per_second.shape[1]], admitted.shape[0], axis=0)
        extra[-1] = 0.0
        courses = Courses(admitted_before=before, admitted_after=admitted, delay_steps=delay_steps, extra_nodes=extra)
        return roll_forward(
            self._outlook,
            courses,
            demand_per_second=demand_per_second,
            backlog_requests=self._problem.backlog_requests,
        )


def is_short(problem: RegionProblem, search: Search, course: int, *, dropped_ratio: float) -> bool:
    """Return whether a course drops requests at the demand that it was rolled forward with.

    Args:
        problem: The region.
        search: The courses.
        course: Which one.
        dropped_ratio: Share of the demand that may be dropped, 0..1.

    Returns:
        True when more than that is dropped; never when the capacity is unknown.
    """
    num_steps = search.outcome.load_ratio.shape[1]
    offered = float(problem.demand.expected[:, :num_steps].sum()) * problem.policy.step_seconds
    short = float(search.outcome.dropped[course]) > dropped_ratio * max(offered, 1e-9)
    return short and problem.capacity_known
