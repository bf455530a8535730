"""Nodes on their way, and how long nodes take: kept in step with what is really pending. Pure.

Every pending node is counted once. An order that nobody noted (a restart, another owner's decision) begins when it is
first seen; one that was given up is forgotten newest first, because the oldest are nearest to arriving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.adapters.learned import LeadTimes, PoolRecord
from controller.types import PendingNodes

MIN_LEARNED = 5
"""Arrivals that must be seen before they replace the prior."""
MAX_LEARNED = 64
MAX_ORDERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadPrior:
    """Lead times of the policy, in seconds: what to expect until enough arrivals were seen."""

    p50_seconds: float
    p95_seconds: float


def lead_times(record: PoolRecord, prior: LeadPrior) -> LeadTimes:
    """Return what lead times to expect.

    Args:
        record: What was seen of the pool.
        prior: What the policy says.

    Returns:
        Median and 95 % quantile. Before enough was seen the prior stands, lifted where an arrival took longer.
    """
    seen = sorted(record.lead_seconds)
    if len(seen) < MIN_LEARNED:
        p95_seconds = max([prior.p95_seconds, *seen])
        return LeadTimes(
            pool=record.pool, p50_seconds=prior.p50_seconds, p95_seconds=p95_seconds, num_arrivals=len(seen)
        )
    p50_seconds = seen[(len(seen) - 1) // 2]
    p95_seconds = max(seen[min(math.ceil(0.95 * len(seen)), len(seen)) - 1], p50_seconds)
    return LeadTimes(pool=record.pool, p50_seconds=p50_seconds, p95_seconds=p95_seconds, num_arrivals=len(seen))


def noted(record: PoolRecord, *, num_nodes: int, now: datetime, lead: LeadTimes) -> PoolRecord:
    """Return the record after an order.

    Args:
        record: Before it.
        num_nodes: Nodes ordered; negative: given back.
        now: When.
        lead: What lead times to expect.

    Returns:
        The record.
    """
    if num_nodes <= 0:
        return replace(record, orders=_without_newest(record.orders, -num_nodes))
    return replace(record, orders=_bounded((*record.orders, _order(num_nodes, now, lead))))


def reconciled(
    record: PoolRecord, *, serving: int, pending: int, now: datetime, lead: LeadTimes, lost_after_seconds: float
) -> tuple[PoolRecord, int]:
    """Return the record after a count of the pool's nodes.

    Args:
        record: Before the count.
        serving: Nodes that serve.
        pending: Nodes that were asked for and do not.
        now: When they were counted.
        lead: What lead times to expect.
        lost_after_seconds: An order this old will not arrive any more.

    Returns:
        The record, in which orders and pending nodes agree, and how many nodes were given up as lost. Lost nodes that
        the API still shows as pending are expected anew, as if ordered now.
    """
    orders, lead_seconds = list(record.orders), list(record.lead_seconds)
    arrived = 0 if record.serving is None else max(serving - record.serving, 0)
    while arrived > 0 and orders:
        first = orders[0]
        count = min(arrived, first.num_nodes)
        lead_seconds += [max((now - first.ordered_at).total_seconds(), 0.0)] * count
        arrived -= count
        orders[0:1] = [replace(first, num_nodes=first.num_nodes - count)] if first.num_nodes > count else []
    deadline = now - timedelta(seconds=lost_after_seconds)
    lost = sum(order.num_nodes for order in orders if order.ordered_at < deadline)
    orders = [order for order in orders if order.ordered_at >= deadline]
    surplus = sum(order.num_nodes for order in orders) - pending
    kept = _without_newest(tuple(orders), max(surplus, 0))
    if surplus < 0:
        kept = (*kept, _order(-surplus, now, lead))
    return (
        replace(record, orders=_bounded(kept), lead_seconds=tuple(lead_seconds[-MAX_LEARNED:]), serving=serving),
        min(lost, pending),
    )


def _order(num_nodes: int, now: datetime, lead: LeadTimes) -> PendingNodes:
    """Return an order of now."""
    return PendingNodes(
        num_nodes=num_nodes,
        ordered_at=now,
        expected_p50=now + timedelta(seconds=lead.p50_seconds),
        expected_p95=now + timedelta(seconds=lead.p95_seconds),
    )


def _without_newest(orders: tuple[PendingNodes, ...], num_nodes: int) -> tuple[PendingNodes, ...]:
    """Return the orders after the newest nodes were given back."""
    kept = list(orders)
    while num_nodes > 0 and kept:
        last = kept.pop()
        if last.num_nodes > num_nodes:
            kept.append(replace(last, num_nodes=last.num_nodes - num_nodes))
        num_nodes -= last.num_nodes
    return tuple(kept)


def _bounded(orders: tuple[PendingNodes, ...]) -> tuple[PendingNodes, ...]:
    """Return the orders, the oldest ones put together where there are too many; no node is lost."""
    while len(orders) > MAX_ORDERS:
        first, second, *rest = orders
        orders = (replace(second, num_nodes=first.num_nodes + second.num_nodes), *rest)
    return orders
