"""Reading many pools with few requests, and what is not done where the API may not be asked."""

from __future__ import annotations

import pytest

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.ports import ApiAnswer, WriteOutcome
from controller.adapters.targets import ObjectReference
from tests.capacity_rig import MERGE, Rig, deployment, pool_of
from tests.cluster_definitions import install
from tests.kubernetes_transport import DirectApi
from tests.planning_samples import NOW


@pytest.fixture
def rig(api, namespace) -> Rig:
    """A rig on the real API."""
    return Rig(api=api, namespace=namespace, capacity=ClusterCapacity(api))


def test_many_pools_are_read_with_few_requests(rig, wait_until) -> None:
    """Forty sets of one namespace are listed once, and read as they are one by one."""
    install(rig.api, wait_until)
    body = {"spec": {"replicas": 3}, "status": {"replicas": 3, "readyReplicas": 1}}
    pools = []
    for number in range(40):
        name = f"gpu-{number}"
        rig.create("cluster.x-k8s.io/v1beta2", "MachineDeployment", "machinedeployments", body, name=name)
        reference = ObjectReference(
            api_version="cluster.x-k8s.io/v1beta2", kind="MachineDeployment", name=name, namespace=rig.namespace
        )
        pools.append(pool_of(reference, pool=name))
    pools.append(deployment(rig))
    counting = Counting(rig.api)

    sizes = ClusterCapacity(counting).read_many(tuple(pools), NOW)

    assert {name: size.value for name, size in sizes.items()} == {pool.pool: rig.read(pool) for pool in pools}
    # One discovery, one list, one Deployment, and the autoscalers of one namespace.
    assert counting.num_calls <= 8


class Counting:
    """Counts the requests to an API."""

    def __init__(self, api: DirectApi) -> None:
        """Count from zero."""
        self._api = api
        self.num_calls = 0

    def call(self, method: str, path: str, **options: object) -> ApiAnswer:
        """Count and pass on."""
        self.num_calls += 1
        return self._api.call(method, path, **options)  # type: ignore[arg-type]


class Forbidding:
    """Refuses some paths as an API does whose role lacks a verb, whether or not the kind is there."""

    def __init__(self, api: DirectApi, *parts: str) -> None:
        """Refuse paths with one of the parts in them."""
        self._api = api
        self._parts = parts

    def call(self, method: str, path: str, **options: object) -> ApiAnswer:
        """Refuse or pass on."""
        if any(part in path for part in self._parts):
            return ApiAnswer(status=403, body={"message": "forbidden"})
        return self._api.call(method, path, **options)  # type: ignore[arg-type]


def test_a_missing_right_to_see_autoscalers_stops_the_order(rig) -> None:
    """Where nobody may look whether something scales a target, nothing is written, and the receipt names the right."""
    pool = deployment(rig)
    blind = Rig(
        api=rig.api, namespace=rig.namespace, capacity=ClusterCapacity(Forbidding(rig.api, "/horizontalpodautoscalers"))
    )

    receipt = blind.order(pool, 5)

    assert receipt.outcome is WriteOutcome.REJECTED
    assert "service account" in receipt.text
    assert "HorizontalPodAutoscaler" in blind.read(pool).messages[0]
    assert rig.read(pool).desired == 3


class Interfering:
    """Lets somebody else change the size just before a write arrives, after every read was made."""

    def __init__(self, api: DirectApi, path: str) -> None:
        """Interfere with the object at a path."""
        self._api = api
        self._path = path

    def call(self, method: str, path: str, **options: object) -> ApiAnswer:
        """Change the object before a write to it."""
        if method == "PATCH":
            other = {"spec": {"replicas": 11}}
            assert self._api.call("PATCH", self._path, body=other, content_type=MERGE).ok
        return self._api.call(method, path, **options)  # type: ignore[arg-type]


def test_a_change_between_read_and_write_is_a_conflict(rig) -> None:
    """Between the last read and the write nobody may have written, or the write has no effect."""
    pool = deployment(rig)
    path = f"/apis/apps/v1/namespaces/{rig.namespace}/deployments/gpu"
    raced = Rig(api=rig.api, namespace=rig.namespace, capacity=ClusterCapacity(Interfering(rig.api, path)))

    assert raced.order(pool, 5).outcome is WriteOutcome.CONFLICT
    assert rig.read(pool).desired == 11
