"""The next decision's memory: dwell clocks, flap counters, surplus clocks and the rate of growth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.planning.ladder import is_limiting
from controller.types import PlanMemory, Policy, PoolAction, PoolMemory, RegionMemory

REGRET_WINDOW = timedelta(minutes=5)
"""An escalation within this time of a restore takes it back: the restore came too early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deeds:
    """What a decision did, as far as the next one must know.

    Attributes:
        positions: Each region's position on the ladder after the decision.
        pool_actions: Changes of pool sizes.
        surplus: Pools that could spare a node now.
        seen_nodes: Serving nodes of the pools that could be counted.
        flags_written: Whether a new flag set is to be written.
    """

    positions: dict[str, int]
    pool_actions: tuple[PoolAction, ...]
    surplus: frozenset[str]
    seen_nodes: dict[str, int]
    flags_written: bool


def remember(memory: PlanMemory, policy: Policy, deeds: Deeds, now: datetime) -> PlanMemory:
    """Return the memory after a decision.

    Args:
        memory: Before, as :func:`~controller.planning.recall.recall` returns it.
        policy: The policy.
        deeds: What was done.
        now: Time of the decision.

    Returns:
        The memory for the next decision.
    """
    regions = tuple(_region(memory.region(spec.name), policy, deeds, now) for spec in policy.regions)
    known = {entry.pool: entry for entry in memory.pools}
    actions = {action.pool: action for action in deeds.pool_actions}
    pools = tuple(
        _pool(known.get(spec.name) or PoolMemory(pool=spec.name), actions.get(spec.name), deeds, now)
        for spec in policy.pools
    )
    added = sum(max(action.to_nodes - action.from_nodes, 0) for action in deeds.pool_actions)
    return PlanMemory(
        num_decisions=memory.num_decisions + 1,
        flag_revision=memory.flag_revision + int(deeds.flags_written),
        regions=regions,
        pools=pools,
        added_nodes=(*memory.added_nodes, (now, added)) if added else memory.added_nodes,
    )


def _region(entry: RegionMemory, policy: Policy, deeds: Deeds, now: datetime) -> RegionMemory:
    """Return one region's memory; too many escalations in a short time open its breaker."""
    index = deeds.positions.get(entry.region, entry.step_index)
    mine = {spec.name for spec in policy.pools if spec.region == entry.region}
    shrunk = any(action.pool in mine and action.to_nodes < action.from_nodes for action in deeds.pool_actions)
    steps = policy.ladder.steps
    # The steps of one rung are a ramp: its dwell bounds them, the flap budget counts rungs that are left.
    relaxed = steps[index].rung < steps[entry.step_index].rung or shrunk
    escalated = index > entry.step_index
    escalations = (*entry.escalations, now) if escalated else entry.escalations
    restored_at = now if index < entry.step_index else None if escalated else entry.restored_at
    regretted = escalated and entry.restored_at is not None and now - entry.restored_at <= REGRET_WINDOW
    tripped = len(escalations) > policy.limits.max_escalations_per_ten_minutes
    return RegionMemory(
        region=entry.region,
        step_index=index,
        since=entry.since if index == entry.step_index else now,
        limited_since=(entry.limited_since or now) if is_limiting(policy.ladder, index) else None,
        relaxations=(*entry.relaxations, now) if relaxed else entry.relaxations,
        escalations=escalations,
        restored_at=restored_at,
        regrets=(*entry.regrets, now) if regretted else entry.regrets,
        breaker_open=entry.breaker_open or tripped,
    )


def _pool(entry: PoolMemory, action: PoolAction | None, deeds: Deeds, now: datetime) -> PoolMemory:
    """Return one pool's memory; a change of size starts the surplus clock again."""
    seen = deeds.seen_nodes.get(entry.pool, entry.seen_nodes)
    since = (entry.surplus_since or now) if entry.pool in deeds.surplus else None
    if action is None:
        return replace(entry, surplus_since=since, seen_nodes=seen)
    grown = action.to_nodes > action.from_nodes
    return PoolMemory(
        pool=entry.pool,
        desired_nodes=action.to_nodes,
        last_scale_out=now if grown else entry.last_scale_out,
        last_scale_in=entry.last_scale_in if grown else now,
        surplus_since=None,
        seen_nodes=seen,
    )
