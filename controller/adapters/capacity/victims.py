"""Which machine Cluster API gives up first when a set shrinks: the ones that stand on the hottest nodes.

The mark is the annotation that cluster-autoscaler uses as well. A mark of ours that is no longer meant is taken off,
or a later shrink would take a machine that has cooled down.
"""

from __future__ import annotations

from controller.adapters.capacity import fields
from controller.adapters.ports import JsonObject, KubernetesApi
from controller.adapters.targets import ObjectReference

DELETE_MACHINE = "cluster.x-k8s.io/delete-machine"
MARKED_BY = "meltguard.dev/delete-machine"
MERGE_PATCH = "application/merge-patch+json"
_SET_LABELS = {"MachineDeployment": "cluster.x-k8s.io/deployment-name", "MachinePool": "cluster.x-k8s.io/pool-name"}


def chooses_victims(target: ObjectReference) -> bool:
    """Return whether the machines to give up can be chosen."""
    return target.kind in _SET_LABELS and target.api_version.startswith("cluster.x-k8s.io/")


def mark_victims(
    api: KubernetesApi, target: ObjectReference, collection: str, *, hottest_nodes: tuple[str, ...], num_victims: int
) -> str | None:
    """Mark the machines on the hottest nodes, and unmark those that we marked before.

    Args:
        api: The Kubernetes API.
        target: The set.
        collection: Path of its collection; machines live beside it.
        hottest_nodes: Names of nodes, hottest first.
        num_victims: How many will go; 0 only unmarks.

    Returns:
        Why it could not be done, in one sentence; None when it was.
    """
    machines = collection.rpartition("/")[0] + "/machines"
    label = f"{_SET_LABELS[target.kind]}%3D{target.name}"
    listed = api.call("GET", f"{machines}?labelSelector={label}&limit=5000")
    if not listed.ok:
        return f"{target.text}: its machines cannot be listed ({listed.message}); the provider chooses which go"
    rows = fields.rows(listed.body, "items")
    by_node = {fields.text(row, "status", "nodeRef", "name"): fields.text(row, "metadata", "name") for row in rows}
    wanted = [by_node[node] for node in hottest_nodes if node and node in by_node][:num_victims]
    problem = None
    for row in rows:
        name = fields.text(row, "metadata", "name")
        annotations = fields.child(row, "metadata", "annotations")
        if name in wanted and DELETE_MACHINE not in annotations:
            problem = _annotate(api, f"{machines}/{name}", "yes") or problem
        elif name not in wanted and MARKED_BY in annotations:
            problem = _annotate(api, f"{machines}/{name}", None) or problem
    return problem


def _annotate(api: KubernetesApi, path: str, value: str | None) -> str | None:
    """Set or remove both marks of a machine; return what went wrong."""
    body: JsonObject = {"metadata": {"annotations": {DELETE_MACHINE: value, MARKED_BY: value}}}
    answer = api.call("PATCH", path, body=body, content_type=MERGE_PATCH)
    return None if answer.ok else f"{path.rpartition('/')[2]}: {answer.message}"
