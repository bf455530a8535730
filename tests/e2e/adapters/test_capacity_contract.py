"""One suite for every capacity port: the real API behind Deployments and Cluster API, and the simulator's cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.ports import CapacityPort, PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import ObjectReference, PoolTarget
from controller.simulator.cloud import Cloud
from controller.types import Ownership, PoolCondition
from tests.cluster_definitions import install
from tests.planning_samples import NOW
from tests.simulated_capacity import SimulatedCapacity
from tests.simulator_samples import small_scenario


@dataclass
class Case:
    """A port with one pool of its own, whose size is known."""

    port: CapacityPort
    pool: PoolTarget
    nodes: int

    def read(self) -> PoolSize:
        """Read the pool."""
        size = self.port.read(self.pool, NOW).value
        assert size is not None
        return size

    def order(self, to_nodes: int, **changes: object) -> SizeReceipt:
        """Order on a fresh read."""
        one = SizeOrder(
            pool=self.pool,
            to_nodes=to_nodes,
            ownership=self.pool.ownership,
            decision_id="d-1",
            epoch=1,
            revision=self.read().revision,
        )
        return self.port.set_size(replace(one, **changes), NOW)  # type: ignore[arg-type]


def _pool(target: object, *, name: str = "gpu", max_nodes: int = 8) -> PoolTarget:
    return PoolTarget(
        pool=name,
        region="north",
        target=target,  # type: ignore[arg-type]
        ownership=Ownership.DESIRED,
        min_nodes=1,
        max_nodes=max_nodes,
        gpus_per_node=8,
    )


def simulated(api, namespace, wait_until) -> Case:
    """The simulator's cloud."""
    cloud = Cloud(small_scenario(), np.random.default_rng(0))
    spec = cloud.pools[0]
    reference = ObjectReference(api_version="simulator/v1", kind="Pool", name=spec.name)
    pool = replace(_pool(reference, name=spec.name, max_nodes=spec.max_nodes), min_nodes=spec.min_nodes)
    return Case(port=SimulatedCapacity(cloud), pool=pool, nodes=spec.nodes)


def _on_the_api(api, namespace: str, api_version: str, kind: str, plural: str, spec: dict[str, object]) -> Case:
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "gpu"}, "spec": {"replicas": 3, **spec}}
    assert api.call("POST", f"/apis/{api_version}/namespaces/{namespace}/{plural}", body=body).ok
    reference = ObjectReference(api_version=api_version, kind=kind, name="gpu", namespace=namespace)
    return Case(port=ClusterCapacity(api), pool=_pool(reference), nodes=3)


def deployment(api, namespace, wait_until) -> Case:
    """A Deployment."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return _on_the_api(api, namespace, "apps/v1", "Deployment", "deployments", spec)


def machine_deployment(api, namespace, wait_until) -> Case:
    """A set of Cluster API."""
    install(api, wait_until)
    return _on_the_api(api, namespace, "cluster.x-k8s.io/v1beta2", "MachineDeployment", "machinedeployments", {})


@pytest.fixture(params=[simulated, deployment, machine_deployment])
def case(request, api, namespace, wait_until) -> Case:
    """One port after the other."""
    make: Callable[..., Case] = request.param
    return make(api, namespace, wait_until)


def test_an_order_is_read_back(case) -> None:
    """What was ordered is what the pool was asked to be, and what it was before was read right."""
    assert case.read().desired == case.nodes
    assert case.order(case.nodes + 1).outcome is WriteOutcome.DONE
    assert (case.read().desired, case.read().written) == (case.nodes + 1, case.nodes + 1)


def test_the_same_order_has_effect_once(case) -> None:
    """An order that is sent again is done and writes nothing."""
    assert case.order(case.nodes + 1).wrote
    again = case.order(case.nodes + 1)
    assert (again.outcome, again.wrote) == (WriteOutcome.DONE, False)


def test_an_order_on_an_old_read_has_no_effect(case) -> None:
    """Of two orders on one read, the second is a conflict."""
    revision = case.read().revision
    case.order(case.nodes + 1, revision=revision)
    assert case.order(case.nodes + 2, revision=revision).outcome is WriteOutcome.CONFLICT
    assert case.read().desired == case.nodes + 1


def test_an_older_epoch_has_no_effect(case) -> None:
    """After a newer epoch an older one is fenced."""
    case.order(case.nodes + 1, epoch=9)
    assert case.order(case.nodes + 2, epoch=8).outcome is WriteOutcome.FENCED
    assert case.read().desired == case.nodes + 1


def test_another_ownership_is_rejected(case) -> None:
    """An order that writes what the pool does not allow is rejected."""
    assert case.order(case.nodes + 1, ownership=Ownership.FLOOR).outcome is WriteOutcome.REJECTED
    assert case.read().desired == case.nodes


def test_orders_stay_within_the_bounds(case) -> None:
    """No order brings a pool above its largest or below its smallest size."""
    case.order(10_000)
    assert case.read().desired == case.pool.max_nodes
    case.order(-5)
    assert case.read().desired == case.pool.min_nodes


def test_a_dry_run_has_no_effect(case) -> None:
    """A dry run is done and leaves the size alone."""
    receipt = case.order(case.nodes + 1, dry_run=True)
    assert (receipt.outcome, receipt.wrote) == (WriteOutcome.DONE, False)
    assert case.read().desired == case.nodes


def test_a_stock_out_and_a_quota_of_the_cloud_are_told_apart() -> None:
    """Where nothing can be had an order says so at once; where a quota ends it says that."""
    case = simulated(None, None, None)
    cloud = case.port.cloud
    cloud.out_of_stock = frozenset({0})
    assert case.order(case.nodes + 1).outcome is WriteOutcome.STOCK_OUT
    assert case.read().conditions == {PoolCondition.STOCK_OUT}
    cloud.out_of_stock = frozenset()
    cloud.quota_nodes = {0: case.nodes}
    assert case.order(case.nodes + 1).outcome is WriteOutcome.QUOTA
