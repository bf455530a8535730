"""What survives the process: the planner's memory and what the operator has set out to do, in one ConfigMap a policy.

Every write is a compare-and-swap on the object's version and carries the writer's epoch, so that two leaders can never
both write, and a former one learns that it is one. Intents are stored before they are carried out: whoever leads next
knows what may or may not have happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.adapters.ports import Learned
from controller.errors import ControllerError
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import MissingError
from controller.operator.kubernetes.resources import JsonObject, Resource
from controller.planning.documents import (
    UnreadableDocumentError,
    encode_document,
    encode_state,
    read_document,
    restore_state,
)
from controller.types import Ownership, PlanMemory

EPOCH_ANNOTATION = "meltguard.dev/epoch"
WRITER_ANNOTATION = "meltguard.dev/writer"
MEMORY_KEY = "state.json"
NOTES_KEY = "operator.json"
NOTES_SCHEMA = "meltguard.operator/v1"
MAX_STATE_BYTES = 1_000_000
"""A ConfigMap holds 1 MiB; a thousand pools take about a third."""


class FencedError(ControllerError):
    """A newer leader has written; this replica must stop leading.

    Args:
        message: What was found.
        epoch: The newer epoch.
    """

    def __init__(self, message: str, *, epoch: int) -> None:
        """Keep the epoch beside the message."""
        super().__init__(message)
        self.epoch = epoch


class StateTooLargeError(ControllerError):
    """The state does not fit into a ConfigMap; the message says how large it is and what to do."""


class IntentProgress(StrEnum):
    """How far an intent is known to have come: PENDING may or may not have happened."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolIntent:
    """A change of size that was decided.

    Attributes:
        pool: The pool.
        from_nodes: Its size when it was decided.
        to_nodes: Its size afterwards.
        ownership: What is written.
        revision: The pool's token when it was decided; while it is the same, nobody has written, nor have we.
        progress: How far it came.
        text: What the adapter said.
    """

    pool: str
    from_nodes: int
    to_nodes: int
    ownership: Ownership
    revision: str | None = None
    progress: IntentProgress = IntentProgress.PENDING
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What the operator keeps beside the planner's memory (``meltguard.operator/v1``).

    Attributes:
        schema: Which version this is.
        decision_id: The last decision; empty before the first.
        decided_at: When it was made.
        intents: What it set out to do to pools.
        flags_pending: Whether it set out to write flags and is not known to have done so.
        learned: What the adapters learned.
        paused_since: Since when the policy is paused altogether; None while it is not.
        resets_seen: Breaker resets that were carried out, ``region=text``, so that none is carried out twice.
    """

    schema: str = NOTES_SCHEMA
    decision_id: str = ""
    decided_at: datetime | None = None
    intents: tuple[PoolIntent, ...] = ()
    flags_pending: bool = False
    learned: Learned = field(default_factory=Learned)
    paused_since: datetime | None = None
    resets_seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The state as it was read or written last.

    Attributes:
        memory: The planner's.
        notes: The operator's.
        epoch: Of its writer; 0 when nobody has written yet.
        version: For the next compare-and-swap; None when there is no object yet.
        problem: What could not be read, for the condition; empty when all could.
    """

    memory: PlanMemory
    notes: Notes
    epoch: int
    version: str | None
    problem: str = ""


class StateStore:
    """The ConfigMap of one policy.

    Args:
        client: The API.
        namespace: Of the policy.
        policy: Its name.
        identity: This replica, for people who look at the object.
    """

    def __init__(self, client: KubernetesClient, *, namespace: str, policy: str, identity: str) -> None:
        """Read nothing yet."""
        self._client = client
        self._resource = Resource(api_version="v1", plural="configmaps", namespace=namespace)
        self._policy = policy
        self._identity = identity
        self.name = f"{policy}-meltguard-state"

    def read(self) -> Stored:
        """Return what is stored; what cannot be read is replaced by a conservative start that says so."""
        try:
            entry = self._client.get(self._resource, self.name)
        except MissingError:
            return Stored(memory=PlanMemory(), notes=Notes(), epoch=0, version=None)
        data = entry.get("data") or {}
        restored = restore_state(str(data[MEMORY_KEY]).encode() if MEMORY_KEY in data else None)
        problem = restored.problem if MEMORY_KEY in data else "state: the ConfigMap holds none; every dwell begins anew"
        notes = Notes()
        try:
            notes = _read_notes(str(data.get(NOTES_KEY, "")))
        except UnreadableDocumentError as error:
            problem = problem or f"{error}; pending intents are forgotten and decided anew"
        return Stored(
            memory=restored.memory,
            notes=notes,
            epoch=_epoch(entry),
            version=str(entry["metadata"]["resourceVersion"]),
            problem=problem,
        )

    def write(self, memory: PlanMemory, notes: Notes, *, epoch: int, before: Stored) -> Stored:
        """Replace what is stored, if nobody else has since ``before``.

        Args:
            memory: The planner's.
            notes: The operator's.
            epoch: Ours.
            before: What was read or written last.

        Returns:
            What is stored now.

        Raises:
            FencedError: If ``before`` was written by a newer leader.
            StateTooLargeError: If it does not fit.
        """
        if before.epoch > epoch:
            raise FencedError(
                f"state {self.name} was written under epoch {before.epoch}, ours is {epoch}", epoch=before.epoch
            )
        data = {MEMORY_KEY: encode_state(memory).decode(), NOTES_KEY: encode_document(notes).decode()}
        size = sum(len(text) for text in data.values())
        if size > MAX_STATE_BYTES:
            raise StateTooLargeError(
                f"state {self.name}: {size} bytes, a ConfigMap holds {MAX_STATE_BYTES}; split the policy by region"
            )
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "labels": {"app.kubernetes.io/managed-by": "meltguard", "meltguard.dev/policy": self._policy},
                "annotations": {EPOCH_ANNOTATION: str(epoch), WRITER_ANNOTATION: self._identity},
            },
            "data": data,
        }
        if before.version is None:
            entry = self._client.create(self._resource, body)
        else:
            body["metadata"]["resourceVersion"] = before.version
            entry = self._client.replace(self._resource, self.name, body)
        return Stored(memory=memory, notes=notes, epoch=epoch, version=str(entry["metadata"]["resourceVersion"]))


def _read_notes(text: str) -> Notes:
    """Return the operator's notes.

    Raises:
        UnreadableDocumentError: If they are of another version or damaged.
    """
    notes = read_document(text.encode(), Notes, place="operator state")
    if notes.schema != NOTES_SCHEMA:
        raise UnreadableDocumentError(f"operator state: schema {notes.schema!r}, this version reads {NOTES_SCHEMA}")
    return notes


def _epoch(entry: JsonObject) -> int:
    """Return the epoch of an object's writer; 0 where it says none."""
    text = str((entry["metadata"].get("annotations") or {}).get(EPOCH_ANNOTATION, "0"))
    return int(text) if text.isdecimal() else 0
