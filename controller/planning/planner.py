"""The decision: ``plan(snapshot, forecasts, policy, memory, now) -> Plan``.

The same function runs in the operator, in dry runs, in replays and in the demo. It is pure and deterministic: equal
arguments give equal plans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from controller.planning.demand import RegionDemand, region_demand
from controller.planning.flags import flag_actions, flag_set
from controller.planning.inputs import InputReview, review_inputs
from controller.planning.ladder import is_limiting
from controller.planning.nodes import PoolView
from controller.planning.region import RegionDecision, RegionProblem, decide_region
from controller.planning.remember import remember
from controller.planning.scale_in import scale_in_target, surplus_pool
from controller.planning.shaping import admitted_ratio
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
)

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """One region: what it rested on, what was decided, which rung that is, and why."""

    problem: RegionProblem
    decision: RegionDecision
    rung: Rung
    why: Reason


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
    """
    review = review_inputs(snapshot, policy, now)
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
        memory=remember(
            memory,
            policy,
            positions,
            pool_actions,
            surplus=_surplus(decided),
            flags_written=bool(flags),
            now=now,
        ),
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
    num_steps = int(np.ceil(policy.horizon_seconds / policy.step_seconds))
    states = {state.name: state for state in snapshot.regions}
    names = [spec.name for spec in policy.regions if spec.name in states]
    demands = {name: region_demand(states[name], forecasts, policy, num_steps) for name in names}
    nodes_allowed = _nodes_allowed(policy, memory, snapshot, now)
    disabled = {name for name in names if _rung(policy, memory.region(name).step_index) is Rung.DISABLE_FREE}
    shaped = _shaped_per_second(policy, memory, demands)
    offered = sum(float(demand.expected.mean(axis=1).sum()) for demand in demands.values())
    decided = []
    for name in sorted(names, key=lambda name: (review.least_margin_celsius(name), name)):
        problem = RegionProblem(
            name=name,
            policy=policy,
            demand=demands[name],
            backlog_requests=sum(tier.queue_requests.value or 0.0 for tier in states[name].tiers),
            pools=_views(snapshot, policy, name),
            memory=memory.region(name),
            now=now,
            fresh=review.is_fresh(name),
            nodes_allowed=nodes_allowed,
            may_disable=name in disabled or len(disabled) < policy.limits.max_regions_disabled,
        )
        decision = _within_blast_radius(problem, decide_region(problem), shaped, offered)
        shaped[name] = _shaped(policy, decision.index, demands[name])
        if _rung(policy, decision.index) is Rung.DISABLE_FREE:
            disabled.add(name)
        else:
            disabled.discard(name)
        nodes_allowed -= sum(decision.nodes)
        rung = _effective_rung(problem, decision)
        decided.append(
            _Decided(problem=problem, decision=decision, rung=rung, why=region_reason(problem, decision, rung))
        )
    return tuple(sorted(decided, key=lambda entry: names.index(entry.problem.name)))


def _views(snapshot: FleetSnapshot, policy: Policy, region: str) -> tuple[PoolView, ...]:
    """Return the region's pools as policy and snapshot describe them."""
    states = {state.name: state for state in snapshot.pools}
    return tuple(PoolView(spec=spec, state=states.get(spec.name)) for spec in policy.pools if spec.region == region)


def _nodes_allowed(policy: Policy, memory: PlanMemory, snapshot: FleetSnapshot, now: datetime) -> int:
    """Return how many nodes the hourly rate and the budget still allow, over all pools."""
    recent = sum(count for at, count in memory.added_nodes if now - at < HOUR)
    allowed = policy.limits.max_nodes_per_hour - recent
    prices = {spec.name: spec.cost_per_node_hour for spec in policy.pools}
    cost = sum(
        state.nodes.value.desired * prices.get(state.name, 0.0)
        for state in snapshot.pools
        if state.nodes.value is not None
    )
    dearest = max(prices.values(), default=0.0)
    if dearest > 0.0:
        allowed = min(allowed, int((policy.limits.max_cost_per_hour - cost) / dearest))
    return max(allowed, 0)


def _shaped(policy: Policy, index: int, demand: RegionDemand) -> float:
    """Return the demand that a position holds back, requests a second."""
    step = policy.ladder.steps[index]
    withheld = np.array([1.0 - admitted_ratio(step, tier) for tier in policy.tiers])
    return float(demand.expected.mean(axis=1) @ withheld)


def _shaped_per_second(policy: Policy, memory: PlanMemory, demands: dict[str, RegionDemand]) -> dict[str, float]:
    """Return what each region holds back now."""
    return {name: _shaped(policy, memory.region(name).step_index, demand) for name, demand in demands.items()}


def _within_blast_radius(
    problem: RegionProblem, decision: RegionDecision, shaped: dict[str, float], offered: float
) -> RegionDecision:
    """Return the decision, kept where it was when an escalation would shape too much of the fleet's demand."""
    policy, current = problem.policy, problem.memory.step_index
    if decision.index <= current or offered <= 0.0:
        return decision
    elsewhere = sum(value for name, value in shaped.items() if name != problem.name)
    ratio = (elsewhere + _shaped(policy, decision.index, problem.demand)) / offered
    if ratio <= policy.limits.max_shaped_demand_ratio:
        return decision
    text = (
        f"{problem.name}: escalation would limit {ratio:.0%} of all demand, "
        f"{policy.limits.max_shaped_demand_ratio:.0%} are allowed; a person must decide"
    )
    bound = Constraint(name="max_shaped_demand_ratio", subject=problem.name, text=text)
    return replace(decision, index=current, held=text, constraints=(*decision.constraints, bound))


def _rung(policy: Policy, index: int) -> Rung:
    """Return the rung of a position."""
    return policy.ladder.steps[index].rung


def _effective_rung(problem: RegionProblem, decision: RegionDecision) -> Rung:
    """Return the rung that describes the region: its limits, else growth, else a hold, else nothing."""
    if is_limiting(problem.policy.ladder, decision.index):
        return _rung(problem.policy, decision.index)
    pending = any(view.state is not None and view.state.arrivals for view in problem.pools)
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
        if not grown and entry.rung is Rung.OBSERVE:
            shrunk, bound = scale_in_target(entry.problem, memory, now)
            actions += [shrunk] if shrunk is not None else []
            constraints += [bound] if bound is not None else []
    return tuple(actions), tuple(constraints)


def _surplus(decided: tuple[_Decided, ...]) -> frozenset[str]:
    """Return the pools that could spare a node now, for their surplus clocks."""
    views = (surplus_pool(entry.problem) for entry in decided if entry.rung is Rung.OBSERVE)
    return frozenset(view.spec.name for view in views if view is not None)


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
