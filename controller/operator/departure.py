"""The end of a policy: limits end in stages, floors and buffers are given back last, and all of it within a bound.

A finalizer holds a deleted policy until then. Nobody renews its limits any more, so they end by themselves, in the
stages that were written into them; the operator only waits. Whatever fails is tried again at every pass, until
:data:`MAX_DEPARTURE_SECONDS` after the deletion; then the policy goes in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from controller.adapters.ports import SizeOrder, WriteOutcome
from controller.operator.apply import Fence, FlagOrder, apply_flags
from controller.operator.entries import Assignment, PolicyEntry
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ConflictError, KubernetesError, MissingError
from controller.operator.kubernetes.resources import Resource
from controller.operator.policy_inputs import PolicyPorts, todays_policy
from controller.operator.resources.fields import API_VERSION
from controller.types import Ownership

FINALIZER = "meltguard.dev/limits-end-first"
MAX_DEPARTURE_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartureStep:
    """How far a policy's end has come: done, or what is still waited for."""

    done: bool
    text: str


def ensure_finalizer(client: KubernetesClient, entry: PolicyEntry) -> str:
    """Put our finalizer on a policy that lacks it; return why that failed, or nothing."""
    if FINALIZER in entry.identity.finalizers or entry.identity.deleting_since is not None:
        return ""
    try:
        _change_finalizers(client, entry, add=True)
    except KubernetesError as error:
        return f"finalizer: {error}"
    return ""


def depart(
    assignment: Assignment, ports: PolicyPorts | None, client: KubernetesClient, fence: Fence, now: datetime
) -> DepartureStep:
    """Take a deleted policy one step further towards its end.

    Args:
        assignment: The policy and its pools.
        ports: Its world; None when its spec cannot be used, and then nothing but time can be waited for.
        client: The API.
        fence: Asked before every write.
        now: Time of the pass.

    Returns:
        How far it has come.
    """
    since = assignment.entry.identity.deleting_since
    assert since is not None
    deadline = since + timedelta(seconds=MAX_DEPARTURE_SECONDS)
    log = structlog.get_logger().bind(policy=assignment.entry.identity.name)
    if ports is not None and now < deadline:
        ends_at = _limits_end(ports, now, deadline)
        if ends_at > now:
            return DepartureStep(done=False, text=f"limits end in stages until {ends_at:%H:%M:%S}Z")
        waiting = _give_back_floors(assignment, ports, fence, now)
        if waiting:
            return DepartureStep(done=False, text=f"giving back the floor of {waiting}")
        _clear_flags(assignment, ports, fence, now)
    fence()
    _delete_state(client, assignment.entry)
    _change_finalizers(client, assignment.entry, add=False)
    log.info("policy.departed", after_seconds=(now - since).total_seconds())
    return DepartureStep(done=True, text="gone")


def _limits_end(ports: PolicyPorts, now: datetime, deadline: datetime) -> datetime:
    """Return when nothing is limited any more; the deadline while the store does not answer."""
    stored = ports.flags.read(now).value
    if stored is None:
        return deadline
    return min(stored.rendered.ends_at or now, deadline)


def _give_back_floors(assignment: Assignment, ports: PolicyPorts, fence: Fence, now: datetime) -> str:
    """Set floors and buffers back to what the pool asks for; return a pool that did not take it, or nothing."""
    waiting = ""
    for row in assignment.pools:
        if row.pool is None or row.pool.spec.ownership is Ownership.DESIRED:
            continue
        size = ports.capacity.read(row.pool.target, now).value
        if size is None:
            waiting = row.pool.spec.name
            continue
        order = SizeOrder(
            pool=row.pool.target,
            to_nodes=row.pool.spec.min_nodes,
            ownership=row.pool.spec.ownership,
            decision_id=f"end-{assignment.entry.identity.uid}",
            epoch=fence(),
            revision=size.revision,
        )
        outcome = ports.capacity.set_size(order, now).outcome
        if outcome not in (WriteOutcome.DONE, WriteOutcome.REJECTED, WriteOutcome.FOREIGN_OWNER):
            waiting = row.pool.spec.name
    return waiting


def _clear_flags(assignment: Assignment, ports: PolicyPorts, fence: Fence, now: datetime) -> None:
    """Leave a flag set without limits behind; those that stood there are over already."""
    stored = ports.flags.read(now).value
    if stored is None or not stored.rendered.flags:
        return
    policy, _ = todays_policy(assignment, period_seconds=0.0)
    order = FlagOrder(
        policy=policy,
        positions={region.name: 0 for region in policy.regions},
        reasons={},
        decision_id=f"end-{assignment.entry.identity.uid}",
        expires_at=now,
        least_revision=stored.rendered.revision + 1,
    )
    apply_flags(order, ports.flags, fence, now)


def _delete_state(client: KubernetesClient, entry: PolicyEntry) -> None:
    """Delete what the policy remembers: a new policy of the same name is another one. Its decisions stay readable."""
    resource = Resource(api_version="v1", plural="configmaps", namespace=entry.identity.namespace)
    try:
        client.delete(resource, f"{entry.identity.name}-meltguard-state")
    except MissingError:
        return


def _change_finalizers(client: KubernetesClient, entry: PolicyEntry, *, add: bool) -> None:
    """Add or take away our finalizer, on a fresh read; what somebody else changed meanwhile is met at the next pass."""
    resource = Resource(api_version=API_VERSION, plural="surgepolicies", namespace=entry.identity.namespace)
    try:
        metadata = client.get(resource, entry.identity.name)["metadata"]
        if metadata["uid"] != entry.identity.uid:
            return
        finalizers = [name for name in metadata.get("finalizers") or [] if name != FINALIZER]
        wanted = [*finalizers, FINALIZER] if add else finalizers
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": wanted}}
        client.merge_patch(resource, entry.identity.name, patch)
    except (MissingError, ConflictError):
        return
