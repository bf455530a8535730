"""Flags as a FeatureFlag resource of the OpenFeature operator, for clusters whose flagd reads those.

The resource is a projection of the guarded store, never a store of its own: it is written after the store, and a
projection of an older revision never replaces a newer one.
"""

from __future__ import annotations

import json

from controller.adapters.ports import ApiAnswer, FlagReceipt, JsonObject, KubernetesApi, RenderedFlags, WriteOutcome

API = "core.openfeature.dev/v1beta1"
REVISION = "meltguard.dev/revision"


class FeatureFlagProjection:
    """Writes one FeatureFlag.

    Args:
        api: The Kubernetes API.
        namespace: Where the FeatureFlag lives.
        name: Its name; it should be the last source of a FeatureFlagSource, so that it wins over the team's own.
    """

    def __init__(self, api: KubernetesApi, *, namespace: str, name: str) -> None:
        """Remember the place; nothing is read yet."""
        self._api = api
        self._name = name
        self._collection = f"/apis/{API}/namespaces/{namespace}/featureflags"

    def publish(self, rendered: RenderedFlags) -> FlagReceipt:
        """Write a set that the store has accepted.

        Args:
            rendered: The set, rendered with explicit defaults.

        Returns:
            How it ended; CONFLICT when the resource holds a later revision or changed meanwhile.
        """
        if rendered.feature_flag_text is None:
            return self._receipt(WriteOutcome.REJECTED, "the set was rendered without explicit defaults")
        found = self._api.call("GET", f"{self._collection}/{self._name}")
        if not found.ok and found.status != 404:
            return self._receipt(WriteOutcome.TIME_OUT, found.message)
        metadata = found.body.get("metadata") if found.ok else None
        held = metadata if isinstance(metadata, dict) else {}
        revision = _revision(held)
        if revision > rendered.revision:
            return self._receipt(WriteOutcome.CONFLICT, f"holds the later revision {revision}", revision)
        document = json.loads(rendered.feature_flag_text)
        metadata = {"name": self._name, "annotations": {REVISION: str(rendered.revision)}}
        body: JsonObject = {
            "apiVersion": API,
            "kind": "FeatureFlag",
            "metadata": metadata,
            "spec": {"flagSpec": {"flags": document["flags"], "metadata": document["metadata"]}},
        }
        answer = self._api.call("POST", self._collection, body=body) if not found.ok else self._replace(body, held)
        if answer.ok:
            return self._receipt(WriteOutcome.DONE, "written", rendered.revision)
        if answer.status == 409:
            return self._receipt(WriteOutcome.CONFLICT, "changed meanwhile; publish again")
        if answer.status in (0, 429) or answer.status >= 500:
            return self._receipt(WriteOutcome.TIME_OUT, answer.message)
        return self._receipt(WriteOutcome.REJECTED, answer.message)

    def _replace(self, body: JsonObject, held: JsonObject) -> ApiAnswer:
        """Replace the whole resource, so that flags of an earlier set do not stay behind."""
        metadata = body["metadata"]
        assert isinstance(metadata, dict)
        kept = held.get("annotations")
        annotations = {**(kept if isinstance(kept, dict) else {}), **metadata["annotations"]}
        metadata |= {"annotations": annotations, "resourceVersion": held.get("resourceVersion")}
        if isinstance(held.get("labels"), dict):
            metadata["labels"] = held["labels"]
        return self._api.call("PUT", f"{self._collection}/{self._name}", body=body)

    def _receipt(self, outcome: WriteOutcome, text: str, revision: int | None = None) -> FlagReceipt:
        """Return a receipt that names the resource."""
        return FlagReceipt(outcome=outcome, text=f"FeatureFlag {self._name}: {text}", revision=revision)


def _revision(metadata: JsonObject) -> int:
    """Return the revision that the resource carries; 0 without one."""
    annotations = metadata.get("annotations")
    written = str(annotations.get(REVISION, "")) if isinstance(annotations, dict) else ""
    return int(written) if written.isdigit() else 0
