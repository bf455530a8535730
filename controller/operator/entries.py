"""What the list-watches keep: parsed objects, or why they cannot be used; which pool belongs to which policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.adapters.ports import NodeFacts
from controller.errors import ControllerError
from controller.operator.conditions import HeldCondition, Problem, held_conditions
from controller.operator.kubernetes.resources import JsonObject
from controller.operator.resources.parse import (
    Identity,
    Pool,
    annotations_of,
    identity_of,
    parse_policy_spec,
    parse_pool,
)
from controller.operator.resources.surge_policy import SurgePolicySpec

GPU_RESOURCE = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEntry:
    """One GPUPool: usable when ``pool`` is there, else ``problem`` says why not."""

    identity: Identity
    held: tuple[HeldCondition, ...]
    pool: Pool | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry:
    """One SurgePolicy: usable when ``spec`` is there, else ``problem`` says why not.

    Attributes:
        identity: Which object.
        created_at: When it was created; of two policies that claim a region the older one has it.
        held: The conditions that the object has.
        annotations: What people say there.
        spec: Its spec.
        problem: Why it cannot be used.
    """

    identity: Identity
    created_at: str
    held: tuple[HeldCondition, ...]
    annotations: Mapping[str, str]
    spec: SurgePolicySpec | None
    problem: str = ""


def pool_entry(entry: JsonObject) -> PoolEntry:
    """Return what to keep of a GPUPool."""
    identity, held = identity_of(entry), held_conditions(entry)
    try:
        return PoolEntry(identity=identity, held=held, pool=parse_pool(entry))
    except ControllerError as error:
        return PoolEntry(identity=identity, held=held, pool=None, problem=str(error))


def policy_entry(entry: JsonObject) -> PolicyEntry:
    """Return what to keep of a SurgePolicy."""
    spec, problem = None, ""
    try:
        spec = parse_policy_spec(entry)
    except ControllerError as error:
        problem = str(error)
    return PolicyEntry(
        identity=identity_of(entry),
        created_at=str(entry["metadata"].get("creationTimestamp") or ""),
        held=held_conditions(entry),
        annotations=annotations_of(entry),
        spec=spec,
        problem=problem,
    )


def node_facts(entry: JsonObject) -> NodeFacts:
    """Return what to keep of a Node."""
    metadata, status = entry["metadata"], entry.get("status") or {}
    is_ready = any(row.get("type") == "Ready" and row.get("status") == "True" for row in status.get("conditions") or [])
    try:
        num_gpus = int((status.get("allocatable") or {}).get(GPU_RESOURCE, 0))
    except ValueError:
        num_gpus = 0
    created = metadata.get("creationTimestamp")
    return NodeFacts(
        name=str(metadata["name"]),
        labels={str(key): str(value) for key, value in (metadata.get("labels") or {}).items()},
        created_at=datetime.fromisoformat(created) if created else datetime.now(UTC),
        is_ready=is_ready,
        is_schedulable=not (entry.get("spec") or {}).get("unschedulable", False),
        num_gpus=num_gpus,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A policy with its pools, or why it cannot be run."""

    entry: PolicyEntry
    pools: tuple[PoolEntry, ...]
    problem: Problem | None = None


def assign(policies: tuple[PolicyEntry, ...], pools: tuple[PoolEntry, ...]) -> tuple[Assignment, ...]:
    """Give every pool to the policy of its region; of two that claim a region, the older one has it.

    Args:
        policies: All of them.
        pools: All of them; broken ones belong to nobody.

    Returns:
        One assignment a policy, the oldest first.
    """
    taken: dict[str, str] = {}
    rows = []
    for entry in sorted(policies, key=lambda entry: (entry.created_at, entry.identity.name)):
        if entry.spec is None:
            rows.append(Assignment(entry=entry, pools=(), problem=Problem(code="InvalidSpec", text=entry.problem)))
            continue
        regions = {region.name for region in entry.spec.regions}
        clash = sorted(regions & taken.keys())
        if clash:
            text = f"region {clash[0]} belongs to policy {taken[clash[0]]}, which is older"
            rows.append(Assignment(entry=entry, pools=(), problem=Problem(code="RegionTaken", text=text)))
            continue
        taken |= dict.fromkeys(regions, entry.identity.name)
        mine = tuple(row for row in pools if row.pool is not None and row.pool.spec.region in regions)
        rows.append(Assignment(entry=entry, pools=mine))
    return tuple(rows)
