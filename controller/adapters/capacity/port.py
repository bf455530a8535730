"""The capacity port of a real cluster: one door to every kind of pool, with the checks that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from controller.adapters.capacity.addresses import Address, AddressBook
from controller.adapters.capacity.aws import AwsAdapter
from controller.adapters.capacity.buffer import BufferAdapter
from controller.adapters.capacity.read_once import ReadOnce
from controller.adapters.capacity.scale import ScaleAdapter
from controller.adapters.capacity.unbuilt import read_unbuilt, refuse_unbuilt
from controller.adapters.ports import KubernetesApi, PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import AsgTarget, EksTarget, ObjectReference, PoolTarget, UnbuiltTarget
from controller.types import Ownership, Sample

MIN_LISTED = 4
"""Targets in one collection from which on a list costs less than a read of each."""
NUM_READERS = 8


class ClusterCapacity:
    """Implements :class:`~controller.adapters.ports.CapacityPort`.

    Args:
        api: The Kubernetes API.
        aws: Node groups of AWS; None asks boto3 for everything when the first such pool is read.
        addresses: What is known of kinds already; None starts anew.
    """

    def __init__(
        self, api: KubernetesApi, aws: AwsAdapter | None = None, *, addresses: AddressBook | None = None
    ) -> None:
        """Put the adapters together."""
        self._api = api
        self._addresses = AddressBook(api) if addresses is None else addresses
        self._scale = ScaleAdapter(api, self._addresses)
        self._buffer = BufferAdapter(api, self._addresses)
        self._aws = AwsAdapter() if aws is None else aws
        self._epoch = 0

    def read(self, pool: PoolTarget, now: datetime) -> Sample[PoolSize]:
        """Read a pool.

        Args:
            pool: The pool.
            now: Time of the read.

        Returns:
            Its size; absent when its API does not answer.
        """
        match pool.target:
            case ObjectReference() as target if pool.ownership is Ownership.BUFFER:
                return self._buffer.read(pool, target, now)
            case ObjectReference() as target:
                return self._scale.read(pool, target, now)
            case EksTarget() | AsgTarget() as target:
                return self._aws.read(pool, target, now)
            case UnbuiltTarget() as target:
                return read_unbuilt(target, now)

    def read_many(self, pools: tuple[PoolTarget, ...], now: datetime) -> Mapping[str, Sample[PoolSize]]:
        """Read all pools; targets that share a collection are listed together.

        Args:
            pools: The pools.
            now: Time of the read.

        Returns:
            Their sizes, by pool.
        """
        once = ReadOnce(self._api)
        together: dict[str, list[str]] = {}
        for pool in pools:
            address = self._addresses.find(pool.target) if isinstance(pool.target, ObjectReference) else None
            if isinstance(address, Address):
                together.setdefault(address.collection, []).append(pool.pool)
        slow = {
            names[0]: problem
            for collection, names in together.items()
            if len(names) >= MIN_LISTED and (problem := once.list_ahead(collection)) is not None
        }
        reader = ClusterCapacity(once, self._aws, addresses=self._addresses)
        with ThreadPoolExecutor(NUM_READERS, thread_name_prefix="capacity-read") as workers:
            sizes = workers.map(lambda pool: reader.read(pool, now), pools)
            found = dict(zip((pool.pool for pool in pools), sizes, strict=True))
        for name, problem in slow.items():
            found[name] = _with_message(found[name], f"its kind is read one by one: {problem}")
        return found

    def set_size(self, order: SizeOrder, now: datetime) -> SizeReceipt:
        """Carry out an order.

        Args:
            order: The order.
            now: Time of the order.

        Returns:
            How it ended.
        """
        pool = order.pool
        if order.ownership is not pool.ownership:
            text = f"pool {pool.pool}: the order writes a {order.ownership}, the pool allows a {pool.ownership}"
            return SizeReceipt(outcome=WriteOutcome.REJECTED, text=text)
        if order.epoch < self._epoch:
            text = f"pool {pool.pool}: epoch {self._epoch} has written already, the order is of {order.epoch}"
            return SizeReceipt(outcome=WriteOutcome.FENCED, text=text)
        self._epoch = order.epoch
        bounded = min(max(order.to_nodes, pool.min_nodes), pool.max_nodes)
        receipt = self._dispatch(replace(order, to_nodes=bounded), now)
        if bounded == order.to_nodes:
            return receipt
        bounds = f" (asked for {order.to_nodes}, the pool's bounds are {pool.min_nodes} to {pool.max_nodes})"
        return replace(receipt, text=receipt.text + bounds)

    def _dispatch(self, order: SizeOrder, now: datetime) -> SizeReceipt:
        """Hand an order to the adapter of its target."""
        match order.pool.target:
            case ObjectReference() as target if order.ownership is Ownership.BUFFER:
                return self._buffer.set_size(order, target, now)
            case ObjectReference() as target:
                return self._scale.set_size(order, target)
            case EksTarget() | AsgTarget() as target:
                if order.ownership is Ownership.BUFFER:
                    text = (
                        f"pool {order.pool.pool}: a node group has no buffer; name a scale target, or write its floor"
                    )
                    return SizeReceipt(outcome=WriteOutcome.REJECTED, text=text)
                return self._aws.set_size(order, target, now)
            case UnbuiltTarget() as target:
                return refuse_unbuilt(target)


def _with_message(size: Sample[PoolSize], text: str) -> Sample[PoolSize]:
    """Return a size that also says something of its kind; one that is not known says nothing."""
    if size.value is None:
        return size
    return replace(size, value=replace(size.value, messages=(*size.value.messages, text)))
