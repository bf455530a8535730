"""What the adapters learn from one pass to the next: lead times of nodes, propagation times of flags. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from controller.types import PendingNodes


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadTimes:
    """Seconds from an order to the first image of a pool's nodes: what is expected now, and from how many arrivals."""

    pool: str
    p50_seconds: float
    p95_seconds: float
    num_arrivals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """What the observation remembers of one pool between passes and over a failover.

    Attributes:
        pool: The pool.
        orders: Nodes on their way, oldest first, a bounded number.
        lead_seconds: Lead times that were seen, oldest first, a bounded number.
        serving: Nodes that served when they were last counted; None before the first count.
    """

    pool: str
    orders: tuple[PendingNodes, ...] = ()
    lead_seconds: tuple[float, ...] = ()
    serving: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the adapters learned; the operator stores it beside PlanMemory (plain data, msgspec writes it)."""

    pools: tuple[PoolRecord, ...] = ()
    propagation_seconds: tuple[float, ...] = ()
