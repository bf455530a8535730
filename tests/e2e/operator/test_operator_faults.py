"""The fault matrix: whatever breaks, nothing unsafe is done, the status says what is wrong, and rest returns by itself.

Each case begins in the middle of a surge, with limits in force and nodes on order, when unsafe actions would show:
a limit that ends early, a pool that shrinks, an action done twice.
"""

import math
from dataclasses import replace

import pytest

from controller.adapters.flags.store import ConfigMapFlagStore
from controller.operator.resources.manifests import definitions
from controller.types import Freshness, Sample
from tests.operator_cluster import DEFINITIONS, install_definitions
from tests.operator_fakes import FakeFleet, in_seconds, make_operator
from tests.operator_samples import policy_object, pool_object
from tools.real_parts.fault_proxy import Fault, FaultKind

REST_SECONDS = 25.0


class Surge:
    """A running operator behind a proxy, in the middle of a surge."""

    def __init__(self, cluster, fleet, running, proxy):
        self.cluster, self.fleet, self.running, self.proxy = cluster, fleet, running, proxy
        self.store = ConfigMapFlagStore(cluster.client, namespace=cluster.namespace, name="images-flags")

    def limits(self):
        return self.store.read(in_seconds(0.0)).value.rendered.flags

    def size(self):
        return self.cluster.replicas("eu-h100")

    def codes(self):
        view = self.running.operator.status()
        rows = [*view.problems, *(problem for policy in view.policies for problem in policy.problems)]
        return {problem.code for problem in rows}

    def num_passes(self):
        return self.running.passes("done")

    def shown_pools(self):
        return [pool for policy in self.running.operator.status().policies for pool in policy.pools]

    def is_at_rest(self):
        view = self.running.operator.status()
        return view.leading and len(view.policies) == 1 and not self.codes()


@pytest.fixture
def surge(cluster, api_fault_proxy, wait_until):
    """Begins the surge and ends the operator afterwards."""
    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    fleet = FakeFleet()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    running = make_operator(cluster, fleet, url=api_fault_proxy.url)
    running.operator.start()
    made = Surge(cluster, fleet, running, api_fault_proxy)
    wait_until(lambda: made.limits() and made.size() > 4, timeout_seconds=20.0)
    yield made
    api_fault_proxy.clear()
    running.operator.stop()


@pytest.mark.parametrize(
    "fault",
    [
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
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_every_fault_of_the_api_is_survived(surge, wait_until, fault):
    """During the fault nothing is undone; after it, passes, lease and status are in order again within a bound."""
    size, held = surge.size(), surge.limits()
    surge.proxy.inject(fault)
    surge.proxy.cut_connections()
    wait_until(lambda: surge.proxy.num_hits(fault) >= 8, timeout_seconds=20.0)
    assert surge.size() >= size
    assert {(flag.key, flag.tier) for flag in surge.limits()} >= {(flag.key, flag.tier) for flag in held}
    surge.proxy.clear()
    before = surge.num_passes()
    wait_until(lambda: surge.num_passes() > before and surge.is_at_rest(), timeout_seconds=REST_SECONDS)
    assert surge.running.passes("defect") == 0


def not_numbers(snapshot):
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


def nothing(snapshot):
    """No metric answers."""
    return replace(snapshot, regions=(), pools=())


def from_the_future(snapshot):
    """Every sample is an hour ahead, as after a jump of somebody's clock."""
    pools = tuple(replace(pool, margin=Sample.fresh(pool.margin.value, in_seconds(3600.0))) for pool in snapshot.pools)
    return replace(snapshot, pools=pools)


def of_yesterday(snapshot):
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


@pytest.mark.parametrize("change", [not_numbers, nothing, from_the_future, of_yesterday], ids=lambda f: f.__name__)
def test_no_nonsense_in_the_metrics_lifts_a_limit(surge, wait_until, change):
    """While evidence is absent, stale or absurd the surge may look over, and still nothing is given back."""
    size = surge.size()
    surge.fleet.load_ratio, surge.fleet.growth, surge.fleet.offset_celsius = 0.05, 1.0, 25.0
    surge.fleet.change = change
    seen = surge.fleet.num_observed
    wait_until(lambda: surge.fleet.num_observed > seen + 6, timeout_seconds=20.0)
    assert surge.size() >= size and surge.limits()
    surge.fleet.change = lambda snapshot: snapshot
    before = surge.num_passes()
    wait_until(lambda: surge.num_passes() > before + 2 and surge.is_at_rest(), timeout_seconds=REST_SECONDS)


def test_a_pool_edited_by_hand_is_decided_anew(surge, wait_until):
    """A size that somebody else wrote is seen, and the next decision starts from it, within the pool's bounds."""
    patch = {"spec": {"replicas": 3}}
    surge.cluster.client.merge_patch(surge.cluster.deployments, "eu-h100", patch, subresource="scale")
    wait_until(lambda: surge.size() > 3, timeout_seconds=REST_SECONDS)
    assert surge.size() <= 8
    wait_until(surge.is_at_rest, timeout_seconds=REST_SECONDS)


def test_a_pool_that_vanishes_is_said_and_not_guessed(surge, wait_until):
    """Without its target a pool is unresolved; it is neither recreated nor counted as empty."""
    surge.cluster.client.delete(surge.cluster.deployments, "eu-h100")

    def resolved():
        rows = surge.cluster.client.get(surge.cluster.pools, "eu-h100").get("status", {}).get("conditions", [])
        return next((row["status"] for row in rows if row["type"] == "TargetResolved"), None)

    wait_until(lambda: resolved() == "False", timeout_seconds=REST_SECONDS)
    assert surge.limits()
    surge.cluster.deployment("eu-h100", 6)
    wait_until(lambda: resolved() == "True" and surge.is_at_rest(), timeout_seconds=REST_SECONDS)


def test_a_deleted_lease_is_outranked(surge, wait_until):
    """Whoever deletes the Lease does not take the epoch back: the next term outranks all that was written."""
    before = surge.running.operator.fence()
    surge.cluster.client.delete(surge.cluster.leases, "meltguard-operator")
    wait_until(lambda: surge.running.operator.is_leading and surge.num_passes() > 0, timeout_seconds=REST_SECONDS)
    state = surge.cluster.client.get(surge.cluster.config_maps, "images-meltguard-state")
    assert int(state["metadata"]["annotations"]["meltguard.dev/epoch"]) >= before
    passes = surge.num_passes()
    wait_until(lambda: surge.num_passes() > passes + 2 and surge.is_at_rest(), timeout_seconds=REST_SECONDS)


def test_deleted_state_is_a_careful_start(surge, wait_until):
    """With the state deleted under a running leader, limits stay and the memory is built anew from them."""
    surge.cluster.client.delete(surge.cluster.config_maps, "images-meltguard-state")
    passes = surge.num_passes()
    wait_until(lambda: surge.num_passes() > passes + 3, timeout_seconds=REST_SECONDS)
    assert surge.limits()
    wait_until(surge.is_at_rest, timeout_seconds=REST_SECONDS)


def test_a_deleted_definition_is_no_crash(surge, wait_until):
    """While the kind GPUPool is gone the replica is not ready and says why; with it back, work goes on."""
    surge.cluster.client.delete(DEFINITIONS, "gpupools.meltguard.dev")
    try:
        wait_until(lambda: surge.cluster.client.call("GET", surge.cluster.pools.path()).status == 404)
        surge.proxy.cut_connections()
        wait_until(
            lambda: any("gpupools" in text for text in surge.running.operator.missing()) or not surge.shown_pools(),
            timeout_seconds=REST_SECONDS,
        )
        assert surge.limits() and surge.size() > 4
    finally:
        install_definitions(surge.cluster.client)
    assert definitions()
    surge.cluster.create(surge.cluster.pools, pool_object())
    wait_until(lambda: surge.is_at_rest() and surge.shown_pools(), timeout_seconds=40.0)
    assert surge.running.passes("defect") == 0
