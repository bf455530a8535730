"""A fleet for tests of the operator: real pools and real flags of a real API, made-up heat and demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.ports import (
    Acknowledgement,
    CapacityPort,
    FlagReceipt,
    Learned,
    Observed,
    PoolSize,
    RenderedFlags,
    StoredFlags,
)
from controller.adapters.targets import PoolTarget
from controller.operator.assembly import Connections, Copies, World, build_operator
from controller.operator.entries import PolicyEntry
from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.list_watch import WatchSettings
from controller.operator.operator import Operator
from controller.operator.policy_inputs import PolicyPorts
from controller.operator.settings import OperatorSettings
from controller.telemetry.metrics import ControllerMetrics
from controller.types import FleetSnapshot, ForecastSet, NodeCounts, Policy, Sample
from tests import planning_samples

FAST_WATCH = WatchSettings(timeout_seconds=20.0, silence_seconds=3.0, most_backoff_seconds=0.5)


class FakeFleet:
    """What the fleet shows; tests change the fields while the operator runs. Thread-safe enough for a test.

    Attributes:
        load_ratio: Present load of every pool.
        growth: Factor that demand grows by within half an hour.
        offset_celsius: Temperature at zero power; 40 is cool, 46 is a heat wave.
        change: Applied to every snapshot last, to break it on purpose.
        orders: ``(pool, num_nodes)`` that were noted.
        learned: What its observation has learned.
        restored: What the operator gave to its observation at the start.
    """

    def __init__(self) -> None:
        """Begin calm."""
        self.load_ratio = 0.4
        self.growth = 1.0
        self.offset_celsius = 40.0
        self.change: Callable[[FleetSnapshot], FleetSnapshot] = lambda snapshot: snapshot
        self.has_forecasts = True
        self.num_observed = 0
        self.orders: list[tuple[str, int]] = []
        self.learned = Learned()
        self.restored = Learned()

    def bound(self, capacity: ClusterCapacity) -> BoundFleet:
        """Return the ports of this fleet for one operator."""
        return BoundFleet(self, capacity)


class BoundFleet:
    """Observation and forecasts of a fleet whose sizes one operator reads from the API."""

    def __init__(self, fleet: FakeFleet, capacity: CapacityPort) -> None:
        """Take the fleet and the way to its sizes."""
        self._fleet = fleet
        self._capacity = capacity

    @property
    def learned(self) -> Learned:
        """What was learned: nothing."""
        return self._fleet.learned

    def note_order(self, pool: str, *, num_nodes: int, now: datetime) -> None:
        """Remember an order."""
        del now
        self._fleet.orders.append((pool, num_nodes))

    def observe(self, policy: Policy, pools: tuple[PoolTarget, ...], now: datetime) -> Observed:
        """Return a settled fleet of the sizes that the API says; nodes serve as soon as they are asked for."""
        fleet = self._fleet
        fleet.num_observed += 1
        response = planning_samples.thermal(fleet.load_ratio, offset_celsius=fleet.offset_celsius)
        sizes = {target.pool: self._capacity.read(target, now) for target in pools}
        seen = planning_samples.snapshot(policy, fleet.load_ratio, now=now)
        states = tuple(
            replace(
                planning_samples.pool_state(spec.name, spec.region, fleet.load_ratio, as_of=now, response=response),
                nodes=_counts(sizes[spec.name], now),
            )
            for spec in policy.pools
        )
        messages = tuple(text for size in sizes.values() if size.value is not None for text in size.value.messages)
        return Observed(snapshot=fleet.change(replace(seen, pools=states)), sizes=sizes, pool_problems=messages)

    def forecasts(self, policy: Policy, now: datetime) -> ForecastSet:
        """Return forecasts that agree with the load."""
        if not self._fleet.has_forecasts:
            return ForecastSet(demand=())
        return planning_samples.forecasts(policy, self._fleet.load_ratio, growth=self._fleet.growth, now=now)


def _counts(size: Sample[PoolSize], now: datetime) -> Sample[NodeCounts]:
    value = size.value.desired if size.value is not None else None
    if value is None:
        return Sample.absent()
    return Sample.fresh(NodeCounts(desired=value, created=value, ready=value, serving=value, pending=0), now)


class StoreFlags:
    """The real flag store without consumers."""

    def __init__(self, store: ConfigMapFlagStore) -> None:
        """Take the store."""
        self._store = store

    def read(self, now: datetime) -> Sample[StoredFlags]:
        """Read the store."""
        return self._store.read(now)

    def write(self, rendered: RenderedFlags, *, epoch: int, token: str, now: datetime) -> FlagReceipt:
        """Write the store."""
        return self._store.write(rendered, epoch=epoch, token=token, now=now)

    def acknowledgement(self, revision: int, now: datetime) -> Sample[Acknowledgement]:
        """Return nothing: nobody consumes."""
        del revision, now
        return Sample.absent()


class Running:
    """An operator under test: its metrics, its audit lines and its own way to the API."""

    def __init__(self, operator: Operator, metrics: ControllerMetrics, audit: list[bytes]) -> None:
        """Take what was built."""
        self.operator = operator
        self.metrics = metrics
        self.audit = audit

    def passes(self, result: str) -> float:
        """Return how many passes ended in a way."""
        value = self.metrics.registry.get_sample_value("meltguard_controller_passes_total", {"result": result})
        return value or 0.0


def make_operator(
    cluster: Any, fleet: FakeFleet, *, url: str = "", kubeconfig: Path | None = None, **settings: Any
) -> Running:
    """Return an operator of a cluster whose fleet is made up; nothing is started.

    Args:
        cluster: The namespace (tests.operator_cluster.Cluster).
        fleet: What it sees.
        url: Address of the API; a proxy's for faults.
        kubeconfig: How to reach the API; None for the way of the operator's service account to ``url``.
        settings: Settings that differ from the quick ones of tests.

    Returns:
        The operator.
    """
    quick: dict[str, Any] = {
        "period_seconds": 0.3,
        "least_pause_seconds": 0.05,
        "lease_duration_seconds": 2,
        "lease_renew_deadline_seconds": 1.2,
        "lease_retry_seconds": 0.3,
        "stop_seconds": 8.0,
        "watch": FAST_WATCH,
    }
    chosen = OperatorSettings(namespace=cluster.namespace, **{"identity": "a", **quick, **settings})
    metrics = ControllerMetrics()
    audit: list[bytes] = []

    def make_world(connections: Connections, copies: Copies) -> World:
        del copies

        def ports(entry: PolicyEntry, learned: Learned) -> PolicyPorts:
            fleet.restored = learned
            assert entry.spec is not None and entry.spec.flags.config_map is not None
            place = entry.spec.flags.config_map
            capacity = ClusterCapacity(connections.main)
            bound = fleet.bound(capacity)
            store = ConfigMapFlagStore(connections.main, namespace=cluster.namespace, name=place.name, key=place.key)
            return PolicyPorts(capacity=capacity, flags=StoreFlags(store), observation=bound, forecasts=bound)

        return World(make_ports=ports)

    access = open_access(kubeconfig or cluster.account.kubeconfig_at(url or cluster.control_plane.url))
    operator = build_operator(access, chosen, make_world, lambda lines: audit.extend(lines), metrics)
    return Running(operator, metrics, audit)


def in_seconds(seconds: float) -> datetime:
    """Return a time from now."""
    return datetime.now(UTC) + timedelta(seconds=seconds)
