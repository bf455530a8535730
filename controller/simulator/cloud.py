"""The cloud: node pools that grow after a lead time and shrink at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.simulator.scenario import Pool, Scenario

Z_95 = 1.6448536269514722
"""Standard normal quantile at 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOrder:
    """One node on its way: its slot, when it was ordered and when it will serve, in seconds from the start."""

    pool: int
    slot: int
    ordered_seconds: float
    serving_seconds: float


class Cloud:
    """The node slots of all pools.

    Attributes:
        serving: Node slots that serve, shape ``(num_nodes,)``.
        orders: Nodes on their way, oldest first; never more than there are slots.
        out_of_stock: Pools that get no node now: orders are refused, and those that are due wait.
        quota_nodes: Most nodes of each pool that has a quota.
    """

    def __init__(self, scenario: Scenario, generator: np.random.Generator) -> None:
        """Start with the scenario's nodes in service."""
        self.pools: list[Pool] = [pool for region in scenario.regions for pool in region.pools]
        self._generator = generator
        self._first_slot = np.cumsum([0, *(pool.max_nodes for pool in self.pools)])
        self.serving: NDArray[np.bool_] = np.zeros(int(self._first_slot[-1]), dtype=np.bool_)
        for index, pool in enumerate(self.pools):
            first = int(self._first_slot[index])
            self.serving[first : first + pool.nodes] = True
        self.orders: list[NodeOrder] = []
        self.out_of_stock: frozenset[int] = frozenset()
        self.quota_nodes: dict[int, int] = {}

    def slots(self, pool: int) -> slice:
        """Return the slots of a pool."""
        return slice(int(self._first_slot[pool]), int(self._first_slot[pool + 1]))

    def num_serving(self, pool: int) -> int:
        """Return the number of nodes of a pool that serve."""
        return int(self.serving[self.slots(pool)].sum())

    def num_pending(self, pool: int) -> int:
        """Return the number of nodes of a pool on their way."""
        return sum(1 for order in self.orders if order.pool == pool)

    def deliver(self, now_seconds: float) -> None:
        """Put nodes into service whose time has come."""
        for order in self.orders:
            if self._is_due(order, now_seconds):
                self.serving[order.slot] = True
        self.orders = [order for order in self.orders if not self._is_due(order, now_seconds)]

    def _is_due(self, order: NodeOrder, now_seconds: float) -> bool:
        """Return whether a node goes into service now."""
        return order.serving_seconds <= now_seconds and order.pool not in self.out_of_stock

    def resize(self, pool: int, num_nodes: int, *, now_seconds: float, hottest_first: list[int]) -> None:
        """Ask for another size, as a scale API does; out-of-range sizes are clamped.

        Args:
            pool: Index of the pool.
            num_nodes: Wanted number of nodes, those on their way included.
            now_seconds: Virtual time.
            hottest_first: Slots of the pool in the order in which they leave.
        """
        wanted = min(max(num_nodes, self.pools[pool].min_nodes), self.pools[pool].max_nodes)
        most = 0 if pool in self.out_of_stock else self.quota_nodes.get(pool, wanted)
        while self.num_serving(pool) + self.num_pending(pool) < min(wanted, most):
            self._order(pool, now_seconds)
        for order in reversed([order for order in self.orders if order.pool == pool]):
            if self.num_serving(pool) + self.num_pending(pool) <= wanted:
                return
            self.orders.remove(order)
        for slot in hottest_first:
            if self.num_serving(pool) <= wanted:
                return
            self.serving[slot] = False

    def _order(self, pool: int, now_seconds: float) -> None:
        """Order one node; its lead time is log-normal through the pool's two quantiles."""
        spec = self.pools[pool]
        taken = {order.slot for order in self.orders}
        slots = range(self.slots(pool).start, self.slots(pool).stop)
        slot = next(slot for slot in slots if not self.serving[slot] and slot not in taken)
        spread = math.log(spec.lead_time_p95_seconds / spec.lead_time_p50_seconds) / Z_95
        lead_seconds = spec.lead_time_p50_seconds * math.exp(spread * float(self._generator.standard_normal()))
        self.orders.append(
            NodeOrder(pool=pool, slot=slot, ordered_seconds=now_seconds, serving_seconds=now_seconds + lead_seconds)
        )
