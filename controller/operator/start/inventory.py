"""What a cluster holds that meltguard could look after: pools of GPU nodes, and Prometheus. Pure.

The cases of a GPU node, by the labels and annotations that its provider sets, the first that applies:

1. ``eks.amazonaws.com/nodegroup``: a managed node group of EKS.
2. ``karpenter.sh/nodepool``: a NodePool of Karpenter.
3. ``cloud.google.com/gke-nodepool``: a node pool of GKE, which nothing here can resize yet.
4. ``kubernetes.azure.com/agentpool`` or ``agentpool``: an agent pool of AKS, likewise.
5. the annotations of Cluster API: a MachineDeployment.
6. ``meltguard.dev/pool``, or nothing: nodes by model and region, whose resizing a person has to name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controller.adapters.observation.pools import POOL_LABEL
from controller.operator.entries import GPU_RESOURCE

REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
MODEL_LABELS = ("nvidia.com/gpu.product", "karpenter.k8s.aws/instance-gpu-name", "cloud.google.com/gke-accelerator")
EKS_LABEL = "eks.amazonaws.com/nodegroup"
EKS_CLUSTER_LABELS = ("alpha.eksctl.io/cluster-name", "eks.amazonaws.com/cluster-name")
KARPENTER_LABEL = "karpenter.sh/nodepool"
GKE_LABEL = "cloud.google.com/gke-nodepool"
AKS_LABELS = ("kubernetes.azure.com/agentpool", "agentpool")
OWNER_KIND_ANNOTATION = "cluster.x-k8s.io/owner-kind"
OWNER_NAME_ANNOTATION = "cluster.x-k8s.io/owner-name"
OWNER_NAMESPACE_ANNOTATION = "cluster.x-k8s.io/cluster-namespace"
PROMETHEUS_PORT = 9090
DEFAULT_REGION = "default"
MAX_NAME = 63
MAX_VALUE = 128


class Provider(StrEnum):
    """Who makes the nodes of a pool."""

    EKS = "eks"
    KARPENTER = "karpenter"
    GKE = "gke"
    AKS = "aks"
    CLUSTER_API = "cluster-api"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPool:
    """GPU nodes that belong together.

    Attributes:
        name: A name for the GPUPool.
        provider: Who makes them.
        region: Where they stand.
        gpu_model: Model of their GPUs; empty when no label says.
        gpus_per_node: GPUs of the largest of them, > 0.
        num_nodes: How many there are.
        selector: Labels that they are known by; empty where the provider's own will do.
        target: What resizes them, by names that differ with the provider.
    """

    name: str
    provider: Provider
    region: str
    gpu_model: str
    gpus_per_node: int
    num_nodes: int
    selector: Mapping[str, str]
    target: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One node, as far as pools are concerned."""

    key: tuple[str, ...]
    pool: FoundPool


def find_pools(nodes: Sequence[Mapping[str, Any]]) -> tuple[FoundPool, ...]:
    """Return the pools of a cluster's GPU nodes.

    Args:
        nodes: Node objects as the API keeps them.

    Returns:
        The pools by name; names are made to differ.
    """
    groups: dict[tuple[str, ...], list[FoundPool]] = {}
    for node in nodes:
        member = _member(node)
        if member is not None:
            groups.setdefault(member.key, []).append(member.pool)
    found: dict[str, FoundPool] = {}
    for key in sorted(groups):
        members = groups[key]
        first = members[0]
        name = _free_name(first.name, found.keys())
        found[name] = FoundPool(
            name=name,
            provider=first.provider,
            region=first.region,
            gpu_model=next((member.gpu_model for member in members if member.gpu_model), ""),
            gpus_per_node=max(member.gpus_per_node for member in members),
            num_nodes=len(members),
            selector=first.selector,
            target=first.target,
        )
    return tuple(found.values())


def _member(node: Mapping[str, Any]) -> _Member | None:
    """Return a node's part in a pool; None for one without GPUs."""
    metadata, status = node.get("metadata") or {}, node.get("status") or {}
    num_gpus = _whole((status.get("capacity") or {}).get(GPU_RESOURCE))
    if num_gpus < 1:
        return None
    labels, annotations = _texts(metadata.get("labels")), _texts(metadata.get("annotations"))
    provider, name, selector, target = _provider(labels, annotations)
    region = as_name(_first(labels, REGION_LABELS) or DEFAULT_REGION)
    model = _first(labels, MODEL_LABELS)
    if provider is Provider.PLAIN and not name:
        name = f"{region}-{model or 'gpu'}"
    pool = FoundPool(
        name=as_name(name),
        provider=provider,
        region=region,
        gpu_model=model,
        gpus_per_node=min(num_gpus, 64),
        num_nodes=1,
        selector=selector,
        target=target,
    )
    return _Member(key=(provider.value, region, name, *sorted(target.values())), pool=pool)


def _provider(
    labels: Mapping[str, str], annotations: Mapping[str, str]
) -> tuple[Provider, str, Mapping[str, str], Mapping[str, str]]:
    """Return who makes a node, its pool's name, the labels of the pool, and what resizes it."""
    if group := labels.get(EKS_LABEL):
        cluster = _first(labels, EKS_CLUSTER_LABELS)
        return Provider.EKS, group, {EKS_LABEL: group}, {"nodegroup": group, "cluster": cluster}
    if group := labels.get(KARPENTER_LABEL):
        return Provider.KARPENTER, group, {KARPENTER_LABEL: group}, {"name": group}
    if group := labels.get(GKE_LABEL):
        return Provider.GKE, group, {GKE_LABEL: group}, {"nodePool": group}
    for label in AKS_LABELS:
        if group := labels.get(label):
            return Provider.AKS, group, {label: group}, {"agentPool": group}
    if annotations.get(OWNER_KIND_ANNOTATION) == "MachineSet" and (owner := annotations.get(OWNER_NAME_ANNOTATION)):
        # A MachineSet is named after its MachineDeployment, with a hash at the end.
        group = owner.rpartition("-")[0] or owner
        selector = {POOL_LABEL: as_name(group)}
        return (
            Provider.CLUSTER_API,
            group,
            selector,
            {"name": group, "namespace": annotations.get(OWNER_NAMESPACE_ANNOTATION, "")},
        )
    group = labels.get(POOL_LABEL, "")
    model = _first(labels, MODEL_LABELS)
    by_model = {label: labels[label] for label in MODEL_LABELS[:1] if label in labels and model}
    return Provider.PLAIN, group, {POOL_LABEL: group} if group else by_model, {}


def find_prometheus(services: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the addresses of Services that look like Prometheus, those of that name first.

    Args:
        services: Service objects as the API keeps them.

    Returns:
        Addresses for ``--prometheus``.
    """
    found: list[tuple[int, str]] = []
    for service in services:
        metadata, spec = service.get("metadata") or {}, service.get("spec") or {}
        name, namespace = str(metadata.get("name", "")), str(metadata.get("namespace", ""))
        labels = metadata.get("labels") or {}
        is_named = "prometheus" in (labels.get("app.kubernetes.io/name"), labels.get("app"), name)
        ports = [_whole(port.get("port")) for port in spec.get("ports") or []]
        if PROMETHEUS_PORT in ports and (is_named or "prometheus" in name):
            found.append((0 if is_named else 1, f"http://{as_name(name)}.{as_name(namespace)}:{PROMETHEUS_PORT}"))
    return tuple(address for _, address in sorted(found))


def as_name(text: str) -> str:
    """Return a text as a name that the API takes: lower case, digits and dashes, no longer than a label."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", text.lower())[:MAX_NAME].strip("-")
    return cleaned or "unnamed"


def _free_name(name: str, taken: Any) -> str:
    """Return the name, or one with a number where it is taken."""
    number, free = 2, name
    while free in taken:
        free = f"{name[: MAX_NAME - 4]}-{number}"
        number += 1
    return free


def _first(labels: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the first of some labels that is set; empty when none is."""
    return next((labels[name] for name in names if labels.get(name)), "")


def _texts(pairs: object) -> dict[str, str]:
    """Return labels or annotations as short printable texts: what the API lets through is not what YAML takes."""
    found = pairs.items() if isinstance(pairs, dict) else ()
    return {
        str(key): "".join(letter for letter in str(value) if letter.isascii() and letter.isprintable())[:MAX_VALUE]
        for key, value in found
    }


def _whole(value: object) -> int:
    """Return a count; 0 for what is none."""
    try:
        return int(str(value))
    except ValueError:
        return 0
