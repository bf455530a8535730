"""The last decisions in a ConfigMap, for ``meltguard explain --live`` and for whoever has only kubectl.

Each entry is the plan without the planner's memory, with what became of it. The ring is bounded in entries and bytes;
the complete record is the audit log on standard output.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from controller.errors import ControllerError
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import MissingError
from controller.operator.kubernetes.resources import JsonObject, Resource
from controller.operator.publisher import Writing
from controller.planning.documents import encode_document, read_document
from controller.types import Alternative, Constraint, FlagInForce, InputAge, Plan, Reason, RegionVerdict

RING_SCHEMA = "meltguard.decisions/v1"
RING_KEY = "decisions.json"
MAX_ENTRIES = 50
MAX_RING_BYTES = 400_000
MAX_ROWS = 60
"""Rows kept of each list of one decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One action of a decision and what became of it."""

    kind: str
    subject: str
    change: str
    why: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RingEntry:
    """One decision.

    Attributes:
        decision_id: Its id.
        issued_at: When it was made.
        advisory: Whether it was only reported.
        regions: Verdicts.
        actions: What was done, with the results.
        inputs: Inputs that were not fresh, then the oldest fresh ones.
        num_inputs: How many inputs there were.
        constraints: Bounds that changed it.
        alternatives: Courses that were rejected.
        reasons: In words.
        would_change: What would change it.
        flags: Limits that it wanted.
    """

    decision_id: str
    issued_at: datetime
    advisory: bool
    regions: tuple[RegionVerdict, ...]
    actions: tuple[Done, ...]
    inputs: tuple[InputAge, ...]
    num_inputs: int
    constraints: tuple[Constraint, ...]
    alternatives: tuple[Alternative, ...]
    reasons: tuple[Reason, ...]
    would_change: tuple[str, ...]
    flags: tuple[FlagInForce, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingDocument:
    """``meltguard.decisions/v1``: the newest decision last."""

    schema: str
    decisions: tuple[RingEntry, ...]


def ring_entry(plan: Plan, actions: tuple[Done, ...], *, advisory: bool) -> RingEntry:
    """Return what to keep of a decision.

    Args:
        plan: The decision.
        actions: What was done.
        advisory: Whether it was only reported.

    Returns:
        The entry, with every list cut to a bound.
    """
    inputs = sorted(plan.inputs, key=lambda row: (row.freshness.value == "fresh", -(row.age_seconds or 0.0)))
    return RingEntry(
        decision_id=plan.decision_id,
        issued_at=plan.issued_at,
        advisory=advisory,
        regions=plan.regions[:MAX_ROWS],
        actions=actions[:MAX_ROWS],
        inputs=tuple(inputs[:MAX_ROWS]),
        num_inputs=len(plan.inputs),
        constraints=plan.constraints[:MAX_ROWS],
        alternatives=plan.alternatives[:MAX_ROWS],
        reasons=plan.reasons[:MAX_ROWS],
        would_change=plan.would_change[:MAX_ROWS],
        flags=(plan.flags or ())[:MAX_ROWS],
    )


class DecisionRing:
    """The ring of one policy.

    Args:
        client: The API.
        namespace: Of the policy.
        policy: Its name.
    """

    def __init__(self, client: KubernetesClient, *, namespace: str, policy: str) -> None:
        """Start empty; :meth:`load` takes over what another replica wrote."""
        self._client = client
        self._resource = Resource(api_version="v1", plural="configmaps", namespace=namespace)
        self._policy = policy
        self._texts: deque[bytes] = deque(maxlen=MAX_ENTRIES)
        self.name = ring_name(policy)

    def load(self) -> None:
        """Take over what stands there; what cannot be read is begun anew."""
        try:
            entry = self._client.get(self._resource, self.name)
            document = read_ring(entry)
        except (MissingError, ControllerError):
            return
        self._texts.extend(encode_document(row) for row in document.decisions)

    def add(self, entry: RingEntry) -> Writing:
        """Add a decision; return the writing of the ring."""
        self._texts.append(encode_document(entry))
        while len(self._texts) > 1 and sum(map(len, self._texts)) > MAX_RING_BYTES:
            self._texts.popleft()
        head = f'{{"schema":"{RING_SCHEMA}","decisions":['.encode()
        text = (head + b",".join(self._texts) + b"]}").decode()
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "labels": {"app.kubernetes.io/managed-by": "meltguard", "meltguard.dev/policy": self._policy},
            },
            "data": {RING_KEY: text},
        }

        def send() -> None:
            self._client.apply(self._resource, self.name, body, force=True)

        return Writing(key=("ring", self.name), content=entry.decision_id, send=send)


def ring_name(policy: str) -> str:
    """Return the name of a policy's ring."""
    return f"{policy}-meltguard-decisions"


def read_ring(entry: JsonObject) -> RingDocument:
    """Return the decisions that a ConfigMap holds.

    Args:
        entry: The ConfigMap.

    Returns:
        The document.

    Raises:
        ControllerError: If it is none of this version.
    """
    text = str((entry.get("data") or {}).get(RING_KEY, ""))
    document = read_document(text.encode(), RingDocument, place="decisions")
    if document.schema != RING_SCHEMA:
        raise ControllerError(f"decisions: schema {document.schema!r}, this version reads {RING_SCHEMA}")
    return document
