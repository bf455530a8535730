"""A target in a namespace of a real API, and orders on a fresh read of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.ports import PoolSize, SizeOrder, SizeReceipt
from controller.adapters.targets import ObjectReference, PoolTarget
from controller.types import Ownership
from tests.kubernetes_transport import DirectApi
from tests.planning_samples import NOW

MERGE = "application/merge-patch+json"


@dataclass
class Rig:
    """A namespace with one target, and the port under test."""

    api: DirectApi
    namespace: str
    capacity: ClusterCapacity

    def create(self, api_version: str, kind: str, plural: str, body: dict[str, object], name: str = "gpu") -> str:
        """Create an object and return its path."""
        root = f"/apis/{api_version}"
        where = root if kind == "NodePool" else f"{root}/namespaces/{self.namespace}"
        whole = {"apiVersion": api_version, "kind": kind, **body}
        whole["metadata"] = {**dict(whole.get("metadata", {})), "name": name}  # type: ignore[call-overload]
        answer = self.api.call("POST", f"{where}/{plural}", body=whole)
        assert answer.ok, answer.message
        return f"{where}/{plural}/{name}"

    def read(self, pool: PoolTarget) -> PoolSize:
        """Read a pool that answers."""
        size = self.capacity.read(pool, NOW).value
        assert size is not None
        return size

    def order(self, pool: PoolTarget, to_nodes: int, **changes: object) -> SizeReceipt:
        """Read, then order."""
        order = SizeOrder(
            pool=pool,
            to_nodes=to_nodes,
            ownership=pool.ownership,
            decision_id="d-1",
            epoch=1,
            revision=self.read(pool).revision,
        )
        return self.capacity.set_size(replace(order, **changes), NOW)  # type: ignore[arg-type]


def pool_of(target: object, ownership: Ownership = Ownership.DESIRED, **changes: object) -> PoolTarget:
    """Return a pool of one to twenty nodes."""
    base = PoolTarget(
        pool="r0-h",
        region="r0",
        target=target,  # type: ignore[arg-type]
        ownership=ownership,
        min_nodes=1,
        max_nodes=20,
        gpus_per_node=8,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def deployment(rig: Rig, *, replicas: int = 3) -> PoolTarget:
    """Create a Deployment and return it as a pool."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    rig.create("apps/v1", "Deployment", "deployments", {"spec": spec})
    return pool_of(ObjectReference(api_version="apps/v1", kind="Deployment", name="gpu", namespace=rig.namespace))


def machine_set(rig: Rig, kind: str = "MachineDeployment", version: str = "v1beta2", **metadata: object) -> PoolTarget:
    """Create a set of three machines and return it as a pool."""
    api_version = f"cluster.x-k8s.io/{version}"
    body = {"metadata": metadata, "spec": {"replicas": 3}, "status": {"replicas": 3, "readyReplicas": 2}}
    rig.create(api_version, kind, f"{kind.lower()}s", body)
    return pool_of(ObjectReference(api_version=api_version, kind=kind, name="gpu", namespace=rig.namespace))


def node_pool(rig: Rig, spec: dict[str, object]) -> PoolTarget:
    """Create a NodePool of Karpenter under a name of its own and return it as a pool."""
    name = f"gpu-{secrets.token_hex(4)}"
    rig.create("karpenter.sh/v1", "NodePool", "nodepools", {"spec": spec, "status": {"nodes": 3}}, name=name)
    return pool_of(ObjectReference(api_version="karpenter.sh/v1", kind="NodePool", name=name))
