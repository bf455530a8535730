"""Pools with a scale subresource on the real API: sizes, floors, buffers, victims, and every way of being refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.ports import SizeOrder, WriteOutcome
from controller.adapters.targets import ObjectReference, UnbuiltTarget
from controller.types import Ownership, PoolCondition
from tests.capacity_rig import MERGE, Rig, deployment, machine_set, node_pool, pool_of
from tests.cluster_definitions import install
from tests.kubernetes_transport import DirectApi
from tests.planning_samples import NOW
from tools.real_parts.fault_proxy import Fault, FaultKind


@pytest.fixture(autouse=True)
def definitions(api, wait_until) -> None:
    """Other projects' resources are served."""
    install(api, wait_until)


@pytest.fixture
def rig(api, namespace) -> Rig:
    """A rig on the real API."""
    return Rig(api=api, namespace=namespace, capacity=ClusterCapacity(api))


def test_a_deployment_is_resized(rig) -> None:
    """The size goes through the scale subresource, and the same order sent again writes nothing."""
    pool = deployment(rig)
    first = rig.order(pool, 5)
    again = rig.order(pool, 5)

    assert (first.outcome, first.wrote) == (WriteOutcome.DONE, True)
    assert (again.outcome, again.wrote) == (WriteOutcome.DONE, False)
    assert (rig.read(pool).desired, rig.read(pool).written) == (5, 5)


@pytest.mark.parametrize("kind", ["MachineDeployment", "MachinePool"])
@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_cluster_api_sets_are_resized_in_both_versions(rig, kind: str, version: str) -> None:
    """Sets of machines are read and resized whichever version the manifest names, down to zero."""
    pool = replace(machine_set(rig, kind, version), min_nodes=0)
    size = rig.read(pool)
    assert (size.desired, size.created, size.ready) == (3, 3, 2)

    assert rig.order(pool, 6).outcome is WriteOutcome.DONE
    assert rig.order(pool, 0).outcome is WriteOutcome.DONE
    assert rig.read(pool).desired == 0


def test_a_version_that_is_gone_is_found_under_its_successor(rig) -> None:
    """A manifest that names a version the cluster no longer serves still reaches the set."""
    pool = machine_set(rig)
    reference = replace(pool.target, api_version="cluster.x-k8s.io/v1alpha4")

    assert rig.order(replace(pool, target=reference), 4).outcome is WriteOutcome.DONE
    assert rig.read(pool).desired == 4


def test_a_static_node_pool_is_resized_within_its_limit(rig) -> None:
    """A static NodePool takes a size up to its own limit of nodes; a dynamic one has none to take."""
    static = node_pool(rig, {"replicas": 3, "limits": {"nodes": "8"}})
    dynamic = node_pool(rig, {})

    assert rig.order(static, 8).outcome is WriteOutcome.DONE
    assert rig.order(static, 9).outcome is WriteOutcome.QUOTA
    refused = rig.order(dynamic, 4)
    assert refused.outcome is WriteOutcome.REJECTED
    assert "buffer" in refused.text


def test_the_hottest_machines_go_first(rig) -> None:
    """Before a set shrinks by two, the machines on the two hottest nodes are marked, and older marks are taken off."""
    pool = machine_set(rig)
    labels = {"cluster.x-k8s.io/deployment-name": "gpu"}
    stale = {"meltguard.dev/delete-machine": "yes", "cluster.x-k8s.io/delete-machine": "yes"}
    foreign = {"cluster.x-k8s.io/delete-machine": "yes"}
    marks = {"a": {}, "b": stale, "c": {}, "d": foreign}
    for name, mark in marks.items():
        metadata = {"labels": labels, "annotations": mark}
        body = {"metadata": metadata, "status": {"nodeRef": {"name": f"node-{name}"}}}
        rig.create("cluster.x-k8s.io/v1beta2", "Machine", "machines", body, name=name)

    receipt = rig.order(pool, 1, hottest_nodes=("node-c", "node-gone", "node-a", "node-b"))

    assert receipt.outcome is WriteOutcome.DONE
    listed = rig.api.call("GET", f"/apis/cluster.x-k8s.io/v1beta2/namespaces/{rig.namespace}/machines").body["items"]
    marked = {row["metadata"]["name"] for row in listed if row["metadata"].get("annotations")}
    assert marked == {"a", "c", "d"}


def test_an_order_on_an_old_read_is_a_conflict(rig) -> None:
    """When somebody changed the target after it was read, the order has no effect."""
    pool = deployment(rig)
    revision = rig.read(pool).revision
    rig.order(pool, 4)

    receipt = rig.order(pool, 7, revision=revision)

    assert receipt.outcome is WriteOutcome.CONFLICT
    assert rig.read(pool).desired == 4


def test_an_older_epoch_is_fenced(rig) -> None:
    """After a newer leader has ordered, an order of an older one is refused."""
    pool = deployment(rig)
    rig.order(pool, 4, epoch=3)

    assert rig.order(pool, 5, epoch=2).outcome is WriteOutcome.FENCED
    assert rig.read(pool).desired == 4


def test_orders_stay_within_the_pools_bounds(rig) -> None:
    """An order beyond the pool's bounds is carried out up to them, and says so."""
    pool = deployment(rig)

    receipt = rig.order(pool, 99)

    assert "asked for 99" in receipt.text
    assert rig.read(pool).desired == 20


def test_a_dry_run_changes_nothing(rig) -> None:
    """A dry run is checked by the API and writes nothing."""
    pool = deployment(rig)

    receipt = rig.order(pool, 9, dry_run=True)

    assert (receipt.outcome, receipt.wrote) == (WriteOutcome.DONE, False)
    assert rig.read(pool).desired == 3


def autoscaler(rig: Rig) -> str:
    """Create a HorizontalPodAutoscaler of the Deployment."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gpu"}
    spec = {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 10}
    return rig.create(
        "autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", {"spec": spec}, name="scaler"
    )


def test_a_pool_that_an_autoscaler_owns_gets_a_floor_only(rig) -> None:
    """Under an HPA the size is refused by name; the floor is written up to the HPA's own bound."""
    pool = deployment(rig)
    path = autoscaler(rig)
    floor = replace(pool, ownership=Ownership.FLOOR)

    refused = rig.order(pool, 5)
    assert refused.outcome is WriteOutcome.FOREIGN_OWNER
    assert "scaler" in refused.text
    assert PoolCondition.FOREIGN_OWNER in rig.read(pool).conditions
    assert PoolCondition.FOREIGN_OWNER not in rig.read(floor).conditions

    assert rig.order(floor, 5).outcome is WriteOutcome.DONE
    assert "cut the 15" in rig.order(floor, 15).text
    assert rig.api.call("GET", path).body["spec"]["minReplicas"] == 10
    assert (rig.read(floor).written, rig.read(floor).desired) == (10, 3)


def test_keda_is_asked_before_the_autoscaler_that_it_owns(rig) -> None:
    """Under KEDA the floor goes to the ScaledObject, because KEDA would undo one in its HPA."""
    pool = replace(deployment(rig), ownership=Ownership.FLOOR)
    autoscaler(rig)
    spec = {"scaleTargetRef": {"name": "gpu"}, "minReplicaCount": 1, "maxReplicaCount": 30}
    path = rig.create("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", {"spec": spec}, name="events")

    assert rig.order(pool, 6).outcome is WriteOutcome.DONE
    assert rig.api.call("GET", path).body["spec"]["minReplicaCount"] == 6


def test_cluster_autoscalers_sets_get_their_minimum_raised(rig) -> None:
    """A set that cluster-autoscaler sizes says so by annotations, and the lower one is its floor."""
    prefix = "cluster.x-k8s.io/cluster-api-autoscaler-node-group"
    pool = machine_set(rig, annotations={f"{prefix}-min-size": "1", f"{prefix}-max-size": "9"})
    floor = replace(pool, ownership=Ownership.FLOOR)

    assert rig.order(pool, 5).outcome is WriteOutcome.FOREIGN_OWNER
    assert rig.order(floor, 5).outcome is WriteOutcome.DONE
    assert (rig.read(floor).written, rig.read(floor).desired) == (5, 3)


def test_a_floor_without_an_owner_is_refused(rig) -> None:
    """Where nothing scales the target there is no floor to write, and the receipt names the cure."""
    receipt = rig.order(replace(deployment(rig), ownership=Ownership.FLOOR), 5)

    assert receipt.outcome is WriteOutcome.REJECTED
    assert "ownership desired" in receipt.text


def test_a_size_that_another_autoscaler_wrote_last_is_foreign(rig) -> None:
    """When an autoscaler's field manager wrote the replicas, the pool is its, whatever the manifest says."""
    pool = machine_set(rig)
    path = f"/apis/cluster.x-k8s.io/v1beta2/namespaces/{rig.namespace}/machinedeployments/gpu"
    patch = {"spec": {"replicas": 4}}
    assert rig.api.call("PATCH", f"{path}?fieldManager=cluster-autoscaler", body=patch, content_type=MERGE).ok

    assert PoolCondition.FOREIGN_OWNER in rig.read(pool).conditions
    assert rig.order(pool, 6).outcome is WriteOutcome.FOREIGN_OWNER


def test_a_buffer_stands_beside_a_pool_that_is_not_ours(rig) -> None:
    """A wanted size becomes replicas of a buffer beside the nodes that were there, and the pool is left alone."""
    pool = replace(machine_set(rig), ownership=Ownership.BUFFER, buffer_pod_template="gpu-node")
    path = f"/apis/autoscaling.x-k8s.io/v1beta1/namespaces/{rig.namespace}/capacitybuffers/meltguard-r0-h"

    assert rig.order(pool, 7).outcome is WriteOutcome.DONE
    spec = rig.api.call("GET", path).body["spec"]
    assert spec == {"podTemplateRef": {"name": "gpu-node"}, "replicas": 4}
    assert (rig.read(pool).desired, rig.read(pool).written, rig.read(pool).decision_id) == (7, 4, "d-1")

    assert not rig.order(pool, 7).wrote
    assert rig.order(pool, 9, decision_id="d-2").outcome is WriteOutcome.DONE
    assert rig.api.call("GET", path).body["spec"]["replicas"] == 6
    assert rig.order(pool, 2).outcome is WriteOutcome.DONE
    assert rig.api.call("GET", path).body["spec"]["replicas"] == 0
    # The owner shrinks its pool; an empty buffer does not hold on to what once stood beside it.
    owned = f"/apis/cluster.x-k8s.io/v1beta2/namespaces/{rig.namespace}/machinedeployments/gpu"
    assert rig.api.call("PATCH", owned, body={"status": {"replicas": 2}}, content_type=MERGE).ok
    assert rig.read(pool).desired == 2
    assert rig.order(replace(pool, buffer_pod_template=None), 7).outcome is WriteOutcome.REJECTED


def test_a_buffer_of_a_newer_epoch_is_left_alone(rig, api) -> None:
    """A leader of old, in a process of its own, cannot change a buffer that a newer one wrote."""
    pool = replace(machine_set(rig), ownership=Ownership.BUFFER, buffer_pod_template="gpu-node")
    rig.order(pool, 7, epoch=5)
    older = Rig(api=api, namespace=rig.namespace, capacity=ClusterCapacity(api))

    assert older.order(pool, 3, epoch=4).outcome is WriteOutcome.FENCED


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        ("could not launch: InsufficientInstanceCapacity for p5.48xlarge", PoolCondition.STOCK_OUT),
        ("instance launch failed: VcpuLimitExceeded", PoolCondition.QUOTA_EXCEEDED),
    ],
)
def test_a_stock_out_is_told_from_a_quota(rig, message: str, condition: PoolCondition) -> None:
    """A condition of the target that tells of no capacity, or of a quota, becomes the pool's condition."""
    pool = machine_set(rig)
    path = f"/apis/cluster.x-k8s.io/v1beta2/namespaces/{rig.namespace}/machinedeployments/gpu"
    row = {"type": "ScalingUp", "status": "True", "reason": "Failing", "message": message}
    assert rig.api.call("PATCH", path, body={"status": {"conditions": [row]}}, content_type=MERGE).ok

    size = rig.read(pool)

    assert size.conditions == {condition}
    assert message in size.messages[0]


def test_a_paused_set_says_so(rig) -> None:
    """Cluster API's pause is the pool's condition."""
    pool = machine_set(rig, annotations={"cluster.x-k8s.io/paused": "true"})
    assert PoolCondition.PAUSED in rig.read(pool).conditions


def test_a_target_that_is_not_there_is_named(rig) -> None:
    """A target that does not exist, and a kind that the cluster does not serve, are refused by name."""
    missing = pool_of(ObjectReference(api_version="apps/v1", kind="Deployment", name="lost", namespace=rig.namespace))
    unknown = pool_of(ObjectReference(api_version="x.dev/v1", kind="Rack", name="gpu", namespace=rig.namespace))

    for pool, word in ((missing, "lost"), (unknown, "Rack")):
        assert rig.read(pool).desired is None
        receipt = rig.order(pool, 3)
        assert receipt.outcome is WriteOutcome.REJECTED
        assert word in receipt.text


@pytest.mark.parametrize("provider", ["gke", "aks", "coreweave"])
def test_providers_for_later_say_not_yet(rig, provider: str) -> None:
    """A provider without an adapter is read as unknown, refuses orders, and names the way around."""
    pool = pool_of(UnbuiltTarget(provider=provider))

    assert rig.read(pool).desired is None
    receipt = rig.order(pool, 3)
    assert receipt.outcome is WriteOutcome.REJECTED
    assert "cannot be resized yet" in receipt.text


def test_a_silent_api_is_absent_and_a_lost_answer_is_looked_up(rig, api_fault_proxy, control_plane) -> None:
    """Without an answer a pool is absent; a write whose answer was lost is found to have had its effect."""
    pool = deployment(rig)
    proxied = Rig(
        api=rig.api,
        namespace=rig.namespace,
        capacity=ClusterCapacity(DirectApi(api_fault_proxy.url, control_plane.credentials, read_seconds=2.0)),
    )
    api_fault_proxy.inject(Fault(kind=FaultKind.LOSE_ANSWER, method="PATCH", times=1))
    assert proxied.order(pool, 8).outcome is WriteOutcome.DONE

    api_fault_proxy.inject(Fault(kind=FaultKind.STATUS, status=500, method="PATCH", times=1))
    assert proxied.order(pool, 9).outcome is WriteOutcome.TIME_OUT
    api_fault_proxy.inject(Fault(kind=FaultKind.DROP))
    assert proxied.capacity.read(pool, NOW).value is None
    order = SizeOrder(pool=pool, to_nodes=9, ownership=pool.ownership, decision_id="d", epoch=1)
    assert proxied.capacity.set_size(order, NOW).outcome is WriteOutcome.TIME_OUT
    assert rig.read(pool).desired == 8
