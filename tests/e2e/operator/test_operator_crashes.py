"""Crashes in the middle of an escalation, of operator, API server and etcd: nothing is undone or done twice."""

import subprocess

import pytest

from controller.adapters.flags.store import ConfigMapFlagStore
from controller.planning.audit import read_audit
from tests.operator_cluster import cluster_of
from tests.operator_fakes import FakeFleet, in_seconds, make_operator
from tests.operator_samples import policy_object, pool_object
from tools.real_parts.control_plane import running_control_plane


@pytest.fixture
def own_cluster(tmp_path, control_plane):
    """An API of its own, for it is to be killed."""
    directory = tmp_path / "own"
    directory.mkdir()
    with running_control_plane(directory) as own, cluster_of(own, tmp_path) as cluster:
        yield cluster


@pytest.fixture
def escalating(own_cluster, wait_until):
    """An operator in the middle of a surge."""
    own_cluster.deployment("eu-h100", 4)
    own_cluster.create(own_cluster.pools, pool_object())
    own_cluster.create(own_cluster.policies, policy_object())
    fleet = FakeFleet()
    fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
    made = make_operator(own_cluster, fleet)
    made.operator.start()
    wait_until(lambda: limits(own_cluster) and own_cluster.replicas("eu-h100") > 4, timeout_seconds=20.0)
    yield made
    made.operator.stop()


def limits(cluster):
    store = ConfigMapFlagStore(cluster.client, namespace=cluster.namespace, name="images-flags")
    stored = store.read(in_seconds(0.0)).value
    return stored.rendered.flags if stored is not None else None


@pytest.mark.parametrize("victim", ["api_server", "etcd"])
def test_a_killed_control_plane_undoes_nothing(own_cluster, escalating, wait_until, victim):
    """After kill -9 and a restart the limits and sizes are as decided, and the operator goes on by itself."""
    size, held = own_cluster.replicas("eu-h100"), limits(own_cluster)
    plane = own_cluster.control_plane
    getattr(plane, victim).kill()
    wait_until(lambda: not escalating.operator.is_leading, timeout_seconds=10.0)
    # What it can no longer know it no longer tells, for whoever leads meanwhile tells it.
    wait_until(lambda: b"meltguard_pool_nodes{" not in escalating.metrics.render(), timeout_seconds=10.0)
    if victim == "etcd":
        plane.restart_etcd()
        wait_until(plane.is_ready, timeout_seconds=60.0)
    else:
        plane.restart_api_server()
    assert own_cluster.replicas("eu-h100") >= size
    assert {(flag.key, flag.tier) for flag in limits(own_cluster)} >= {(flag.key, flag.tier) for flag in held}
    before = escalating.passes("done")
    wait_until(lambda: escalating.passes("done") > before + 1, timeout_seconds=40.0)
    assert escalating.passes("defect") == 0
    # Everything that was decided is in the audit log, and deciding it again gives the same.
    records = list(read_audit(escalating.audit))
    assert records and all(record.is_identical() for record in records)


CRASH = """
import os, sys
from controller.operator import {module} as module
real = module.{function}
def crash(*arguments, **named):
    {before}
    os.kill(os.getpid(), 9)
module.{function} = crash
from pathlib import Path
from tests.operator_fakes import FakeFleet, make_operator
class Place:
    namespace = sys.argv[2]
fleet = FakeFleet()
fleet.load_ratio, fleet.growth, fleet.offset_celsius = 0.9, 3.0, 46.0
made = make_operator(Place, fleet, kubeconfig=Path(sys.argv[1]))
made.operator.start()
made.operator._stop.wait(30.0)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_operator_does_nothing_twice(cluster, wait_until, moment):
    """Killed right before or right after an order was carried out, with its intent stored, it is carried out once."""
    import sys

    cluster.deployment("eu-h100", 4)
    cluster.create(cluster.pools, pool_object())
    cluster.create(cluster.policies, policy_object())
    code = CRASH.format(
        module="policy_runner",
        function="apply_orders",
        before="arguments[0].intents and real(*arguments, **named)" if moment == "after" else "pass",
    )
    kubeconfig = cluster.account.kubeconfig_at(cluster.control_plane.url)
    died = subprocess.run(
        [sys.executable, "-c", code, str(kubeconfig), cluster.namespace],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert died.returncode == -9, died.stderr[-2000:]
    state = cluster.client.get(cluster.config_maps, "images-meltguard-state")["data"]["operator.json"]
    assert '"pending"' in state, "the intent was stored before the deed"
    assert cluster.replicas("eu-h100") == (6 if moment == "after" else 4)
    fleet = FakeFleet()
    # The surge is over when the next replica begins: only what was decided before may still be carried out.
    fleet.load_ratio = 0.4
    made = make_operator(cluster, fleet, identity="b")
    made.operator.start()
    try:
        wait_until(lambda: made.passes("done") >= 2, timeout_seconds=20.0)
        assert cluster.replicas("eu-h100") == 6
        assert [order for order in fleet.orders if order[1] > 0] == [("eu-h100", 2)]
        assert limits(cluster) is not None
    finally:
        made.operator.stop()
