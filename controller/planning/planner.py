"""The decision: ``plan(snapshot, forecasts, policy, memory, now) -> Plan``.

The same function runs in the operator, in dry runs, in replays and in the demo. It is pure and deterministic: equal
arguments give equal plans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from controller.planning.demand import region_demand
from controller.planning.evidence import believable, trusted_forecasts, trusted_snapshot
from controller.planning.flags import flag_actions, flag_set
from controller.planning.inputs import InputReview, review_inputs
from controller.planning.ladder import is_limiting
from controller.planning.nodes import PoolView
from controller.planning.outlook import USUAL_WAIT_SECONDS
from controller.planning.recall import recall
from controller.planning.region import RegionDecision, decide_region
from controller.planning.remember import Deeds, remember
from controller.planning.scale_in import drain_target, scale_in_target, surplus_pool
from controller.planning.search import RegionProblem
from controller.planning.wording import pool_reason, region_reason, would_change
from controller.types import (
    Action,
    Constraint,
    FleetSnapshot,
    ForecastSet,
    Plan,
    PlanMemory,
    Policy,
    PoolAction,
    Reason,
    RegionVerdict,
    Rung,
    TierState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """One region: what it rested on, what was decided, which rung that is, why, and a pool with a node to spare."""

    problem: RegionProblem
    decision: RegionDecision
    rung: Rung
    why: Reason
    surplus: PoolView | None


def plan(snapshot: FleetSnapshot, forecasts: ForecastSet, policy: Policy, memory: PlanMemory, now: datetime) -> Plan:
    """Decide.

    Args:
        snapshot: The fleet.
        forecasts: Demand forecasts; regions and tiers without one hold their present rate.
        policy: What may be done.
        memory: What the decision before left behind.
        now: Time of the decision, aware UTC.

    Returns:
        The plan, with the memory for the next decision in it.

    Raises:
        ValueError: If ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError("plan: now must carry a time zone")
    now = now.astimezone(UTC)
    snapshot = trusted_snapshot(snapshot, policy, now)
    forecasts = trusted_forecasts(forecasts, policy, now)
    memory = recall(memory, snapshot, policy, now)
    review = review_inputs(snapshot, forecasts, policy, now)
    decided = _decide_regions(snapshot, forecasts, policy, memory, now, review)
    pool_actions, constraints = _pool_actions(decided, policy, memory, now)
    positions = {entry.problem.name: entry.decision.index for entry in decided}
    reasons = {entry.problem.name: entry.why for entry in decided}
    wanted = flag_set(
        policy,
        positions,
        revision=memory.flag_revision + 1,
        expires_at=now + timedelta(seconds=policy.flag_ttl_seconds),
    )
    flags = flag_actions(policy, snapshot.flags, wanted, reasons, now)
    actions: tuple[Action, ...] = (*pool_actions, *flags)
    deeds = Deeds(
        positions=positions,
        pool_actions=pool_actions,
        surplus=_surplus(decided),
        seen_nodes=_seen_nodes(decided),
        flags_written=bool(flags),
    )
    return Plan(
        decision_id=f"d-{now:%Y%m%dT%H%M%SZ}-{memory.num_decisions + 1:06d}",
        issued_at=now,
        actions=actions,
        regions=tuple(_verdict(entry) for entry in decided),
        inputs=review.inputs,
        constraints=(*(bound for entry in decided for bound in entry.decision.constraints), *constraints),
        alternatives=tuple(row for entry in decided for row in entry.decision.alternatives),
        reasons=tuple(entry.why for entry in decided),
        would_change=tuple(would_change(entry.problem, entry.decision) for entry in decided),
        memory=remember(memory, policy, deeds, now),
        flags=wanted if flags else None,
    )


def _decide_regions(
    snapshot: FleetSnapshot,
    forecasts: ForecastSet,
    policy: Policy,
    memory: PlanMemory,
    now: datetime,
    review: InputReview,
) -> tuple[_Decided, ...]:
    """Decide region by region, the most urgent first, so that shared bounds go where they are needed most."""
    num_steps = max(1, int(np.ceil(policy.horizon_seconds / policy.step_seconds)))
    states = {state.name: state for state in snapshot.regions}
    names = [spec.name for spec in policy.regions]
    demands = {name: region_demand(states[name], forecasts, policy, num_steps, now) for name in names}
    views = _views(snapshot, policy, memory)
    nodes_allowed = _nodes_allowed(policy, memory, snapshot)
    disabled = {name for name in names if _rung(policy, memory.region(name).step_index) >= Rung.DISABLE_FREE}
    room = policy.limits.max_shaped_demand_ratio * sum(
        float(demand.expected.mean(axis=1).sum()) for demand in demands.values()
    )
    problems = {
        name: RegionProblem(
            name=name,
            policy=policy,
            demand=demands[name],
            backlog_requests=sum(_waiting_requests(tier) for tier in states[name].tiers),
            pools=views[name],
            memory=memory.region(name),
            now=now,
            fresh=review.is_fresh(name),
            nodes_allowed=nodes_allowed,
            may_disable=True,
            approved=max((grant.rung for grant in snapshot.approvals if grant.region == name), default=None),
            override=next((order for order in snapshot.overrides if order.region == name), None),
        )
        for name in names
    }
    shaped = {name: problem.withheld_per_second(problem.memory.step_index) for name, problem in problems.items()}
    decided = []
    for name in sorted(names, key=lambda name: (review.least_margin_celsius(name), name)):
        problem = replace(
            problems[name],
            nodes_allowed=nodes_allowed,
            may_disable=name in disabled or len(disabled) < policy.limits.max_regions_disabled,
            shaping_room_per_second=room - sum(value for other, value in shaped.items() if other != name),
        )
        decision = decide_region(problem)
        shaped[name] = problem.withheld_per_second(decision.index)
        if _rung(policy, decision.index) >= Rung.DISABLE_FREE:
            disabled.add(name)
        else:
            disabled.discard(name)
        nodes_allowed -= sum(decision.nodes)
        decided.append(_as_decided(problem, decision))
    return tuple(sorted(decided, key=lambda entry: names.index(entry.problem.name)))


def _waiting_requests(tier: TierState) -> float:
    """Return the requests of a tier that wait.

    As counted; else what its wait and its service say; else the offered requests that were not served, for the usual
    wait. A queue that nobody counts is not empty.
    """
    queue, wait_seconds = believable(tier.queue_requests), believable(tier.wait_seconds)
    served, offered = believable(tier.served_rate), believable(tier.first_attempt_rate)
    if queue is not None:
        return queue
    if wait_seconds is not None and served is not None:
        return wait_seconds * served
    return USUAL_WAIT_SECONDS * max((offered or 0.0) - (served or 0.0), 0.0)


def _as_decided(problem: RegionProblem, decision: RegionDecision) -> _Decided:
    """Return a region's decision with what describes it."""
    rung = _effective_rung(problem, decision)
    surplus = surplus_pool(problem) if sum(decision.nodes) == 0 else None
    why = region_reason(problem, decision, rung)
    return _Decided(problem=problem, decision=decision, rung=rung, why=why, surplus=surplus)


def _views(snapshot: FleetSnapshot, policy: Policy, memory: PlanMemory) -> dict[str, tuple[PoolView, ...]]:
    """Return each region's pools as policy, snapshot and memory describe them."""
    states = {state.name: state for state in snapshot.pools}
    remembered = {entry.pool: entry for entry in memory.pools}
    views: dict[str, list[PoolView]] = {region.name: [] for region in policy.regions}
    for spec in policy.pools:
        view = PoolView(spec=spec, state=states[spec.name], memory=remembered[spec.name])
        views.setdefault(spec.region, []).append(view)
    return {region: tuple(pools) for region, pools in views.items()}


def _nodes_allowed(policy: Policy, memory: PlanMemory, snapshot: FleetSnapshot) -> int:
    """Return how many nodes the hourly rate and the budget still allow, over all pools.

    A pool that cannot be counted is taken at the size that it was last asked to be, or else at its largest.
    """
    allowed = policy.limits.max_nodes_per_hour - sum(count for _, count in memory.added_nodes)
    states = {state.name: state for state in snapshot.pools}
    last_asked = {entry.pool: entry.desired_nodes for entry in memory.pools}
    cost = 0.0
    for spec in policy.pools:
        counts, asked = believable(states[spec.name].nodes), last_asked.get(spec.name)
        known = [size for size in (counts.desired if counts is not None else None, asked) if size is not None]
        cost += max(known, default=spec.max_nodes) * spec.cost_per_node_hour
    dearest = max((spec.cost_per_node_hour for spec in policy.pools), default=0.0)
    left = policy.limits.max_cost_per_hour - cost
    if dearest > 0.0 and left < allowed * dearest:
        allowed = int(left // dearest)
    return max(allowed, 0)


def _rung(policy: Policy, index: int) -> Rung:
    """Return the rung of a position."""
    return policy.ladder.steps[index].rung


def _effective_rung(problem: RegionProblem, decision: RegionDecision) -> Rung:
    """Return the rung that describes the region: its limits, else growth, else a hold, else nothing."""
    if is_limiting(problem.policy.ladder, decision.index):
        return _rung(problem.policy, decision.index)
    pending = any(view.state.arrivals for view in problem.pools)
    if sum(decision.nodes) > 0 or pending:
        return Rung.PROVISION
    if problem.demand.surging or not problem.fresh:
        return Rung.HOLD
    return Rung.OBSERVE


def _pool_actions(
    decided: tuple[_Decided, ...], policy: Policy, memory: PlanMemory, now: datetime
) -> tuple[tuple[PoolAction, ...], tuple[Constraint, ...]]:
    """Return the changes of pool sizes: growth as decided, shrinkage where a surplus has lasted."""
    actions: list[PoolAction] = []
    constraints: list[Constraint] = []
    for entry in decided:
        growth = zip(entry.problem.pools, entry.decision.nodes, strict=True)
        grown = [
            PoolAction(
                pool=view.spec.name,
                from_nodes=view.desired_nodes,
                to_nodes=view.desired_nodes + count,
                ownership=view.spec.ownership,
                why=pool_reason(entry.problem, entry.decision, view, count),
            )
            for view, count in growth
            if count > 0 and view.desired_nodes is not None
        ]
        actions += grown
        drained = drain_target(entry.problem) if not grown else None
        if drained is not None:
            actions.append(drained)
        elif entry.surplus is not None:
            shrunk, bound = scale_in_target(entry.problem, entry.surplus, memory, now)
            actions += [shrunk] if shrunk is not None else []
            constraints += [bound] if bound is not None else []
    return tuple(actions), tuple(constraints)


def _surplus(decided: tuple[_Decided, ...]) -> frozenset[str]:
    """Return the pools that could spare a node now, for their surplus clocks."""
    return frozenset(entry.surplus.spec.name for entry in decided if entry.surplus is not None)


def _seen_nodes(decided: tuple[_Decided, ...]) -> dict[str, int]:
    """Return the serving nodes of every pool that can be counted now."""
    views = (view for entry in decided for view in entry.problem.pools)
    return {view.spec.name: view.counts.serving for view in views if view.counts is not None}


def _verdict(entry: _Decided) -> RegionVerdict:
    """Return a region's verdict."""
    return RegionVerdict(
        region=entry.problem.name,
        rung=entry.rung,
        step_index=entry.decision.index,
        predicted_min_margin_celsius=entry.decision.min_margin_celsius,
        predicted_unmitigated_margin_celsius=entry.decision.unmitigated_margin_celsius,
        why=entry.why,
    )
