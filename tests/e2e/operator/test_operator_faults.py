"""The fault matrix: whatever breaks, nothing unsafe is done, the status says what is wrong, and rest returns by itself.

Each case begins in the middle of a surge, with limits in force and nodes on order, when unsafe actions would show:
a limit that ends early, a pool that shrinks, an action done twice.
"""

import pytest

from controller.operator.resources.manifests import definitions
from tests.operator_cluster import DEFINITIONS, cluster_of, install_definitions
from tests.operator_samples import pool_object
from tests.operator_surge import API_FAULTS, METRICS_FAULTS, begin_surge
from tools.real_parts.fault_proxy import running_fault_proxy

REST_SECONDS = 25.0


@pytest.fixture
def surge(cluster, api_fault_proxy, wait_until):
    """Begins the surge and ends the operator afterwards."""
    made = begin_surge(cluster, api_fault_proxy)
    wait_until(made.is_under_way, timeout_seconds=20.0)
    yield made
    api_fault_proxy.clear()
    made.running.operator.stop()


@pytest.mark.parametrize("fault", API_FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}")
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


@pytest.mark.parametrize("change", METRICS_FAULTS, ids=lambda f: f.__name__)
def test_no_nonsense_in_the_metrics_lifts_a_limit(surge, wait_until, change):
    """While evidence is absent, stale or absurd the surge may look over, and still nothing is given back."""
    size = surge.size()
    surge.fleet.load_ratio, surge.fleet.growth, surge.fleet.offset_celsius = 0.05, 1.0, 25.0
    surge.fleet.change = change
    seen = surge.fleet.num_observed
    wait_until(lambda: surge.fleet.num_observed > seen + 6, timeout_seconds=20.0)
    assert surge.size() >= size and surge.limits()
    assert "InputNotFresh" in surge.codes()
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

    wait_until(lambda: resolved() == "False" and "PoolTrouble" in surge.codes(), timeout_seconds=REST_SECONDS)
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


@pytest.fixture
def own_surge(own_control_plane, tmp_path, wait_until):
    """A surge on a control plane of its own, whose definitions are nobody else's."""
    plane = own_control_plane
    with (
        cluster_of(plane, tmp_path) as cluster,
        running_fault_proxy(plane.url, credentials=plane.credentials) as proxy,
    ):
        made = begin_surge(cluster, proxy)
        wait_until(made.is_under_way, timeout_seconds=20.0)
        yield made
        made.running.operator.stop()


def test_a_deleted_definition_is_no_crash(own_surge, wait_until):
    """While the kind GPUPool is gone the replica is not ready and says why; with it back, work goes on."""
    surge = own_surge
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
