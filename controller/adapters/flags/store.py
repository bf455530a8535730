"""The one guarded store of flags: a ConfigMap that pods may mount, written by compare-and-swap under an epoch.

Beside flagd's JSON (what a mounted file shows) the object holds our own record of it, so that a hand that edits the
flags is noticed and a new leader knows what is in force. Three guards stand before a write: the resourceVersion of the
read that it rests on, the lease epoch of its writer, and a revision that only grows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from controller.adapters.flags.validation import FlagSetError, validate_flags
from controller.adapters.ports import (
    ApiAnswer,
    FlagReceipt,
    JsonObject,
    KubernetesApi,
    RenderedFlags,
    StoredFlags,
    WriteOutcome,
)
from controller.errors import ControllerError
from controller.planning.documents import encode_document, read_document
from controller.types import FlagInForce, Sample

RECORD_KEY = "meltguard-record.json"
RECORD_SCHEMA = "meltguard.flags/v1"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """``meltguard.flags/v1``: what the ConfigMap's flags are, in our own words."""

    schema: str
    revision: int
    decision_id: str
    epoch: int
    written_at: datetime
    ends_at: datetime | None
    digest: str
    flags: tuple[FlagInForce, ...]


class ConfigMapFlagStore:
    """Flags in a ConfigMap.

    Args:
        api: The Kubernetes API.
        namespace: Where the ConfigMap lives.
        name: Its name.
        key: Which of its keys holds the flags; a mounted volume shows it as a file of this name.
    """

    def __init__(self, api: KubernetesApi, *, namespace: str, name: str, key: str = "flags.json") -> None:
        """Remember the place; nothing is read yet."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._key = key

    @property
    def path(self) -> str:
        """Path of the ConfigMap in the API."""
        return f"{self.collection_path}/{self._name}"

    @property
    def collection_path(self) -> str:
        """Path of the ConfigMaps of the namespace."""
        return f"/api/v1/namespaces/{self._namespace}/configmaps"

    @property
    def name(self) -> str:
        """Name of the ConfigMap."""
        return self._name

    def read(self, now: datetime) -> Sample[StoredFlags]:
        """Read the store.

        Args:
            now: Time of the read.

        Returns:
            What it holds; revision 0 where there is no ConfigMap yet; absent when the API does not answer.
        """
        answer = self._api.call("GET", self.path)
        if answer.status == 404:
            return Sample.fresh(_nothing(), now)
        return Sample.fresh(self.parse(answer.body), now) if answer.ok else Sample.absent()

    def parse(self, body: JsonObject) -> StoredFlags:
        """Return what a ConfigMap holds, as the API or a watch shows it."""
        data, metadata = body.get("data"), body.get("metadata")
        token = str(metadata.get("resourceVersion", "")) if isinstance(metadata, dict) else ""
        entries = data if isinstance(data, dict) else {}
        text = str(entries.get(self._key, ""))
        record = _read_record(str(entries.get(RECORD_KEY, "")))
        if record is None:
            rendered = RenderedFlags(text=text, revision=_revision_of(text), decision_id="", flags=())
            return StoredFlags(rendered=rendered, epoch=0, written_at=None, token=token, intact=False)
        rendered = RenderedFlags(
            text=text,
            revision=max(record.revision, _revision_of(text)),
            decision_id=record.decision_id,
            flags=record.flags,
            ends_at=record.ends_at,
        )
        intact = _digest(text) == record.digest
        return StoredFlags(
            rendered=rendered, epoch=record.epoch, written_at=record.written_at, token=token, intact=intact
        )

    def write(self, rendered: RenderedFlags, *, epoch: int, token: str, now: datetime) -> FlagReceipt:
        """Replace the flag set.

        Args:
            rendered: The set.
            epoch: The writer's lease epoch.
            token: ``StoredFlags.token`` of the read that the set was rendered for; empty before the first write.
            now: Stamps the write.

        Returns:
            How it ended; a write whose answer was lost is looked up before it counts as unknown.
        """
        try:
            validate_flags(rendered.text)
        except FlagSetError as error:
            return FlagReceipt(outcome=WriteOutcome.REJECTED, text=str(error))
        stored = self.read(now).value
        if stored is None:
            return FlagReceipt(
                outcome=WriteOutcome.TIME_OUT, text=f"flag store {self._name} does not answer; try again"
            )
        refusal = self._refusal(stored, rendered, epoch=epoch, token=token)
        if refusal is not None:
            return refusal
        answer = self._send(rendered, epoch=epoch, token=token, now=now)
        if answer.ok:
            return FlagReceipt(outcome=WriteOutcome.DONE, text="flags written", revision=rendered.revision)
        if answer.status == 409:
            return FlagReceipt(
                outcome=WriteOutcome.CONFLICT, text=f"flag store {self._name} changed meanwhile; read it again"
            )
        if answer.status != 0 and answer.status < 500 and answer.status != 429:
            return FlagReceipt(outcome=WriteOutcome.REJECTED, text=f"flag store {self._name}: {answer.message}")
        return self._look_up(rendered, answer, now)

    def _refusal(self, stored: StoredFlags, rendered: RenderedFlags, *, epoch: int, token: str) -> FlagReceipt | None:
        """Return why the write must not be sent; None when it may."""
        held = stored.rendered
        if _same(held, rendered) and stored.intact:
            return FlagReceipt(outcome=WriteOutcome.DONE, text="flags stand already", revision=held.revision)
        if stored.epoch > epoch:
            return FlagReceipt(
                outcome=WriteOutcome.FENCED,
                text=f"flag store {self._name} was written under epoch {stored.epoch}, ours is {epoch}; stop leading",
                revision=held.revision,
            )
        if stored.token != token or rendered.revision <= held.revision:
            return FlagReceipt(
                outcome=WriteOutcome.CONFLICT,
                text=f"flag store {self._name} holds revision {held.revision}; read it again and render above it",
                revision=held.revision,
            )
        return None

    def _send(self, rendered: RenderedFlags, *, epoch: int, token: str, now: datetime) -> ApiAnswer:
        """Send the write: a merge patch guarded by the resourceVersion, or a create where there is nothing yet."""
        record = _Record(
            schema=RECORD_SCHEMA,
            revision=rendered.revision,
            decision_id=rendered.decision_id,
            epoch=epoch,
            written_at=now,
            ends_at=rendered.ends_at,
            digest=_digest(rendered.text),
            flags=rendered.flags,
        )
        data = {self._key: rendered.text, RECORD_KEY: encode_document(record).decode()}
        metadata: JsonObject = {"name": self._name, "labels": {"app.kubernetes.io/managed-by": "meltguard"}}
        body: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        if not token:
            return self._api.call("POST", self.collection_path, body=body)
        metadata["resourceVersion"] = token
        return self._api.call("PATCH", self.path, body=body, content_type=MERGE_PATCH)

    def _look_up(self, rendered: RenderedFlags, answer: ApiAnswer, now: datetime) -> FlagReceipt:
        """Return what became of a write without an answer."""
        stored = self.read(now).value
        if stored is not None and _same(stored.rendered, rendered) and stored.intact:
            return FlagReceipt(outcome=WriteOutcome.DONE, text="flags written", revision=rendered.revision)
        return FlagReceipt(
            outcome=WriteOutcome.TIME_OUT,
            text=f"flag store {self._name}: {answer.message}; read it again",
            revision=None if stored is None else stored.rendered.revision,
        )


def _same(held: RenderedFlags, rendered: RenderedFlags) -> bool:
    """Return whether a set is stored already."""
    return (held.revision, held.decision_id) == (rendered.revision, rendered.decision_id) and held.text == rendered.text


def _nothing() -> StoredFlags:
    """Return what a store that was never written holds."""
    empty = RenderedFlags(text="", revision=0, decision_id="", flags=())
    return StoredFlags(rendered=empty, epoch=0, written_at=None, token="")


def _digest(text: str) -> str:
    """Return the fingerprint of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _revision_of(text: str) -> int:
    """Return the revision that consumers read in a text; 0 where there is none."""
    try:
        revision = json.loads(text)["metadata"]["revision"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return revision if isinstance(revision, int) and not isinstance(revision, bool) and revision > 0 else 0


def _read_record(text: str) -> _Record | None:
    """Return our record; None where it is missing or damaged."""
    try:
        record = read_document(text.encode(), _Record, place="flag store")
    except ControllerError:
        return None
    return record if record.schema == RECORD_SCHEMA else None
