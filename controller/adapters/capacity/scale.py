"""Anything with a scale subresource: Deployment, StatefulSet, MachineDeployment, MachinePool, static NodePool.

The size goes through ``/scale`` as a merge patch under the resourceVersion of the fresh read: between that read and the
write nobody else can have written, or the API says 409. A floor goes to the autoscaler that owns the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.adapters.capacity import fields
from controller.adapters.capacity.addresses import Address, AddressBook, NoAddress
from controller.adapters.capacity.failures import classify, receipt_of_answer
from controller.adapters.capacity.owners import FloorPlace, Unseen, floor_place, foreign_manager
from controller.adapters.capacity.victims import chooses_victims, mark_victims
from controller.adapters.ports import (
    ApiAnswer,
    JsonObject,
    KubernetesApi,
    PoolSize,
    SizeOrder,
    SizeReceipt,
    WriteOutcome,
)
from controller.adapters.targets import ObjectReference, PoolTarget
from controller.types import Ownership, PoolCondition, Sample

MERGE_PATCH = "application/merge-patch+json"
FIELD_MANAGER = "meltguard"
PAUSED_ANNOTATION = "cluster.x-k8s.io/paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A target as it was read: where it is, the object itself, and who scales it."""

    address: Address
    body: fields.Object
    floor: FloorPlace | Unseen | None


class ScaleAdapter:
    """Reads and writes scale subresources.

    Args:
        api: The Kubernetes API.
        addresses: Finds the objects.
    """

    def __init__(self, api: KubernetesApi, addresses: AddressBook) -> None:
        """Remember how to reach the API."""
        self._api = api
        self._addresses = addresses

    def read(self, pool: PoolTarget, target: ObjectReference, now: datetime) -> Sample[PoolSize]:
        """Read a target.

        Args:
            pool: The pool.
            target: Its target.
            now: Time of the read.

        Returns:
            Its size; absent when the API does not answer.
        """
        found = self._find(target)
        if isinstance(found, SizeReceipt):
            if found.outcome is WriteOutcome.TIME_OUT:
                return Sample.absent()
            nothing = PoolSize(desired=None, written=None, created=None, ready=None, messages=(found.text,))
            return Sample.fresh(nothing, now)
        return Sample.fresh(_size(pool, target, found), now)

    def set_size(self, order: SizeOrder, target: ObjectReference) -> SizeReceipt:
        """Carry out an order.

        Args:
            order: The order.
            target: The pool's target.

        Returns:
            How it ended.
        """
        found = self._find(target)
        if isinstance(found, SizeReceipt):
            return found
        if order.ownership is Ownership.FLOOR:
            return self._set_floor(order, target, found)
        refusal = _refusal(order, target, found)
        if refusal is not None:
            return refusal
        revision = fields.text(found.body, "metadata", "resourceVersion")
        if order.revision is not None and order.revision != revision:
            return SizeReceipt(outcome=WriteOutcome.CONFLICT, text=f"{target.text} changed meanwhile; read it again")
        return self._scale(order, target, found, revision)

    def _scale(self, order: SizeOrder, target: ObjectReference, found: _Found, revision: str) -> SizeReceipt:
        """Write the size, after choosing which machines go where that is possible."""
        before = fields.number(found.body, "spec", "replicas")
        warning = ""
        if chooses_victims(target) and not order.dry_run:
            warning = self._mark(order, target, found, num_victims=max((before or 0) - order.to_nodes, 0))
        body: JsonObject = {"metadata": {"resourceVersion": revision}, "spec": {"replicas": order.to_nodes}}
        path = f"{found.address.scale_path}?fieldManager={FIELD_MANAGER}{'&dryRun=All' if order.dry_run else ''}"
        answer = self._api.call("PATCH", path, body=body, content_type=MERGE_PATCH)
        if answer.ok:
            text = f"{target.text}: {before} to {order.to_nodes} replicas" + (f" ({warning})" if warning else "")
            return SizeReceipt(outcome=WriteOutcome.DONE, text=text, wrote=not order.dry_run, warning=warning)
        return self._looked_up(order, target, found.address, answer)

    def _mark(self, order: SizeOrder, target: ObjectReference, found: _Found, *, num_victims: int) -> str:
        """Choose the machines that go; return why that could not be done, empty when it was."""
        problem = mark_victims(
            self._api,
            target,
            found.address.collection,
            hottest_nodes=order.hottest_nodes,
            num_victims=num_victims,
        )
        return problem or ""

    def _looked_up(self, order: SizeOrder, target: ObjectReference, address: Address, answer: ApiAnswer) -> SizeReceipt:
        """Return the receipt of a write without a good answer; one whose answer was lost may still have had effect."""
        receipt = receipt_of_answer(answer, target.text)
        if receipt.outcome is not WriteOutcome.TIME_OUT or order.dry_run:
            return receipt
        again = self._api.call("GET", address.path)
        if again.ok and fields.number(again.body, "spec", "replicas") == order.to_nodes:
            return SizeReceipt(outcome=WriteOutcome.DONE, text=f"{target.text}: {order.to_nodes} replicas", wrote=True)
        return receipt

    def _set_floor(self, order: SizeOrder, target: ObjectReference, found: _Found) -> SizeReceipt:
        """Write the floor of the autoscaler that owns the target."""
        place = found.floor
        if isinstance(place, Unseen):
            return _unseen(place)
        if place is None:
            return SizeReceipt(
                outcome=WriteOutcome.REJECTED,
                text=f"{target.text}: nothing scales it, so there is no floor to write; use ownership desired",
            )
        floor = order.to_nodes if place.ceiling is None else min(order.to_nodes, place.ceiling)
        if place.floor == floor:
            return SizeReceipt(outcome=WriteOutcome.DONE, text=f"{place.owner}: the floor is {floor} already")
        value: object = str(floor) if place.field[0] == "metadata" else floor
        body: JsonObject = {place.field[-1]: value}
        for name in reversed(place.field[:-1]):
            body = {name: body}
        metadata = body.setdefault("metadata", {})
        assert isinstance(metadata, dict)
        metadata["resourceVersion"] = place.revision
        path = f"{place.path}?fieldManager={FIELD_MANAGER}{'&dryRun=All' if order.dry_run else ''}"
        answer = self._api.call("PATCH", path, body=body, content_type=MERGE_PATCH)
        if not answer.ok:
            return receipt_of_answer(answer, place.owner)
        cut = "" if floor == order.to_nodes else f"; its upper bound of {floor} cut the {order.to_nodes} asked for"
        return SizeReceipt(
            outcome=WriteOutcome.DONE,
            text=f"{place.owner}: floor {place.floor} to {floor}{cut}",
            wrote=not order.dry_run,
        )

    def _find(self, target: ObjectReference) -> _Found | SizeReceipt:
        """Read a target and who scales it."""
        address = self._addresses.find(target)
        if isinstance(address, NoAddress):
            outcome = WriteOutcome.REJECTED if address.answered else WriteOutcome.TIME_OUT
            return SizeReceipt(outcome=outcome, text=address.text)
        answer = self._api.call("GET", address.path)
        if not answer.ok:
            return receipt_of_answer(answer, target.text)
        floor = floor_place(self._api, target, address.path, answer.body)
        return _Found(address=address, body=answer.body, floor=floor)


def _refusal(order: SizeOrder, target: ObjectReference, found: _Found) -> SizeReceipt | None:
    """Return why a size must not be written, or that it stands already; None when it may be written."""
    replicas = fields.number(found.body, "spec", "replicas")
    if target.kind == "NodePool" and replicas is None:
        return SizeReceipt(
            outcome=WriteOutcome.REJECTED,
            text=f"{target.text}: a dynamic NodePool has no size; use ownership buffer, or a static one with replicas",
        )
    if isinstance(found.floor, Unseen):
        return _unseen(found.floor)
    owner = _owner(found)
    if owner is not None:
        return SizeReceipt(
            outcome=WriteOutcome.FOREIGN_OWNER,
            text=f"{target.text}: {owner} owns its size; use ownership floor or buffer for this pool",
        )
    most = fields.number(found.body, "spec", "limits", "nodes") if target.kind == "NodePool" else None
    if most is not None and order.to_nodes > most:
        return SizeReceipt(outcome=WriteOutcome.QUOTA, text=f"{target.text}: its limits.nodes of {most} is reached")
    if replicas == order.to_nodes:
        return SizeReceipt(outcome=WriteOutcome.DONE, text=f"{target.text}: {replicas} replicas already")
    return None


def _unseen(unseen: Unseen) -> SizeReceipt:
    """Return the refusal of a target that something may scale."""
    if unseen.forbidden:
        text = f"{unseen.text}; give the service account list and patch there, or two autoscalers may fight"
        return SizeReceipt(outcome=WriteOutcome.REJECTED, text=text)
    return SizeReceipt(outcome=WriteOutcome.TIME_OUT, text=unseen.text)


def _owner(found: _Found) -> str | None:
    """Return who else owns a target's size."""
    return found.floor.owner if isinstance(found.floor, FloorPlace) else foreign_manager(found.body)


def _size(pool: PoolTarget, target: ObjectReference, found: _Found) -> PoolSize:
    """Return the size of a target as its object says."""
    body = found.body
    desired = fields.number(body, "spec", "replicas")
    created = fields.number(body, "status", "nodes" if target.kind == "NodePool" else "replicas")
    ready = fields.number(body, "status", "readyReplicas")
    if ready is None and target.kind != "NodePool":
        # The API leaves a count of zero out; an object that reports replicas and no ready ones has none.
        ready = 0 if created is not None else None
    place = found.floor
    written = desired if pool.ownership is Ownership.DESIRED else None
    revision = fields.text(body, "metadata", "resourceVersion")
    if pool.ownership is Ownership.FLOOR and isinstance(place, FloorPlace):
        written, revision = place.floor, place.revision
    conditions, messages = _conditions(pool, target, found)
    return PoolSize(
        desired=desired,
        written=written,
        created=0 if created is None and desired is not None else created,
        ready=created if target.kind == "NodePool" else ready,
        revision=revision or None,
        conditions=conditions,
        messages=messages,
    )


def _conditions(
    pool: PoolTarget, target: ObjectReference, found: _Found
) -> tuple[frozenset[PoolCondition], tuple[str, ...]]:
    """Return what stands in a target's way, and the same in words."""
    body, conditions, messages = found.body, set(), []
    if isinstance(found.floor, Unseen):
        messages.append(found.floor.text)
    owner = _owner(found)
    if owner is not None and pool.ownership is Ownership.DESIRED:
        conditions.add(PoolCondition.FOREIGN_OWNER)
        messages.append(f"{target.text}: {owner} owns its size")
    paused = _is_true(body, "spec", "paused") or PAUSED_ANNOTATION in fields.child(body, "metadata", "annotations")
    if paused and target.kind != "Deployment":
        conditions.add(PoolCondition.PAUSED)
        messages.append(f"{target.text} is paused")
    for row in fields.rows(body, "status", "conditions"):
        text = f"{fields.text(row, 'reason')}: {fields.text(row, 'message')}"
        condition = classify(text)
        if condition is not None:
            conditions.add(condition)
            messages.append(f"{target.text}: {text[:300]}")
        if (row.get("type"), row.get("status")) == ("RollingOut", "True"):
            conditions.add(PoolCondition.UPDATING)
    return frozenset(conditions), tuple(messages)


def _is_true(body: fields.Object, *path: str) -> bool:
    """Return whether the field at a path is true."""
    return fields.child(body, *path[:-1]).get(path[-1]) is True
