"""An operator in the middle of a surge, with limits in force and nodes on order, and what may go wrong then."""

from __future__ import annotations

import math
from dataclasses import replace

from controller.adapters.flags.store import ConfigMapFlagStore
from controller.operator.conditions import Problem
from controller.operator.status_view import PoolView
from controller.types import FlagInForce, FleetSnapshot, Freshness, Sample
from tests.operator_cluster import Cluster
from tests.operator_fakes import FakeFleet, Running, in_seconds, make_operator
from tests.operator_samples import policy_object, pool_object
from tools.real_parts.fault_proxy import Fault, FaultKind, FaultProxy

API_FAULTS = (
    Fault(kind=FaultKind.LATENCY, delay_seconds=0.4),
    Fault(kind=FaultKind.HANG),
    Fault(kind=FaultKind.DROP),
    Fault(kind=FaultKind.LOSE_ANSWER),
    Fault(kind=FaultKind.STATUS, status=409),
    Fault(kind=FaultKind.STATUS, status=410),
    Fault(kind=FaultKind.STATUS, status=429),
    Fault(kind=FaultKind.STATUS, status=500),
    Fault(kind=FaultKind.STATUS, status=403),
    Fault(kind=FaultKind.TRUNCATE, after_bytes=100),
)


class Surge:
    """A running operator behind a proxy, in the middle of a surge.

    Args:
        cluster: Where.
        fleet: What it sees.
        running: The operator.
        proxy: Before the API.
    """

    def __init__(self, cluster: Cluster, fleet: FakeFleet, running: Running, proxy: FaultProxy) -> None:
        """Take what runs."""
        self.cluster, self.fleet, self.running, self.proxy = cluster, fleet, running, proxy
        self.store = ConfigMapFlagStore(cluster.client, namespace=cluster.namespace, name="images-flags")

    def limits(self) -> tuple[FlagInForce, ...]:
        """Return the limits that the store holds."""
        stored = self.store.read(in_seconds(0.0)).value
        return stored.rendered.flags if stored is not None else ()

    def size(self) -> int:
        """Return the size that the pool was asked to be."""
        return self.cluster.replicas("eu-h100")

    def problems(self) -> tuple[Problem, ...]:
        """Return everything that the operator says is wrong."""
        view = self.running.operator.status()
        return (*view.problems, *(problem for policy in view.policies for problem in policy.problems))

    def codes(self) -> set[str]:
        """Return the same in one word each."""
        return {problem.code for problem in self.problems()}

    def num_passes(self) -> float:
        """Return how many passes were made."""
        return self.running.passes("done")

    def shown_pools(self) -> list[PoolView]:
        """Return the pools on the status page."""
        return [pool for policy in self.running.operator.status().policies for pool in policy.pools]

    def is_under_way(self) -> bool:
        """Return whether limits are in force and nodes on order."""
        return bool(self.limits()) and self.size() > 4

    def is_at_rest(self) -> bool:
        """Return whether the operator leads and nothing is wrong."""
        view = self.running.operator.status()
        return view.leading and len(view.policies) == 1 and not self.codes()


def begin_surge(cluster: Cluster, proxy: FaultProxy, *, identity: str = "a") -> Surge:
    """Start an operator whose fleet is hot; limits and nodes follow within seconds.

    Args:
        cluster: Where.
        proxy: Before its API.
        identity: Name of the replica.

    Returns:
        The surge; its operator is to be stopped.
    """
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    fleet = hot_fleet()
    running = make_operator(cluster, fleet, url=proxy.url, identity=identity)
    running.operator.start()
    return Surge(cluster, fleet, running, proxy)


def hot_fleet() -> FakeFleet:
    """Return a fleet that needs limits and nodes."""
    fleet = FakeFleet()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    return fleet


def not_numbers(snapshot: FleetSnapshot) -> FleetSnapshot:
    """Every margin is NaN."""
    pools = tuple(
        replace(
            pool,
            margin=Sample.fresh(
                replace(pool.margin.value, minimum_celsius=math.nan, low_celsius=math.nan), pool.margin.as_of
            ),
            power_watts=Sample.fresh(math.nan, pool.margin.as_of),
        )
        for pool in snapshot.pools
    )
    return replace(snapshot, pools=pools)


def nothing(snapshot: FleetSnapshot) -> FleetSnapshot:
    """No metric answers."""
    return replace(snapshot, regions=(), pools=())


def from_the_future(snapshot: FleetSnapshot) -> FleetSnapshot:
    """Every sample is an hour ahead, as after a jump of somebody's clock."""
    pools = tuple(replace(pool, margin=Sample.fresh(pool.margin.value, in_seconds(3600.0))) for pool in snapshot.pools)
    return replace(snapshot, pools=pools)


def of_yesterday(snapshot: FleetSnapshot) -> FleetSnapshot:
    """Every sample is a day old, and says so."""
    pools = tuple(
        replace(
            pool,
            margin=Sample(value=pool.margin.value, as_of=in_seconds(-86400.0), freshness=Freshness.STALE),
            nodes=Sample(value=pool.nodes.value, as_of=in_seconds(-86400.0), freshness=Freshness.STALE),
        )
        for pool in snapshot.pools
    )
    return replace(snapshot, pools=pools)


METRICS_FAULTS = (not_numbers, nothing, from_the_future, of_yesterday)
