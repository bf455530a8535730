"""Rights that pools, workloads and flags of one kind need: each one is used, and named where it is missing."""

import threading
import time
from dataclasses import replace
from itertools import count

import pytest

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.flags.feature_flag import FeatureFlagProjection
from controller.adapters.flags.rendering import FlagRequest, render_flags
from controller.adapters.flags.sync_server import SyncServer, SyncSettings
from controller.adapters.ports import SizeOrder
from controller.adapters.targets import ObjectReference
from controller.operator.cluster_world import FlagStreams
from controller.operator.entries import policy_entry
from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.workload import ReplicaFollower, Wish
from controller.types import NodeCounts, Ownership, Sample
from tests.capacity_rig import Rig, pool_of
from tests.cluster_definitions import DEFINITIONS, FEATURE_FLAG_DEFINITION, install
from tests.kubernetes_transport import DirectApi
from tests.operator_account import granted
from tests.operator_samples import policy_object
from tests.planning_samples import NOW, policy

NUM_POOLS = 4
"""So many of a kind are listed together."""
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
WORKLOAD = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
SIZES = count(4)


class Place:
    """A namespace that an administrator fills, and the operator's own way to it."""

    def __init__(self, cluster, wait_until):
        self.cluster = cluster
        self.admin = DirectApi(cluster.control_plane.url, cluster.control_plane.credentials)
        install(self.admin, wait_until)
        self.rig = Rig(api=self.admin, namespace=cluster.namespace, capacity=ClusterCapacity(self.admin))
        self.client = KubernetesClient(open_access(cluster.account.kubeconfig_at(cluster.control_plane.url)))

    def close(self):
        self.client.close()
        self.admin.close()

    def pools(self, api_version, kind, plural, spec, **changes):
        """Create several of a kind and return them as pools."""
        made = []
        for number in range(NUM_POOLS):
            name = f"gpu-{self.cluster.namespace}-{number}"
            body = {"spec": {"replicas": 3, **spec}, "status": {"replicas": 3, "nodes": 3}}
            if kind in ("MachineDeployment", "MachinePool") and "annotations" in changes:
                body["metadata"] = {"annotations": changes["annotations"]}
            self.rig.create(api_version, kind, plural, body, name=name)
            namespace = None if kind == "NodePool" else self.cluster.namespace
            reference = ObjectReference(api_version=api_version, kind=kind, name=name, namespace=namespace)
            made.append(pool_of(reference, pool=f"p{number}"))
        return made

    def scaled(self, pools):
        """Read the pools and resize the first as the operator; return everything that was said."""
        capacity = ClusterCapacity(self.client)
        sizes = capacity.read_many(tuple(pools), NOW)
        said = [text for size in sizes.values() if size.value is not None for text in size.value.messages]
        first, to_nodes = pools[0], 4 + next(SIZES) % 8
        order = SizeOrder(
            pool=first, to_nodes=to_nodes, ownership=first.ownership, decision_id="d", epoch=1, revision=None
        )
        receipt = capacity.set_size(order, NOW)
        return [*said, receipt.text, receipt.warning]


@pytest.fixture
def place(cluster, wait_until):
    """The namespace."""
    made = Place(cluster, wait_until)
    yield made
    made.close()


def deployments(place):
    pools = place.pools("apps/v1", "Deployment", "deployments", WORKLOAD)
    return lambda: place.scaled(pools)


def stateful_sets(place):
    pools = place.pools("apps/v1", "StatefulSet", "statefulsets", {**WORKLOAD, "serviceName": "s"})
    return lambda: place.scaled(pools)


def machine_deployments(place):
    pools = place.pools("cluster.x-k8s.io/v1beta2", "MachineDeployment", "machinedeployments", {})
    name = pools[0].target.name
    labels = {"labels": {"cluster.x-k8s.io/deployment-name": name}}
    place.rig.create(
        "cluster.x-k8s.io/v1beta2",
        "Machine",
        "machines",
        {"metadata": labels, "status": {"nodeRef": {"name": "hot"}}},
        name=f"m-{name}",
    )

    def act():
        said = place.scaled(pools)
        capacity = ClusterCapacity(place.client)
        # Down to one: the machine on the hot node is marked; up again: the mark is taken off.
        for to_nodes in (1, 4 + next(SIZES) % 8):
            order = SizeOrder(
                pool=pools[0],
                to_nodes=to_nodes,
                ownership=Ownership.DESIRED,
                decision_id="d",
                epoch=1,
                revision=None,
                hottest_nodes=("hot",),
            )
            receipt = capacity.set_size(order, NOW)
            said += [receipt.text, receipt.warning]
        return said

    return act


def machine_pools(place):
    pools = place.pools("cluster.x-k8s.io/v1beta2", "MachinePool", "machinepools", {})
    return lambda: place.scaled(pools)


def floors_of(plural, kind):
    def make(place):
        prefix = "cluster.x-k8s.io/cluster-api-autoscaler-node-group"
        annotations = {f"{prefix}-min-size": "1", f"{prefix}-max-size": "30"}
        pools = place.pools("cluster.x-k8s.io/v1beta2", kind, plural, {}, annotations=annotations)
        floors = [replace(pool, ownership=Ownership.FLOOR) for pool in pools]
        return lambda: place.scaled(floors)

    return make


def node_pools(place):
    pools = place.pools("karpenter.sh/v1", "NodePool", "nodepools", {})
    return lambda: place.scaled(pools)


def autoscaled(place):
    pools = place.pools("apps/v1", "Deployment", "deployments", WORKLOAD)
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": pools[0].target.name}
    spec = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 30}
    place.rig.create(
        "autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", {"spec": spec}, name="scaler"
    )
    floors = [replace(pool, ownership=Ownership.FLOOR) for pool in pools]
    return lambda: place.scaled(floors)


def scaled_by_keda(place):
    pools = place.pools("apps/v1", "Deployment", "deployments", WORKLOAD)
    spec = {"scaleTargetRef": {"name": pools[0].target.name}, "minReplicaCount": 1, "maxReplicaCount": 30}
    place.rig.create("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", {"spec": spec}, name="events")
    floors = [replace(pool, ownership=Ownership.FLOOR) for pool in pools]
    return lambda: place.scaled(floors)


def buffers(place):
    sets = place.pools("cluster.x-k8s.io/v1beta2", "MachineDeployment", "machinedeployments", {})
    pool = replace(sets[0], ownership=Ownership.BUFFER, buffer_pod_template="gpu-node")
    path = f"/apis/autoscaling.x-k8s.io/v1beta1/namespaces/{place.cluster.namespace}/capacitybuffers/meltguard-p0"

    def act():
        said = place.scaled([pool])
        place.admin.call("DELETE", path)
        return said

    return act


def workloads(place):
    (pool, *_) = place.pools("apps/v1", "StatefulSet", "statefulsets", {**WORKLOAD, "serviceName": "s"})
    follower = ReplicaFollower(place.client)

    def act():
        nodes = 1 + next(SIZES) % 8
        counts = NodeCounts(desired=nodes, created=nodes, ready=nodes, serving=nodes, pending=0)
        wish = Wish(pool="p0", reference=pool.target, pods_per_node=1, nodes=Sample.fresh(counts, NOW))
        (followed,) = follower.follow([wish], lambda: 1, NOW)
        return [followed.problem.text] if followed.problem is not None else []

    return act


def feature_flags(place):
    assert place.admin.call("POST", DEFINITIONS, body=FEATURE_FLAG_DEFINITION).status in (201, 409)
    path = f"/apis/core.openfeature.dev/v1beta1/namespaces/{place.cluster.namespace}/featureflags"
    projection = FeatureFlagProjection(place.client, namespace=place.cluster.namespace, name="meltguard")

    def act():
        said = []
        # The first write creates it, the second one replaces it.
        for revision in (1, 2):
            request = FlagRequest(
                policy=policy(),
                positions={},
                reasons={},
                flags=(),
                decision_id="d",
                revision=revision,
                expires_at=NOW,
            )
            said.append(projection.publish(render_flags(request, with_feature_flag=True)).text)
            if "update" in said[-1] or "create" in said[-1]:
                place.admin.call("POST", path, body=blank())
        place.admin.call("DELETE", f"{path}/meltguard")
        return said

    def blank():
        spec = {"flagSpec": {"flags": {}, "metadata": {}}}
        return {
            "apiVersion": "core.openfeature.dev/v1beta1",
            "kind": "FeatureFlag",
            "metadata": {"name": "meltguard"},
            "spec": spec,
        }

    return act


def streams(place):
    server = SyncServer(SyncSettings(listen="127.0.0.1:0"))
    entry = policy_entry(
        {
            **policy_object(flags={"configMap": {"name": "images-flags"}, "sync": {"port": 8015}}),
            "metadata": {"name": "images", "namespace": place.cluster.namespace, "uid": "u", "generation": 1},
        }
    )
    assert entry.spec is not None, entry.problem

    def act():
        # A watch that runs is not asked for its right again, so each look begins one.
        followed = FlagStreams(place.client, server, place.cluster.namespace)
        followed.follow((entry,))
        for _ in range(10):
            if followed.problems:
                break
            time.sleep(0.05)
        said = followed.problems
        threading.Thread(target=followed.stop, daemon=True).start()
        return said

    return act


CASES = {
    deployments: {("deployments", "get"), ("deployments", "list"), ("deployments/scale", "patch")},
    stateful_sets: {("statefulsets", "get"), ("statefulsets", "list"), ("statefulsets/scale", "patch")},
    machine_deployments: {
        ("machinedeployments", "get"),
        ("machinedeployments", "list"),
        ("machinedeployments/scale", "patch"),
        ("machines", "list"),
        ("machines", "patch"),
    },
    machine_pools: {("machinepools", "get"), ("machinepools", "list"), ("machinepools/scale", "patch")},
    floors_of("machinedeployments", "MachineDeployment"): {("machinedeployments", "patch")},
    floors_of("machinepools", "MachinePool"): {("machinepools", "patch")},
    node_pools: {("nodepools", "get"), ("nodepools", "list"), ("nodepools/scale", "patch")},
    autoscaled: {("horizontalpodautoscalers", "list"), ("horizontalpodautoscalers", "patch")},
    scaled_by_keda: {("scaledobjects", "list"), ("scaledobjects", "patch")},
    buffers: {("capacitybuffers", "get"), ("capacitybuffers", "create"), ("capacitybuffers", "patch")},
    workloads: {("statefulsets/scale", "get")},
    feature_flags: {("featureflags", "get"), ("featureflags", "create"), ("featureflags", "update")},
    streams: {("configmaps", "watch")},
}
ELSEWHERE = {
    *(("surgepolicies", verb) for verb in ("get", "list", "watch", "patch")),
    *((plural, verb) for plural in ("gpupools", "nodes") for verb in ("list", "watch")),
    *((f"{plural}/status", "patch") for plural in ("surgepolicies", "gpupools")),
    *(("configmaps", verb) for verb in ("get", "create", "update", "patch", "delete")),
    *(("leases", verb) for verb in ("get", "create", "update")),
    *(("deployments/scale", verb) for verb in ("get", "patch")),
    ("events", "create"),
}
"""What test_operator_rights takes away."""


@pytest.mark.parametrize("make", CASES, ids=lambda make: min(CASES[make])[0])
def test_a_missing_right_is_named_with_its_verb(place, wait_until, make):
    """Whichever right is taken away, what the operator says names verb and resource; with it, nothing does."""
    act = make(place)
    for resource, verb in sorted(CASES[make]):
        place.cluster.account.take_away(resource, verb)
        plural, _, part = resource.partition("/")
        named = f'cannot {verb} resource "{plural}{"/" + part if part else ""}"'
        try:
            wait_until(lambda named=named: any(named in text for text in act()), timeout_seconds=15.0)
        except AssertionError:
            pytest.fail(f"{named}: not said in {act()}")
        place.cluster.account.give_back()
        wait_until(lambda: not any("cannot" in text for text in act()), timeout_seconds=15.0)


def test_every_right_of_the_manifest_is_missed_by_a_test():
    """A right whose absence nobody notices is one that nobody needs."""
    assert granted() == set().union(*CASES.values()) | ELSEWHERE
