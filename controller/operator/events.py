"""Kubernetes Events: what was done and why, where ``kubectl describe`` shows it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.resources import JsonObject, Resource
from controller.operator.publisher import MAX_EVENT_TRIES, Writing
from controller.operator.resources.fields import API_VERSION
from controller.operator.resources.parse import Identity

EVENTS_API = "events.k8s.io/v1"
CONTROLLER = "meltguard.dev/operator"
MAX_NOTE = 1000
"""The API takes 1024 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One Event.

    Attributes:
        kind: GPUPool or SurgePolicy.
        about: Which object.
        reason: One word in camel case for machines.
        action: What was done or tried.
        text: A sentence for people.
        is_warning: Whether somebody should look.
        decision_id: The decision behind it.
    """

    kind: str
    about: Identity
    reason: str
    action: str
    text: str
    is_warning: bool = False
    decision_id: str = ""


def event_writing(client: KubernetesClient, note: Note, *, identity: str, now: datetime) -> Writing:
    """Return the writing of an Event; equal notes of one decision are one Event.

    Args:
        client: The API.
        note: What to say.
        identity: This replica.
        now: When it happened.

    Returns:
        The writing; it is given up after a few tries.
    """
    seed = f"{note.about.uid}{note.reason}{note.text}{note.decision_id or now.isoformat()}"
    name = f"{note.about.name[:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"
    body: JsonObject = {
        "apiVersion": EVENTS_API,
        "kind": "Event",
        "metadata": {"name": name, "namespace": note.about.namespace},
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": identity[:128],
        "action": note.action[:128],
        "reason": note.reason,
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": note.kind,
            "name": note.about.name,
            "namespace": note.about.namespace,
            "uid": note.about.uid,
        },
        "note": (f"[{note.decision_id}] {note.text}" if note.decision_id else note.text)[:MAX_NOTE],
        "type": "Warning" if note.is_warning else "Normal",
    }
    resource = Resource(api_version=EVENTS_API, plural="events", namespace=note.about.namespace)

    def send() -> None:
        client.create(resource, body)

    return Writing(key=("event", name), content=name, send=send, max_tries=MAX_EVENT_TRIES)
