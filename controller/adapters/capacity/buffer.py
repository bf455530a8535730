"""Room beside a pool that another autoscaler owns: a CapacityBuffer of pods that nobody runs, one a node.

cluster-autoscaler (and Karpenter behind its gate) keeps that room free. The buffer is our own object, written by
server-side apply; it remembers the size that it was counted from, so that a wanted size becomes a number of nodes
beside it. Only ``replicas`` is set: what ``percentage`` beside it means, its two readers disagree about.
"""

from __future__ import annotations

from datetime import datetime

from controller.adapters.capacity import fields
from controller.adapters.capacity.addresses import Address, AddressBook, NoAddress
from controller.adapters.capacity.failures import classify, receipt_of_answer
from controller.adapters.ports import JsonObject, KubernetesApi, PoolSize, SizeOrder, SizeReceipt, WriteOutcome
from controller.adapters.targets import ObjectReference, PoolTarget
from controller.types import PoolCondition, Sample

API_VERSION = "autoscaling.x-k8s.io/v1beta1"
BASE = "meltguard.dev/base-nodes"
DECISION = "meltguard.dev/decision-id"
EPOCH = "meltguard.dev/writer-epoch"
APPLY_PATCH = "application/apply-patch+yaml"
FIELD_MANAGER = "meltguard"
FORBIDDEN = 403


class BufferAdapter:
    """Reads and writes the buffers of pools.

    Args:
        api: The Kubernetes API.
        addresses: Finds the targets whose size the buffer adds to.
    """

    def __init__(self, api: KubernetesApi, addresses: AddressBook) -> None:
        """Remember how to reach the API."""
        self._api = api
        self._addresses = addresses

    def read(self, pool: PoolTarget, target: ObjectReference, now: datetime) -> Sample[PoolSize]:
        """Read a pool's buffer, and the size that it adds to.

        Args:
            pool: The pool.
            target: What the autoscaler sizes.
            now: Time of the read.

        Returns:
            The size; ``written`` is the buffer and ``desired`` the base with it; absent when the API is silent.
        """
        place, address = _place(pool, target), self._addresses.find(target)
        for missing in (place, address):
            if isinstance(missing, NoAddress) and missing.answered:
                return Sample.fresh(_unknown(missing.text), now)
        if isinstance(place, NoAddress) or isinstance(address, NoAddress):
            return Sample.absent()
        buffer, owned = self._api.call("GET", place.path), self._api.call("GET", address.path)
        for answer, what in ((buffer, f"CapacityBuffer {place.name}"), (owned, target.text)):
            if answer.status == FORBIDDEN:
                text = receipt_of_answer(answer, what).text
                return Sample.fresh(_unknown(text), now)
        if not (buffer.ok or buffer.status == 404) or not owned.ok:
            return Sample.absent()
        created = fields.number(owned.body, "status", "nodes")
        created = fields.number(owned.body, "status", "replicas") if created is None else created
        replicas = fields.number(buffer.body, "spec", "replicas") if buffer.ok else 0
        base = _base(buffer.body, created) if replicas else created
        conditions, messages = _conditions(buffer.body, pool)
        return Sample.fresh(
            PoolSize(
                desired=None if base is None else base + (replicas or 0),
                written=replicas or 0,
                created=created,
                ready=created,
                revision=fields.text(buffer.body, "metadata", "resourceVersion") or None,
                decision_id=fields.text(buffer.body, "metadata", "annotations", DECISION) or None,
                conditions=conditions,
                messages=messages,
            ),
            now,
        )

    def set_size(self, order: SizeOrder, target: ObjectReference, now: datetime) -> SizeReceipt:
        """Make the buffer as large as the order wants the pool beyond its base.

        Args:
            order: The order.
            target: What the autoscaler sizes.
            now: Time of the order.

        Returns:
            How it ended.
        """
        place = _place(order.pool, target)
        if isinstance(place, NoAddress):
            return SizeReceipt(outcome=WriteOutcome.REJECTED, text=place.text)
        size = self.read(order.pool, target, now).value
        held = self._api.call("GET", place.path)
        if held.status == FORBIDDEN:
            return receipt_of_answer(held, f"CapacityBuffer {place.name}")
        if size is None or not (held.ok or held.status == 404):
            return SizeReceipt(outcome=WriteOutcome.TIME_OUT, text=f"{target.text}: its buffer cannot be read")
        epoch = fields.number(held.body, "metadata", "annotations", EPOCH) or 0
        if epoch > order.epoch:
            text = f"CapacityBuffer {place.name} was written under epoch {epoch}, ours is {order.epoch}; stop leading"
            return SizeReceipt(outcome=WriteOutcome.FENCED, text=text)
        if order.revision is not None and order.revision != size.revision:
            return SizeReceipt(outcome=WriteOutcome.CONFLICT, text=f"{target.text}: its buffer changed meanwhile")
        base = None if size.desired is None else size.desired - (size.written or 0)
        if base is None:
            text = "; ".join(size.messages) or f"{target.text}: says nothing about its size"
            return SizeReceipt(outcome=WriteOutcome.REJECTED, text=text)
        return self._apply(order, place, base=base, replicas=max(order.to_nodes - base, 0), held=size)

    def _apply(self, order: SizeOrder, place: Address, *, base: int, replicas: int, held: PoolSize) -> SizeReceipt:
        """Write the buffer by server-side apply, under the resourceVersion that was read."""
        name = place.name
        if held.written == replicas and held.revision is not None:
            return SizeReceipt(outcome=WriteOutcome.DONE, text=f"CapacityBuffer {name}: {replicas} replicas already")
        annotations = {BASE: str(base), DECISION: order.decision_id, EPOCH: str(order.epoch)}
        metadata: JsonObject = {"name": name, "annotations": annotations}
        if held.revision is not None:
            metadata["resourceVersion"] = held.revision
        body: JsonObject = {
            "apiVersion": API_VERSION,
            "kind": "CapacityBuffer",
            "metadata": metadata,
            "spec": {"podTemplateRef": {"name": order.pool.buffer_pod_template}, "replicas": replicas},
        }
        path = f"{place.path}?fieldManager={FIELD_MANAGER}&force=false{'&dryRun=All' if order.dry_run else ''}"
        answer = self._api.call("PATCH", path, body=body, content_type=APPLY_PATCH)
        if answer.status == FORBIDDEN and held.revision is None and "cannot" not in answer.message:
            # The API refuses an apply that creates without saying why.
            text = f'CapacityBuffer {name}: the service account cannot create resource "capacitybuffers"'
            return SizeReceipt(outcome=WriteOutcome.REJECTED, text=text)
        if not answer.ok:
            return receipt_of_answer(answer, f"CapacityBuffer {name}")
        text = f"CapacityBuffer {name}: {held.written} to {replicas} replicas beside {base} nodes"
        return SizeReceipt(outcome=WriteOutcome.DONE, text=text, wrote=not order.dry_run)


def _unknown(text: str) -> PoolSize:
    """Return the size of a pool of which nothing is known but why."""
    return PoolSize(desired=None, written=None, created=None, ready=None, messages=(text,))


def _place(pool: PoolTarget, target: ObjectReference) -> Address | NoAddress:
    """Return where a pool's buffer lives: where its pod template does; or why it can have none."""
    if pool.buffer_pod_template is None:
        return NoAddress(text=f"pool {pool.pool}: ownership buffer needs the name of a pod template", answered=True)
    namespace = pool.buffer_namespace or target.namespace
    if namespace is None:
        return NoAddress(text=f"pool {pool.pool}: ownership buffer needs a namespace for its buffer", answered=True)
    collection = f"/apis/{API_VERSION}/namespaces/{namespace}/capacitybuffers"
    return Address(collection=collection, name=pool.buffer or f"meltguard-{pool.pool}")


def _base(buffer: fields.Object, created: int | None) -> int | None:
    """Return the size that a buffer is counted from: the one it remembers, or what there is now.

    An empty buffer is not asked: what stood beside it may have grown or shrunk since.
    """
    known = fields.number(buffer, "metadata", "annotations", BASE)
    return created if known is None else known


def _conditions(buffer: fields.Object, pool: PoolTarget) -> tuple[frozenset[PoolCondition], tuple[str, ...]]:
    """Return what stands in the buffer's way."""
    conditions, messages = set(), []
    for row in fields.rows(buffer, "status", "conditions"):
        text = f"{fields.text(row, 'reason')}: {fields.text(row, 'message')}"
        condition = classify(text)
        if condition is not None:
            conditions.add(condition)
            messages.append(f"pool {pool.pool}: {text[:300]}")
    return frozenset(conditions), tuple(messages)
