"""The capacity port over the simulator's cloud, with its stock-outs and quotas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from controller.adapters.ports import PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import PoolTarget
from controller.simulator.cloud import Cloud
from controller.types import PoolCondition, Sample


class SimulatedCapacity:
    """Implements the capacity port for pools that are named as in the scenario."""

    def __init__(self, cloud: Cloud, *, seconds: float = 0.0) -> None:
        """Serve a cloud at a virtual time."""
        self.cloud = cloud
        self.seconds = seconds
        self._epoch = 0
        self._desired = {pool.name: pool.nodes for pool in cloud.pools}
        self._version = 0

    def read(self, pool: PoolTarget, now: datetime) -> Sample[PoolSize]:
        """Read a pool."""
        index = self._index(pool)
        serving, pending = self.cloud.num_serving(index), self.cloud.num_pending(index)
        conditions = set()
        if index in self.cloud.out_of_stock:
            conditions.add(PoolCondition.STOCK_OUT)
        if serving + pending >= self.cloud.quota_nodes.get(index, 10**9):
            conditions.add(PoolCondition.QUOTA_EXCEEDED)
        size = PoolSize(
            desired=self._desired[pool.pool],
            written=self._desired[pool.pool],
            created=serving + pending,
            ready=serving,
            revision=str(self._version),
            conditions=frozenset(conditions),
        )
        return Sample.fresh(size, now)

    def read_many(self, pools: tuple[PoolTarget, ...], now: datetime) -> Mapping[str, Sample[PoolSize]]:
        """Read all pools."""
        return {pool.pool: self.read(pool, now) for pool in pools}

    def set_size(self, order: SizeOrder, now: datetime) -> SizeReceipt:
        """Carry out an order as the real port does."""
        del now
        pool = order.pool
        if order.ownership is not pool.ownership:
            return SizeReceipt(outcome=WriteOutcome.REJECTED, text="the pool allows another ownership")
        if order.epoch < self._epoch:
            return SizeReceipt(outcome=WriteOutcome.FENCED, text="a newer epoch has written")
        self._epoch = order.epoch
        if order.revision is not None and order.revision != str(self._version):
            return SizeReceipt(outcome=WriteOutcome.CONFLICT, text="changed meanwhile")
        wanted = min(max(order.to_nodes, pool.min_nodes), pool.max_nodes)
        if wanted == self._desired[pool.pool]:
            return SizeReceipt(outcome=WriteOutcome.DONE, text="already")
        index = self._index(pool)
        if wanted > self._desired[pool.pool]:
            if index in self.cloud.out_of_stock:
                return SizeReceipt(outcome=WriteOutcome.STOCK_OUT, text=f"{pool.pool} is out of stock")
            if wanted > self.cloud.quota_nodes.get(index, 10**9):
                return SizeReceipt(outcome=WriteOutcome.QUOTA, text=f"{pool.pool} has reached its quota")
        if not order.dry_run:
            slots = list(range(self.cloud.slots(index).start, self.cloud.slots(index).stop))
            self.cloud.resize(index, wanted, now_seconds=self.seconds, hottest_first=slots)
            self._desired[pool.pool] = wanted
            self._version += 1
        return SizeReceipt(outcome=WriteOutcome.DONE, text=f"{wanted} nodes", wrote=not order.dry_run)

    def _index(self, pool: PoolTarget) -> int:
        return next(index for index, spec in enumerate(self.cloud.pools) if spec.name == pool.pool)
