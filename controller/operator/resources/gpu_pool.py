"""The shape of a GPUPool: the one source of its schema, its defaults and its parsing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from controller.operator.resources.fields import (
    Condition,
    Count,
    Duration,
    Name,
    NotNegative,
    PositiveCount,
    RegionName,
    Shape,
)
from controller.types import Ownership, PausedDirection


class ScaleReference(Shape, frozen=True, kw_only=True):
    """Anything with a scale subresource."""

    api_version: Annotated[Name, Meta(description="Group and version, such as cluster.x-k8s.io/v1beta1.")]
    kind: Annotated[Name, Meta(description="Kind, such as MachineDeployment.")]
    name: Annotated[Name, Meta(description="Name of the object.")]
    namespace: Annotated[
        str,
        Meta(max_length=63, description="Its namespace; the pool's own when left out."),
    ] = ""


class EksReference(Shape, frozen=True, kw_only=True):
    """A managed node group of EKS."""

    cluster: Annotated[Name, Meta(description="Name of the cluster.")]
    nodegroup: Annotated[Name, Meta(description="Name of the node group.")]


class AsgReference(Shape, frozen=True, kw_only=True):
    """An EC2 Auto Scaling group."""

    name: Annotated[Name, Meta(description="Name of the group.")]


class Target(Shape, frozen=True, kw_only=True):
    """What is resized: exactly one of these."""

    scale: Annotated[ScaleReference | None, Meta(description="Anything with /scale.")] = None
    eks: Annotated[EksReference | None, Meta(description="A managed node group of EKS.")] = None
    asg: Annotated[AsgReference | None, Meta(description="An EC2 Auto Scaling group.")] = None
    gke: Annotated[dict[str, str] | None, Meta(description="A GKE node pool; not built yet.")] = None
    aks: Annotated[dict[str, str] | None, Meta(description="An AKS agent pool; not built yet.")] = None
    coreweave: Annotated[dict[str, str] | None, Meta(description="A CoreWeave node pool; not built yet.")] = None


class Workload(Shape, frozen=True, kw_only=True):
    """The inference workload whose replicas follow the ready nodes."""

    api_version: Annotated[Name, Meta(description="Group and version.")] = "apps/v1"
    kind: Annotated[Name, Meta(description="Kind; it must have /scale.")] = "Deployment"
    name: Annotated[Name, Meta(description="Name of the object.")]
    namespace: Annotated[str, Meta(max_length=63, description="Its namespace; the pool's own when left out.")] = ""
    pods_per_node: Annotated[PositiveCount, Meta(description="Pods on each ready node.")] = 1


class LeadTime(Shape, frozen=True, kw_only=True):
    """From an order to the first image served, before anything was learned."""

    p50: Annotated[Duration, Meta(description="Median.")] = "8m"
    p95: Annotated[Duration, Meta(description="95 % quantile.")] = "15m"


class PoolThermalTargets(Shape, frozen=True, kw_only=True):
    """How near to the limit the pool may come."""

    slowdown_celsius: Annotated[
        float | None, Meta(description="Slowdown temperature where the hardware does not tell.")
    ] = None
    margin_target_celsius: Annotated[
        NotNegative, Meta(description="Margin that the plan keeps at a low quantile of the pool.")
    ] = 6.0


class Buffer(Shape, frozen=True, kw_only=True):
    """The CapacityBuffer that ownership buffer writes."""

    name: Annotated[str, Meta(max_length=253, description="Its name; the pool's own when left out.")] = ""
    pod_template: Annotated[Name, Meta(description="PodTemplate whose pods it makes room for, one a node.")]


class GPUPoolSpec(Shape, frozen=True, kw_only=True):
    """What people decide about a pool."""

    region: Annotated[RegionName, Meta(description="Region of the SurgePolicy that it serves.")]
    gpu_model: Annotated[str, Meta(max_length=128, description="Model of its GPUs, for people.")] = ""
    gpus_per_node: Annotated[int, Meta(ge=1, le=64, description="GPUs on a node.")] = 8
    target: Annotated[Target, Meta(description="What is resized: exactly one.")]
    workload: Annotated[
        Workload | None, Meta(description="Inference workload whose replicas follow the ready nodes.")
    ] = None
    ownership: Annotated[
        Ownership, Meta(description="What may be written: desired size, a floor below another autoscaler, or a buffer.")
    ] = Ownership.DESIRED
    buffer: Annotated[Buffer | None, Meta(description="For ownership buffer.")] = None
    node_selector: Annotated[
        dict[str, str], Meta(max_length=16, description="Labels of the pool's nodes; else those of the provider.")
    ] = {}
    min_nodes: Annotated[Count, Meta(description="Never fewer.")] = 0
    max_nodes: Annotated[PositiveCount, Meta(description="Never more.")]
    max_step_nodes: Annotated[PositiveCount, Meta(description="Largest change in one decision.")] = 4
    init_deadline: Annotated[
        Duration, Meta(description="A node that shows no GPU after this long will not; its order has failed.")
    ] = "30m"
    cost_per_node_hour: Annotated[NotNegative, Meta(description="In the policy's currency.")] = 0.0
    lead_time: Annotated[LeadTime, Meta(description="A prior; it is learned from what really happens.")] = LeadTime()
    thermal: Annotated[PoolThermalTargets, Meta(description="Thermal targets.")] = PoolThermalTargets()
    paused: Annotated[PausedDirection, Meta(description="Direction in which the pool must not move.")] = (
        PausedDirection.NONE
    )


class NodesStatus(Shape, frozen=True, kw_only=True):
    """Nodes by state; fields are left out while nobody can count them."""

    desired: Annotated[int | None, Meta(description="What the pool was asked to be.")] = None
    created: Annotated[int | None, Meta(description="Nodes that exist.")] = None
    ready: Annotated[int | None, Meta(description="Nodes that are schedulable and show their GPUs.")] = None
    serving: Annotated[int | None, Meta(description="Nodes that have served a first image.")] = None
    pending: Annotated[int | None, Meta(description="Nodes asked for that do not serve yet.")] = None


class ThermalStatus(Shape, frozen=True, kw_only=True):
    """How hot and how near; fields are left out while nobody can tell."""

    max_temperature_celsius: Annotated[float | None, Meta(description="Hottest GPU.")] = None
    min_margin_celsius: Annotated[float | None, Meta(description="Degrees to the first intervention.")] = None
    seconds_to_slowdown: Annotated[
        int | None, Meta(description="Least time to slowdown; left out while none is in sight.")
    ] = None


class GPUPoolStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the operator says about a pool."""

    nodes: Annotated[NodesStatus, Meta(description="Nodes by state.")] = NodesStatus()
    thermal: Annotated[ThermalStatus, Meta(description="How hot and how near.")] = ThermalStatus()
    doing: Annotated[str, Meta(description="What is happening, in a few words.")] = ""
    last_scale_time: Annotated[str | None, Meta(description="When we last changed its size.")] = None
    observed_generation: Annotated[int, Meta(ge=0, description="Generation of the spec that was judged.")] = 0
    conditions: Annotated[list[Condition], Meta(max_length=16, description="Verdicts.")] = []
