"""Two replicas of the operator that lose the lease again and again, and a ledger of every write that had effect.

The pools are ConfigMaps, written by compare-and-swap as ``/scale`` is, which note epoch and decision beside the size.
The ledger watches them with the operator's state and flags; the API's resource versions put all writes in one order.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from controller.adapters.flags.store import RECORD_KEY, ConfigMapFlagStore
from controller.adapters.ports import Learned, PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import PoolTarget
from controller.operator.assembly import Connections, Copies, World, build_operator
from controller.operator.entries import PolicyEntry
from controller.operator.kubernetes import errors
from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.operator import Operator
from controller.operator.policy_inputs import PolicyPorts
from controller.operator.settings import OperatorSettings
from controller.operator.state import EPOCH_ANNOTATION
from controller.telemetry.metrics import ControllerMetrics
from controller.types import Sample
from tests.operator_cluster import Cluster
from tests.operator_fakes import FAST_WATCH, BoundFleet, FakeFleet, StoreFlags
from tests.operator_lease_diary import LeaseDiary
from tests.operator_samples import policy_object, pool_object
from tools.real_parts.fault_proxy import Fault, FaultKind, FaultProxy, running_fault_proxy

POOLS = ("eu-a", "eu-b", "eu-c")
FAULTS = (
    Fault(kind=FaultKind.HANG),
    Fault(kind=FaultKind.DROP),
    Fault(kind=FaultKind.LATENCY, delay_seconds=1.5),
    Fault(kind=FaultKind.LOSE_ANSWER),
    Fault(kind=FaultKind.HANG, path="/leases"),
    Fault(kind=FaultKind.STATUS, status=500, path="/leases"),
    Fault(kind=FaultKind.LATENCY, delay_seconds=1.2, method="PATCH"),
)
"""Whole outages, and faults of the lease alone: then the former leader can still write, and must not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One write that had effect: where it stands in the order of all, on what, by whom, for which decision."""

    version: int
    name: str
    epoch: int
    decision_id: str
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """One change of leader.

    Attributes:
        fault: What was done to the former leader; empty when nothing was.
        seconds: From its last renewal that the API took to its successor's first.
        stamped_seconds: The same, counted from when the former leader sent that renewal.
    """

    fault: str
    seconds: float
    stamped_seconds: float


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What the ledger says after some failovers.

    Attributes:
        num_failovers: How many there were.
        num_effects: Writes that had effect.
        applied_twice: Decision and pool that had effect more than once.
        older_after_newer: Writes to an object by an older epoch than the one before.
        landed_late: Writes by an older epoch after a newer one had written anything; each on an object that the newer
            had not touched yet.
        takeovers: Every change of leader.
    """

    num_failovers: int = 0
    num_effects: int = 0
    applied_twice: list[str] = field(default_factory=list)
    older_after_newer: list[str] = field(default_factory=list)
    landed_late: list[str] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)


class LedgerCapacity:
    """Pools as ConfigMaps; writes rest on a compare-and-swap, as those of ``/scale`` do."""

    def __init__(self, client: KubernetesClient, cluster: Cluster) -> None:
        """Take the replica's own way to the API."""
        self._client = client
        self._resource = cluster.config_maps

    def read(self, pool: PoolTarget, now: datetime) -> Sample[PoolSize]:
        """Read a pool."""
        try:
            entry = self._client.get(self._resource, f"pool-{pool.pool}")
        except errors.KubernetesError:
            return Sample.absent()
        size = int(entry["data"]["replicas"])
        decision = entry["data"].get("decision")
        version = entry["metadata"]["resourceVersion"]
        value = PoolSize(desired=size, written=size, created=size, ready=size, revision=version, decision_id=decision)
        return Sample.fresh(value, now)

    def read_many(self, pools: tuple[PoolTarget, ...], now: datetime) -> dict[str, Sample[PoolSize]]:
        """Read several pools."""
        return {pool.pool: self.read(pool, now) for pool in pools}

    def set_size(self, order: SizeOrder, now: datetime) -> SizeReceipt:
        """Write a pool."""
        del now
        data = {"replicas": str(order.to_nodes), "epoch": str(order.epoch), "decision": order.decision_id}
        patch = {"metadata": {"resourceVersion": order.revision}, "data": data}
        try:
            self._client.merge_patch(self._resource, f"pool-{order.pool.pool}", patch)
        except errors.ConflictError as error:
            return SizeReceipt(outcome=WriteOutcome.CONFLICT, text=str(error))
        except errors.KubernetesError as error:
            return SizeReceipt(outcome=WriteOutcome.TIME_OUT, text=str(error))
        return SizeReceipt(outcome=WriteOutcome.DONE, text="written", wrote=True)


class Ledger:
    """Watches every write to the namespace's ConfigMaps."""

    def __init__(self, cluster: Cluster) -> None:
        """Begin at the present version."""
        self._cluster = cluster
        self.effects: list[Effect] = []
        self._stop = threading.Event()
        self._version = cluster.client.list(cluster.config_maps)["metadata"]["resourceVersion"]
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read what is still on its way, then stop."""
        until = time.monotonic() + 5.0
        marker = self._cluster.client.create(self._cluster.config_maps, {"metadata": {"generateName": "marker-"}})
        wanted = int(marker["metadata"]["resourceVersion"])
        while int(self._version) < wanted and time.monotonic() < until:
            time.sleep(0.05)
        assert int(self._version) >= wanted, "the ledger has not seen every write"
        self._stop.set()

    def _run(self) -> None:
        client = self._cluster.client_at(self._cluster.control_plane.url, read_seconds=5.0)
        while not self._stop.is_set():
            try:
                events = client.watch(
                    self._cluster.config_maps,
                    resource_version=self._version,
                    timeout_seconds=60.0,
                    silence_seconds=2.0,
                )
                try:
                    for event in events:
                        self._take(event)
                finally:
                    events.close()
            except errors.KubernetesError:
                continue

    def _take(self, event: dict[str, Any]) -> None:
        entry = event["object"]
        self._version = entry["metadata"]["resourceVersion"]
        name, data = entry["metadata"]["name"], entry.get("data") or {}
        epoch, decision = 0, ""
        if name.startswith("pool-"):
            epoch, decision = int(data.get("epoch", 0)), data.get("decision", "")
        elif name.endswith("-state"):
            epoch = int((entry["metadata"].get("annotations") or {}).get(EPOCH_ANNOTATION, 0))
        elif RECORD_KEY in data:
            record = json.loads(data[RECORD_KEY])
            epoch, decision = record["epoch"], record["decision_id"]
        if epoch and event["type"] in ("ADDED", "MODIFIED"):
            self.effects.append(
                Effect(
                    version=int(self._version),
                    name=name,
                    epoch=epoch,
                    decision_id=decision,
                    replicas=int(data.get("replicas", 0)),
                )
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica behind a proxy of its own."""

    operator: Operator
    proxy: FaultProxy


class FailoverRig:
    """Two replicas, three pools that always want to grow, and the ledger."""

    def __init__(self, cluster: Cluster, replicas: tuple[Replica, ...], settings: OperatorSettings) -> None:
        """Take what runs."""
        self.cluster = cluster
        self.replicas = replicas
        self.settings = settings
        self.ledger = Ledger(cluster)
        self.diary = LeaseDiary(cluster)
        self.num_failovers = 0
        self.faults: dict[int, str] = {}

    def leader(self) -> Replica | None:
        """Return who leads now; None while nobody does."""
        leading = [replica for replica in self.replicas if replica.operator.is_leading]
        assert len(leading) <= 1, "two replicas believe that they lead"
        return leading[0] if leading else None

    def await_leader(self, *, other_than: Replica | None = None, seconds: float = 30.0) -> Replica:
        """Wait for a leader and return it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.leader()
            if found is not None and found is not other_than:
                return found
            time.sleep(0.01)
        raise AssertionError(f"no new leader within {seconds:.0f} s")

    def fail_over(self, chance: random.Random) -> None:
        """Let the leader act for a moment, break its connections at random, and wait for the other."""
        former = self.await_leader()
        for name in POOLS:
            # Somebody else shrinks every pool, so that there is always something to be done.
            patch = {"data": {"replicas": "4", "epoch": "0", "decision": ""}}
            self.cluster.client.merge_patch(self.cluster.config_maps, f"pool-{name}", patch)
        self._await_effect(former)
        time.sleep(chance.uniform(0.0, 0.5))
        fault = chance.choice(FAULTS)
        epoch = former.operator.status().epoch
        if epoch is not None:
            self.faults[epoch] = f"{fault.kind.value} {fault.method or ''}{fault.path}".strip()
        former.proxy.inject(fault)
        if chance.random() < 0.3:
            former.proxy.cut_connections()
        # A fault that hits writes alone need not cost the lease; then nothing else is left to fail over from.
        if fault.method == "PATCH":
            time.sleep(1.0)
            former.proxy.inject(Fault(kind=FaultKind.DROP, path="/leases"))
        if fault.kind is FaultKind.LATENCY and fault.method is None:
            former.proxy.inject(Fault(kind=FaultKind.DROP, path="/leases"))
        self.await_leader(other_than=former)
        self.num_failovers += 1
        former.proxy.clear()

    def _await_effect(self, leader: Replica) -> None:
        """Wait until the present term has had effect on a pool, so that there is something to be torn apart."""
        until = time.monotonic() + 10.0
        while time.monotonic() < until and leader.operator.is_leading:
            epoch = leader.operator.status().epoch
            recent = self.ledger.effects[-20:]
            if any(effect.epoch == epoch and effect.name.startswith("pool-") for effect in recent):
                return
            time.sleep(0.02)

    def verdict(self) -> Verdict:
        """Return what the ledger says."""
        self.ledger.close()
        self.diary.close()
        found = Verdict(
            num_failovers=self.num_failovers,
            takeovers=[
                Takeover(fault=self.faults.get(epoch, ""), seconds=seconds, stamped_seconds=stamped)
                for epoch, (seconds, stamped) in sorted(self.diary.takeovers().items())
            ],
        )
        effects = sorted(self.ledger.effects, key=lambda effect: effect.version)
        found.num_effects = len(effects)
        newest_of: dict[str, int] = {}
        newest, done = 0, set()
        for effect in effects:
            text = f"{effect.name} at {effect.version}: epoch {effect.epoch}"
            if effect.epoch < newest_of.get(effect.name, 0):
                found.older_after_newer.append(text)
            elif effect.epoch < newest:
                found.landed_late.append(text)
            newest_of[effect.name] = max(newest_of.get(effect.name, 0), effect.epoch)
            newest = max(newest, effect.epoch)
            if effect.name.startswith("pool-"):
                if (effect.name, effect.decision_id) in done:
                    found.applied_twice.append(f"{effect.name}: {effect.decision_id}")
                done.add((effect.name, effect.decision_id))
        return found


@contextmanager
def running_rig(cluster: Cluster) -> Iterator[FailoverRig]:
    """Run two replicas, each behind a proxy.

    Args:
        cluster: Where.

    Yields:
        The rig, with a leader.
    """
    for name in POOLS:
        cluster.create(
            cluster.config_maps, {"metadata": {"name": f"pool-{name}"}, "data": {"replicas": "4", "epoch": "0"}}
        )
        cluster.create(cluster.pools, pool_object(name, maxNodes=100_000, maxStepNodes=1))
    limits = {"maxNodesPerHour": 1_000_000, "maxShapedDemandRatio": 0.9, "maxEscalationsPerTenMinutes": 1_000_000}
    cluster.create(cluster.policies, policy_object(limits=limits, flagTtl="30s"))
    fleet = FakeFleet()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 10_000.0, 46.0
    with ExitStack() as stack:
        replicas = []
        for identity in ("a", "b"):
            plane = cluster.control_plane
            proxy = stack.enter_context(running_fault_proxy(plane.url, credentials=plane.credentials))
            settings = OperatorSettings(
                namespace=cluster.namespace,
                identity=identity,
                period_seconds=0.25,
                least_pause_seconds=0.02,
                lease_duration_seconds=2,
                lease_renew_deadline_seconds=1.0,
                lease_retry_seconds=0.2,
                stop_seconds=8.0,
                watch=FAST_WATCH,
            )

            def make_world(connections: Connections, copies: Copies) -> World:
                del copies
                capacity = LedgerCapacity(connections.main, cluster)
                bound = BoundFleet(fleet, capacity)
                store = ConfigMapFlagStore(connections.main, namespace=cluster.namespace, name="images-flags")

                def ports(entry: PolicyEntry, learned: Learned) -> PolicyPorts:
                    del entry, learned
                    return PolicyPorts(capacity=capacity, flags=StoreFlags(store), observation=bound, forecasts=bound)

                return World(make_ports=ports)

            access = open_access(cluster.account.kubeconfig_at(proxy.url))
            operator = build_operator(access, settings, make_world, lambda lines: None, ControllerMetrics())
            operator.start()
            stack.callback(operator.stop)
            replicas.append(Replica(operator=operator, proxy=proxy))
        rig = FailoverRig(cluster, tuple(replicas), settings)
        rig.await_leader()
        yield rig
        for replica in replicas:
            replica.proxy.clear()
