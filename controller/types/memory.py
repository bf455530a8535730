"""What the planner remembers from one decision to the next (``meltguard.state/v1``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

MEMORY_SCHEMA = "meltguard.state/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMemory:
    """Where a region stands on the ladder.

    Attributes:
        region: The region.
        step_index: Its position on the policy's ladder.
        since: When it came to this position; None from the start.
        limited_since: When the present stretch of limits (rung 4 or above) began; None without limits.
        relaxations: Times of recent restores, oldest first, for the flap budget; at most an hour of them.
        restored_at: When it last came to a milder position by a restore; None when it has escalated since.
        regrets: Times of recent escalations that took a restore back soon after it, oldest first; each makes the next
            restore wait twice as long.
        escalations: Times of recent escalations, oldest first, for the breaker; at most ten minutes of them.
        breaker_open: True after a breaker stopped automatic escalation; only a person closes it.
    """

    region: str
    step_index: int = 0
    since: datetime | None = None
    limited_since: datetime | None = None
    relaxations: tuple[datetime, ...] = ()
    escalations: tuple[datetime, ...] = ()
    restored_at: datetime | None = None
    regrets: tuple[datetime, ...] = ()
    breaker_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """What was done to a pool.

    Attributes:
        pool: The pool.
        desired_nodes: Last size that was asked for; None before the first.
        last_scale_out: When it last grew by our order.
        last_scale_in: When it last shrank by our order.
        surplus_since: Since when it has had more than it needs without a break; None when it has not.
        seen_nodes: Nodes that served when they were last counted; stands in while nobody can count them.
    """

    pool: str
    desired_nodes: int | None = None
    last_scale_out: datetime | None = None
    last_scale_in: datetime | None = None
    surplus_since: datetime | None = None
    seen_nodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMemory:
    """The planner's state; small, serialisable, and the only thing that survives a pass.

    Attributes:
        num_decisions: Decisions made so far; part of the next decision's id.
        flag_revision: Revision of the flag set last written; only grows.
        regions: One entry a region.
        pools: One entry a pool.
        added_nodes: ``(time, num_nodes)`` of the last hour's scale-outs, for the rate limit.
    """

    num_decisions: int = 0
    flag_revision: int = 0
    regions: tuple[RegionMemory, ...] = ()
    pools: tuple[PoolMemory, ...] = ()
    added_nodes: tuple[tuple[datetime, int], ...] = ()

    def region(self, name: str) -> RegionMemory:
        """Return the memory of region ``name``; a fresh one when it is new."""
        return next((entry for entry in self.regions if entry.region == name), RegionMemory(region=name))

    def pool(self, name: str) -> PoolMemory:
        """Return the memory of pool ``name``; a fresh one when it is new."""
        return next((entry for entry in self.pools if entry.pool == name), PoolMemory(pool=name))
