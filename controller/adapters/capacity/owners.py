"""Who else writes a target's size: an autoscaler that scales it, or one that wrote its size last.

Two writers on one field is the quarrel in which every autoscaler has hurt its users. Where somebody else owns the size,
only a floor below it or a buffer beside it may be written. Pure but for two lists that it asks the API for.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.adapters.capacity import fields
from controller.adapters.ports import KubernetesApi
from controller.adapters.targets import ObjectReference

MIN_SIZE = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size"
MAX_SIZE = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size"
FOREIGN_MANAGERS = ("cluster-autoscaler", "keda", "karpenter", "argocd", "horizontal-pod-autoscaler")
"""Field managers, by how their names begin, that mean the size when they write it."""
_AUTOSCALERS = (
    ("/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects", "ScaledObject"),
    ("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("/apis/autoscaling/v1/namespaces/{namespace}/horizontalpodautoscalers", "HorizontalPodAutoscaler"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorPlace:
    """Where a floor is written.

    Attributes:
        owner: The autoscaler, as people call it.
        path: Path of the object that holds the floor.
        field: Path of the floor in that object.
        floor: The floor now; None when it is not set.
        ceiling: The autoscaler's own upper bound; None when it has none.
        revision: The object's resourceVersion.
    """

    owner: str
    path: str
    field: tuple[str, ...]
    floor: int | None
    ceiling: int | None
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """Nobody knows whether something scales a target: why, and whether a right is missing that will stay missing."""

    text: str
    forbidden: bool


def floor_place(
    api: KubernetesApi, target: ObjectReference, path: str, body: fields.Object
) -> FloorPlace | Unseen | None:
    """Find the autoscaler of a target and where its floor stands.

    Args:
        api: The Kubernetes API.
        target: The target.
        path: Its path.
        body: The target as it was read.

    Returns:
        The place; None when nothing scales the target; why not when the API does not say.
    """
    annotations = fields.child(body, "metadata", "annotations")
    if MIN_SIZE in annotations:
        return FloorPlace(
            owner="cluster-autoscaler",
            path=path,
            field=("metadata", "annotations", MIN_SIZE),
            floor=fields.number(annotations, MIN_SIZE),
            ceiling=fields.number(annotations, MAX_SIZE),
            revision=fields.text(body, "metadata", "resourceVersion"),
        )
    if target.namespace is None:
        return None
    for template, kind in _AUTOSCALERS:
        collection = template.format(namespace=target.namespace)
        listed = api.call("GET", collection)
        if listed.status == 404 or (listed.status == 403 and not _is_served(api, collection)):
            continue
        if not listed.ok:
            return Unseen(
                text=f"{target.text}: cannot see whether a {kind} scales it ({listed.message})",
                forbidden=listed.status == 403,
            )
        found = next((row for row in fields.rows(listed.body, "items") if _scales(row, target)), None)
        if found is not None:
            return _place(found, kind, collection)
        if kind == "HorizontalPodAutoscaler":
            return None
    return None


def foreign_manager(body: fields.Object) -> str | None:
    """Return the field manager that wrote a target's replicas last, if it is another autoscaler's."""
    writers = [
        (fields.text(row, "time"), fields.text(row, "manager"))
        for row in fields.rows(body, "metadata", "managedFields")
        if "f:replicas" in fields.child(row, "fieldsV1", "f:spec")
    ]
    last = max(writers, default=("", ""))[1]
    return last if last.startswith(FOREIGN_MANAGERS) else None


def _is_served(api: KubernetesApi, collection: str) -> bool:
    """Return whether the API serves a kind at all: without rights to it, one that is not installed is forbidden too."""
    group = "/".join(collection.split("/")[:4])
    return api.call("GET", group).status != 404


def _scales(autoscaler: fields.Object, target: ObjectReference) -> bool:
    """Return whether an autoscaler is pointed at a target."""
    reference = fields.child(autoscaler, "spec", "scaleTargetRef")
    kind = fields.text(reference, "kind") or "Deployment"
    return (kind, fields.text(reference, "name")) == (target.kind, target.name)


def _place(autoscaler: fields.Object, kind: str, collection: str) -> FloorPlace:
    """Return where an autoscaler holds its floor."""
    name = fields.text(autoscaler, "metadata", "name")
    field, ceiling = (
        ("minReplicaCount", "maxReplicaCount") if kind == "ScaledObject" else ("minReplicas", "maxReplicas")
    )
    return FloorPlace(
        owner=f"{kind} {name}",
        path=f"{collection}/{name}",
        field=("spec", field),
        floor=fields.number(autoscaler, "spec", field),
        ceiling=fields.number(autoscaler, "spec", ceiling),
        revision=fields.text(autoscaler, "metadata", "resourceVersion"),
    )
