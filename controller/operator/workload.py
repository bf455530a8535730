"""Lets the replicas of the inference workload follow the ready nodes, unless somebody else owns them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.adapters.targets import ObjectReference
from controller.operator.apply import Fence
from controller.operator.conditions import Problem
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ConflictError, ForbiddenError, KubernetesError, MissingError
from controller.operator.kubernetes.resources import Resource
from controller.types import NodeCounts, Sample

OWNERS_SECONDS = 30.0
"""How long the list of a namespace's autoscalers is believed."""
LEAST_REPLICAS = 1
"""A workload whose nodes are all gone keeps one pod asking, which costs nothing and comes back by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One pool's share in a workload: its nodes, and how many pods stand on each."""

    pool: str
    reference: ObjectReference
    pods_per_node: int
    nodes: Sample[NodeCounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What became of one workload.

    Attributes:
        reference: The workload.
        pools: Pools that share it.
        problem: Why its replicas do not follow; None when they do.
        replicas: ``(before, after)`` when they were changed.
    """

    reference: ObjectReference
    pools: tuple[str, ...]
    problem: Problem | None = None
    replicas: tuple[int, int] | None = None


class ReplicaFollower:
    """Sets replicas to ready nodes times pods a node.

    Args:
        client: The API.
    """

    def __init__(self, client: KubernetesClient) -> None:
        """Know no owner yet."""
        self._client = client
        self._owners: dict[str, tuple[float, dict[tuple[str, str], str]]] = {}

    def follow(self, wishes: Iterable[Wish], fence: Fence, now: datetime) -> tuple[Followed, ...]:
        """Let every workload follow its nodes.

        Args:
            wishes: Pools with a workload.
            fence: Asked before every write.
            now: Time of the pass.

        Returns:
            One result a workload. Nodes that are not fresh leave the replicas as they are.
        """
        del now
        shared: dict[ObjectReference, list[Wish]] = {}
        for wish in wishes:
            shared.setdefault(wish.reference, []).append(wish)
        return tuple(self._follow(reference, group, fence) for reference, group in shared.items())

    def _follow(self, reference: ObjectReference, group: list[Wish], fence: Fence) -> Followed:
        """Let one workload follow; what the API refuses is a problem, not a crash."""
        pools = tuple(wish.pool for wish in group)
        if any(not wish.nodes.is_fresh or wish.nodes.value is None for wish in group):
            return Followed(reference=reference, pools=pools)
        ready = sum(wish.nodes.value.ready * wish.pods_per_node for wish in group if wish.nodes.value is not None)
        wanted = max(ready, LEAST_REPLICAS)
        try:
            owner = self._owner(reference)
            if owner is not None:
                text = f"{reference.text}: its replicas belong to {owner}; they are left alone"
                return Followed(reference=reference, pools=pools, problem=Problem(code="WorkloadHasOwner", text=text))
            resource = self._client.resource(reference.api_version, reference.kind, reference.namespace)
            scale = self._client.get(resource, reference.name, subresource="scale")
            before = int((scale.get("spec") or {}).get("replicas") or 0)
            if before == wanted:
                return Followed(reference=reference, pools=pools)
            fence()
            version = scale["metadata"]["resourceVersion"]
            patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": wanted}}
            self._client.merge_patch(resource, reference.name, patch, subresource="scale")
            return Followed(reference=reference, pools=pools, replicas=(before, wanted))
        except ConflictError:
            return Followed(reference=reference, pools=pools)  # read again at the next pass
        except KubernetesError as error:
            problem = Problem(code="WorkloadNotResized", text=f"{reference.text}: {error}")
            return Followed(reference=reference, pools=pools, problem=problem)

    def _owner(self, reference: ObjectReference) -> str | None:
        """Return the autoscaler that owns a workload's replicas; None without one."""
        namespace = reference.namespace or ""
        known = self._owners.get(namespace)
        if known is None or time.monotonic() - known[0] > OWNERS_SECONDS:
            known = time.monotonic(), self._read_owners(namespace)
            self._owners[namespace] = known
        return known[1].get((reference.kind, reference.name))

    def _read_owners(self, namespace: str) -> dict[tuple[str, str], str]:
        """Return the autoscalers of a namespace by what they scale."""
        found: dict[tuple[str, str], str] = {}
        for api_version, plural, kind in (
            ("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            ("keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
        ):
            resource = Resource(api_version=api_version, plural=plural, namespace=namespace)
            try:
                rows = self._client.list(resource).get("items") or []
            except MissingError:
                continue  # the cluster does not have that kind
            except ForbiddenError:
                # Who lacks the right is refused before being told that there is no such kind.
                if self._is_served(api_version):
                    raise
                continue
            for row in rows:
                target = (row.get("spec") or {}).get("scaleTargetRef") or {}
                key = str(target.get("kind") or "Deployment"), str(target.get("name"))
                found[key] = f"{kind} {row['metadata']['name']}"
        return found

    def _is_served(self, api_version: str) -> bool:
        """Return whether the API has a group at all."""
        try:
            self._client.request("GET", f"/apis/{api_version}")
        except MissingError:
            return False
        return True
