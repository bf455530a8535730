"""What an on-call person does from the command line: each order is one annotation, which kubectl can write as well."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controller.errors import UsageError
from controller.operator.human import APPROVE_PREFIX, BREAKER_PREFIX, LIMIT_PREFIX, MAX_HOURS, write_order
from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import MissingError
from controller.operator.kubernetes.resources import JsonObject, Resource
from controller.operator.resources.fields import API_VERSION, duration_seconds
from controller.operator.resources.parse import PAUSED_ANNOTATION, annotations_of
from controller.operator.serve import own_namespace
from controller.types import PausedDirection, Rung

ORDER_SCHEMA = "meltguard.order/v1"
KINDS = {"surge": "surgepolicies", "surgepolicy": "surgepolicies", "gpool": "gpupools", "gpupool": "gpupools"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An order that was given (``meltguard.order/v1``).

    Attributes:
        schema: Which version this is.
        object: What it was written on.
        annotation: Which annotation.
        before: Its value before; None when it was not there.
        value: Its value now; None when it was taken away.
        dry_run: Whether the API only checked it.
        kubectl: The same with kubectl alone.
    """

    schema: str
    object: str
    annotation: str
    before: str | None
    value: str | None
    dry_run: bool
    kubectl: str


class Steering:
    """Writes orders into a namespace.

    Args:
        kubeconfig: Where the API is; None to find out.
        namespace: Of the objects; None for the pod's own.
        dry_run: Let the API check orders without keeping them.
    """

    def __init__(self, kubeconfig: Path | None, namespace: str | None, *, dry_run: bool) -> None:
        """Open the connection."""
        self._client = KubernetesClient(open_access(kubeconfig))
        self._namespace = namespace or own_namespace()
        self._dry_run = dry_run

    def pause(self, target: str, direction: PausedDirection) -> Given:
        """Stop a policy or pool from moving in a direction."""
        return self._annotate(target, PAUSED_ANNOTATION, direction.value)

    def resume(self, target: str) -> Given:
        """End a pause that an annotation asks for."""
        return self._annotate(target, PAUSED_ANNOTATION, None)

    def reset_breaker(self, policy: str, region: str, by: str | None) -> Given:
        """Close a region's breaker.

        Args:
            policy: The policy.
            region: The region.
            by: Who; None for the user.

        Returns:
            The order.
        """
        value = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} by={author(by)}"
        return self._annotate(f"surge/{policy}", self._for_region(policy, BREAKER_PREFIX, region), value)

    def approve(self, policy: str, region: str, rung: int, hold_for: str, by: str | None) -> Given:
        """Give leave to enter a rung that asks for it.

        Args:
            policy: The policy.
            region: The region.
            rung: Up to which rung.
            hold_for: For how long, such as ``30m``.
            by: Who; None for the user.

        Returns:
            The order.
        """
        value = write_order(rung=check_rung(rung), until=end_of(hold_for), by=author(by))
        return self._annotate(f"surge/{policy}", self._for_region(policy, APPROVE_PREFIX, region), value)

    def limit(self, policy: str, region: str, rung: int, hold_for: str, *, reason: str, by: str | None) -> Given:
        """Set a region's rung by hand.

        Args:
            policy: The policy.
            region: The region.
            rung: The rung; 0 lifts every limit.
            hold_for: For how long, such as ``30m``.
            reason: Why; people are shown it.
            by: Who; None for the user.

        Returns:
            The order.

        Raises:
            UsageError: If there is no reason.
        """
        if not reason.strip():
            raise UsageError("--reason: say why; whoever is on call next will ask")
        value = write_order(rung=check_rung(rung), until=end_of(hold_for), by=author(by), reason=reason)
        return self._annotate(f"surge/{policy}", self._for_region(policy, LIMIT_PREFIX, region), value)

    def release(self, policy: str, region: str) -> Given:
        """Take a rung that was set by hand away; the planner decides again."""
        return self._annotate(f"surge/{policy}", self._for_region(policy, LIMIT_PREFIX, region), None)

    def _for_region(self, policy: str, prefix: str, region: str) -> str:
        """Return the annotation of a region that the policy has.

        Raises:
            UsageError: If the policy has no such region.
        """
        entry = self._read(self._resource("surgepolicies"), "surge", policy)
        known = [str(row.get("name")) for row in (entry.get("spec") or {}).get("regions") or []]
        if region not in known:
            raise UsageError(f"--region: policy {policy} has no region {region!r}; it has {', '.join(known)}")
        return prefix + region

    def _annotate(self, target: str, annotation: str, value: str | None) -> Given:
        """Write one annotation, or take it away."""
        short, _, name = target.rpartition("/")
        plural = KINDS.get(short or "surge")
        if plural is None or not name:
            raise UsageError(f"{target!r}: name surge/POLICY or gpool/POOL")
        resource = self._resource(plural)
        before = annotations_of(self._read(resource, short or "surge", name)).get(annotation)
        patch = {"metadata": {"annotations": {annotation: value}}}
        self._client.merge_patch(resource, name, patch, dry_run=self._dry_run)
        written = f"{annotation}-" if value is None else f"{annotation}='{value}' --overwrite"
        kind = "surge" if plural == "surgepolicies" else "gpool"
        return Given(
            schema=ORDER_SCHEMA,
            object=f"{kind}/{name}",
            annotation=annotation,
            before=before,
            value=value,
            dry_run=self._dry_run,
            kubectl=f"kubectl -n {self._namespace} annotate {kind} {name} {written}",
        )

    def _read(self, resource: Resource, short: str, name: str) -> JsonObject:
        """Return an object.

        Raises:
            UsageError: If there is none of that name.
        """
        try:
            return self._client.get(resource, name)
        except MissingError as error:
            raise UsageError(f"{short}/{name}: not found in namespace {self._namespace}; give --namespace") from error

    def _resource(self, plural: str) -> Resource:
        """Return one of our resources."""
        return Resource(api_version=API_VERSION, plural=plural, namespace=self._namespace)


def text_of(given: Given) -> str:
    """Return an order as a person reads it."""
    verb = "would set" if given.dry_run else "set"
    if given.value is None:
        verb = "would remove" if given.dry_run else "removed"
        return f"{given.object}: {verb} {given.annotation}\nthe same with kubectl: {given.kubectl}"
    return f"{given.object}: {verb} {given.annotation} to {given.value}\nthe same with kubectl: {given.kubectl}"


def author(by: str | None) -> str:
    """Return who gives an order: as said, else the user of this machine."""
    if by:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def end_of(hold_for: str) -> datetime:
    """Return when an order ends.

    Raises:
        UsageError: If it would hold for no time or too long.
    """
    seconds = duration_seconds(hold_for, place="--for")
    if not 0.0 < seconds <= MAX_HOURS * 3600.0:
        raise UsageError(f"--for: {hold_for} is not between 1s and {MAX_HOURS}h; an order ends by itself")
    return datetime.now(UTC) + timedelta(seconds=seconds)


def check_rung(rung: int) -> int:
    """Return a rung that the ladder may have.

    Raises:
        UsageError: If there is no such rung.
    """
    if rung not in {int(known) for known in Rung}:
        raise UsageError(f"--rung: {rung} is no rung; the ladder goes from 0 (observe) to 7 (paid impact)")
    return rung
