"""Makes the memory of the last decision fit this one: another ladder, another clock, lost or foreign entries.

A clock that jumped back leaves times in the future: they count as now, so that a dwell starts afresh and nothing waits
for a time that may not come. A region that nobody remembers but that has limits in force takes its position from them:
a lost memory must not lift every limit at once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from controller.planning.flags import normal_value, tier_values
from controller.types import (
    Approval,
    FlagInForce,
    FleetSnapshot,
    LadderStep,
    PlanMemory,
    Policy,
    PoolMemory,
    RegionMemory,
    TierSpec,
)

HOUR = timedelta(hours=1)
BREAKER_WINDOW = timedelta(minutes=10)
REGRET_MEMORY = timedelta(minutes=30)
"""How long a restore that had to be taken back makes the next ones wait longer."""
MAX_KEPT_TIMES = 256
"""Bound of every list of times; far above every budget that is counted with them."""


def recall(memory: PlanMemory, snapshot: FleetSnapshot, policy: Policy, now: datetime) -> PlanMemory:
    """Return the memory as this decision may use it.

    Args:
        memory: As the last decision left it.
        snapshot: What is known now; its flags show limits that were forgotten.
        policy: The policy of today.
        now: Time of the decision.

    Returns:
        One entry for each region and pool of the policy, no time after ``now``, positions on the ladder.
    """
    known = {entry.region: entry for entry in memory.regions}
    pools = {entry.pool: entry for entry in memory.pools}
    regions = []
    for spec in policy.regions:
        entry = known.get(spec.name) or _from_flags(spec.name, snapshot.flags, policy, now)
        regions.append(_region(entry, policy, spec.name in snapshot.breaker_resets, now))
    added = ((_past(at, now), count) for at, count in memory.added_nodes[-MAX_KEPT_TIMES:] if count > 0)
    return PlanMemory(
        num_decisions=max(memory.num_decisions, 0),
        flag_revision=max([memory.flag_revision, *(flag.revision for flag in snapshot.flags)]),
        regions=tuple(regions),
        pools=tuple(_pool(pools.get(spec.name) or PoolMemory(pool=spec.name), now) for spec in policy.pools),
        added_nodes=tuple((at, count) for at, count in added if now - at < HOUR),
    )


def _past(at: datetime, now: datetime) -> datetime:
    """Return ``at``, or ``now`` when it lies in the future."""
    return min(at, now)


def _maybe_past(at: datetime | None, now: datetime) -> datetime | None:
    """Return ``at`` as :func:`_past` does; None stays None."""
    return None if at is None else _past(at, now)


def _recent(times: tuple[datetime, ...], window: timedelta, now: datetime) -> tuple[datetime, ...]:
    """Return the times within the window, none in the future."""
    clamped = (_past(at, now) for at in times[-MAX_KEPT_TIMES:])
    return tuple(at for at in clamped if now - at < window)


def _region(entry: RegionMemory, policy: Policy, reset: bool, now: datetime) -> RegionMemory:
    """Return one region's memory within today's ladder and clock."""
    return replace(
        entry,
        step_index=min(max(entry.step_index, 0), len(policy.ladder.steps) - 1),
        since=_maybe_past(entry.since, now),
        limited_since=_maybe_past(entry.limited_since, now),
        relaxations=_recent(entry.relaxations, HOUR, now),
        restored_at=_maybe_past(entry.restored_at, now),
        regrets=_recent(entry.regrets, REGRET_MEMORY, now),
        escalations=() if reset else _recent(entry.escalations, BREAKER_WINDOW, now),
        breaker_open=entry.breaker_open and not reset,
    )


def _pool(entry: PoolMemory, now: datetime) -> PoolMemory:
    """Return one pool's memory within today's clock."""
    return replace(
        entry,
        last_scale_out=_maybe_past(entry.last_scale_out, now),
        last_scale_in=_maybe_past(entry.last_scale_in, now),
        surplus_since=_maybe_past(entry.surplus_since, now),
    )


def _from_flags(region: str, flags: tuple[FlagInForce, ...], policy: Policy, now: datetime) -> RegionMemory:
    """Return a region's memory from the limits that are in force: the mildest position that is at least as tight."""
    tiers = {tier.name: tier for tier in policy.tiers}
    mine = [(flag, tiers[flag.tier]) for flag in flags if flag.region == region and flag.tier in tiers]
    held = [(flag, tier) for flag, tier in mine if _is_limit(flag, tier)]
    if not held:
        return RegionMemory(region=region)
    steps = policy.ladder.steps
    tight = [index for index, step in enumerate(steps) if all(_covers(step, tier, flag) for flag, tier in held)]
    automatic = [index for index, step in enumerate(steps) if step.approval is Approval.AUTOMATIC]
    index = tight[0] if tight else automatic[-1]
    return RegionMemory(region=region, step_index=index, since=now, limited_since=now)


def _is_limit(flag: FlagInForce, tier: TierSpec) -> bool:
    """Return whether a flag is one of ours and differs from normal."""
    usual = normal_value(flag.key, tier)
    return usual is not None and flag.value != usual


def _covers(step: LadderStep, tier: TierSpec, flag: FlagInForce) -> bool:
    """Return whether a position limits a tier at least as much as a flag does."""
    values = tier_values(step, tier)
    if values.get("image-generation-enabled") is False:
        return True
    wanted = values.get(flag.key, normal_value(flag.key, tier))
    if isinstance(flag.value, str) or isinstance(wanted, str) or wanted is None:
        return True
    return wanted <= flag.value
