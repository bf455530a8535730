"""What a GPUPool names as the thing to resize; the operator reads it from the CRD, the capacity adapters act on it.

Values only: nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from controller.types import Ownership


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    """One Kubernetes object.

    Attributes:
        api_version: Group and version, such as ``cluster.x-k8s.io/v1beta1``; ``v1`` for the core group.
        kind: Its kind.
        name: Its name.
        namespace: Its namespace; None for a cluster-scoped object.
    """

    api_version: str
    kind: str
    name: str
    namespace: str | None = None

    @property
    def text(self) -> str:
        """The object as an error message names it, such as ``Deployment serving/images``."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EksTarget:
    """A managed node group of EKS."""

    cluster: str
    nodegroup: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsgTarget:
    """An EC2 Auto Scaling group."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbuiltTarget:
    """A provider whose adapter is not written yet; it is accepted in a manifest and refused with that reason.

    Attributes:
        provider: ``gke``, ``aks`` or ``coreweave``.
        settings: What the manifest says about it.
    """

    provider: str
    settings: Mapping[str, str] = field(default_factory=dict)


ScaleTarget: TypeAlias = ObjectReference | EksTarget | AsgTarget | UnbuiltTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTarget:
    """One pool as the capacity adapters see it: what to resize, what may be written, and which nodes are its own.

    Attributes:
        pool: Its name in the policy.
        region: Its region.
        target: What is resized.
        ownership: What may be written: the size itself, a floor below another autoscaler, or a buffer beside it.
        min_nodes: Never fewer.
        max_nodes: Never more.
        gpus_per_node: GPUs on a node, > 0; a node with fewer allocatable ones is not ready.
        node_labels: Labels that its nodes carry; empty takes the labels that the target's provider sets.
        init_deadline_seconds: A node that is not ready this long after its creation will not be; the order failed.
        buffer: Name of the CapacityBuffer to write; None derives it from the pool's name (ownership buffer only).
        buffer_namespace: Where the buffer and its PodTemplate live; None takes the target's namespace.
        buffer_pod_template: Name of the PodTemplate whose pods the buffer makes room for, one a node.
    """

    pool: str
    region: str
    target: ScaleTarget
    ownership: Ownership
    min_nodes: int
    max_nodes: int
    gpus_per_node: int
    node_labels: Mapping[str, str] = field(default_factory=dict)
    init_deadline_seconds: float = 1800.0
    buffer: str | None = None
    buffer_namespace: str | None = None
    buffer_pod_template: str | None = None
