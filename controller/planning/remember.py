"""The next decision's memory: dwell clocks, flap counters, surplus clocks and the rate of growth."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from controller.planning.ladder import is_limiting
from controller.types import PlanMemory, Policy, PoolAction, PoolMemory, RegionMemory

HOUR = timedelta(hours=1)


def remember(
    memory: PlanMemory,
    policy: Policy,
    positions: dict[str, int],
    pool_actions: tuple[PoolAction, ...],
    *,
    surplus: frozenset[str],
    flags_written: bool,
    now: datetime,
) -> PlanMemory:
    """Return the memory after a decision.

    Args:
        memory: Before.
        policy: The policy.
        positions: Each region's position on the ladder after the decision.
        pool_actions: Changes of pool sizes.
        surplus: Pools that could spare a node now.
        flags_written: Whether a new flag set is to be written.
        now: Time of the decision.
    """
    regions = tuple(
        _region(memory.region(spec.name), policy, positions.get(spec.name), pool_actions, now)
        for spec in policy.regions
    )
    pools = tuple(_pool(memory.pool(spec.name), pool_actions, spec.name in surplus, now) for spec in policy.pools)
    added = sum(max(action.to_nodes - action.from_nodes, 0) for action in pool_actions)
    recent = tuple((at, count) for at, count in memory.added_nodes if now - at < HOUR)
    return PlanMemory(
        num_decisions=memory.num_decisions + 1,
        flag_revision=memory.flag_revision + int(flags_written),
        regions=regions,
        pools=pools,
        added_nodes=(*recent, (now, added)) if added else recent,
    )


def _region(
    entry: RegionMemory, policy: Policy, index: int | None, pool_actions: tuple[PoolAction, ...], now: datetime
) -> RegionMemory:
    """Return one region's memory; a region that was not seen keeps its position."""
    recent = tuple(at for at in entry.relaxations if now - at < HOUR)
    if index is None:
        return replace(entry, relaxations=recent)
    mine = {spec.name for spec in policy.pools if spec.region == entry.region}
    shrunk = any(action.pool in mine and action.to_nodes < action.from_nodes for action in pool_actions)
    relaxed = index < entry.step_index or shrunk
    limiting = is_limiting(policy.ladder, index)
    return RegionMemory(
        region=entry.region,
        step_index=index,
        since=entry.since if index == entry.step_index else now,
        limited_since=(entry.limited_since or now) if limiting else None,
        relaxations=(*recent, now) if relaxed else recent,
        breaker_open=entry.breaker_open,
    )


def _pool(entry: PoolMemory, pool_actions: tuple[PoolAction, ...], surplus: bool, now: datetime) -> PoolMemory:
    """Return one pool's memory; a change of size starts the surplus clock again."""
    action = next((action for action in pool_actions if action.pool == entry.pool), None)
    since = (entry.surplus_since or now) if surplus else None
    if action is None:
        return replace(entry, surplus_since=since)
    grown = action.to_nodes > action.from_nodes
    return PoolMemory(
        pool=entry.pool,
        desired_nodes=action.to_nodes,
        last_scale_out=now if grown else entry.last_scale_out,
        last_scale_in=entry.last_scale_in if grown else now,
        surplus_since=None,
    )
