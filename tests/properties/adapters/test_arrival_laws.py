"""Laws of nodes on their way: every pending node is counted once, whatever is ordered, given back, counted or lost."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.adapters.learned import PoolRecord
from controller.adapters.observation.arrivals import (
    MAX_LEARNED,
    MAX_ORDERS,
    MIN_LEARNED,
    LeadPrior,
    lead_times,
    noted,
    reconciled,
)
from tests.planning_samples import NOW

PRIOR = LeadPrior(p50_seconds=300.0, p95_seconds=600.0)


class Arrivals(RuleBasedStateMachine):
    """A pool whose nodes are ordered, arrive late, vanish and are never heard of again."""

    def __init__(self) -> None:
        """Start with an unknown pool."""
        super().__init__()
        self.record = PoolRecord(pool="p")
        self.now = NOW
        self.pending: int | None = None

    @rule(seconds=st.integers(1, 2000))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    @rule(num_nodes=st.integers(-9, 9))
    def order(self, num_nodes: int) -> None:
        """Order, or give back."""
        before = sum(order.num_nodes for order in self.record.orders)
        lead = lead_times(self.record, PRIOR)
        self.record = noted(self.record, num_nodes=num_nodes, now=self.now, lead=lead)
        assert sum(order.num_nodes for order in self.record.orders) == max(before + num_nodes, 0)
        self.pending = None

    @rule(serving=st.integers(0, 30), pending=st.integers(0, 90))
    def count(self, serving: int, pending: int) -> None:
        """Count the pool."""
        self.record, num_lost = reconciled(
            self.record,
            serving=serving,
            pending=pending,
            now=self.now,
            lead=lead_times(self.record, PRIOR),
            lost_after_seconds=3000.0,
        )
        self.pending = pending
        assert 0 <= num_lost <= pending
        assert all(order.ordered_at >= self.now - timedelta(seconds=3000.0) for order in self.record.orders)

    @invariant()
    def every_pending_node_is_counted_once(self) -> None:
        """After a count the orders hold as many nodes as are pending, oldest first, within the bounds."""
        orders = self.record.orders
        if self.pending is not None:
            assert sum(order.num_nodes for order in orders) == self.pending
        assert all(order.num_nodes > 0 for order in orders)
        assert [order.ordered_at for order in orders] == sorted(order.ordered_at for order in orders)
        assert len(orders) <= MAX_ORDERS
        assert len(self.record.lead_seconds) <= MAX_LEARNED

    @invariant()
    def lead_times_are_in_order(self) -> None:
        """The median is never above the upper quantile, and few arrivals never make us hopeful."""
        lead = lead_times(self.record, PRIOR)
        assert lead.p50_seconds <= lead.p95_seconds
        if lead.num_arrivals < MIN_LEARNED:
            assert lead.p95_seconds >= PRIOR.p95_seconds


TestArrivals = Arrivals.TestCase
