"""What the operator must be allowed, verb by verb; the same as manifests/base/operator/rbac.yaml (a test holds both).

``meltguard doctor`` asks the API about each. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.adapters.targets import ObjectReference
from controller.operator.resources.parse import Pool
from controller.types import Ownership


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One verb on one resource.

    Attributes:
        group: API group; empty for the core.
        resource: Plural name, with its subresource after a slash.
        verb: The verb.
        namespace: Where; None for what has no namespace.
    """

    group: str
    resource: str
    verb: str
    namespace: str | None

    @property
    def text(self) -> str:
        """The right in words."""
        place = f" in {self.namespace}" if self.namespace is not None else ""
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}{place}"


OWN_RIGHTS: tuple[tuple[str, str, str], ...] = (
    ("meltguard.dev", "surgepolicies", "get list watch patch"),
    ("meltguard.dev", "gpupools", "list watch"),
    ("meltguard.dev", "surgepolicies/status gpupools/status", "patch"),
    ("", "configmaps", "get watch create update patch delete"),
    ("coordination.k8s.io", "leases", "get create update"),
    ("events.k8s.io", "events", "create"),
)
"""Groups, resources and verbs in the namespace of the policies, whatever they say."""
FEATURE_FLAG_RIGHTS: tuple[tuple[str, str, str], ...] = (("core.openfeature.dev", "featureflags", "get create update"),)
"""The same, where a policy writes a FeatureFlag."""
NODE_RIGHTS: tuple[tuple[str, str, str], ...] = (("", "nodes", "list watch"),)
"""The same for what has no namespace."""
SCALED_KINDS: dict[tuple[str, str], tuple[str, str]] = {
    ("apps", "Deployment"): ("deployments", "get list"),
    ("apps", "StatefulSet"): ("statefulsets", "get list"),
    ("cluster.x-k8s.io", "MachineDeployment"): ("machinedeployments", "get list patch"),
    ("cluster.x-k8s.io", "MachinePool"): ("machinepools", "get list patch"),
    ("karpenter.sh", "NodePool"): ("nodepools", "get list"),
}
"""Plural and verbs of what may be resized, by group and kind."""
APPS_SCALE_VERBS = "get patch"
"""Of a scale subresource that the inference workload may have: its replicas are read there, too."""
OTHER_SCALE_VERBS = "patch"


def own_rights(namespace: str, *, writes_feature_flags: bool) -> tuple[Right, ...]:
    """Return what is needed whatever the pools are.

    Args:
        namespace: Of the policies.
        writes_feature_flags: Whether a policy has a FeatureFlag.

    Returns:
        The rights.
    """
    rows = (*OWN_RIGHTS, *(FEATURE_FLAG_RIGHTS if writes_feature_flags else ()))
    return (*_expanded(rows, namespace), *_expanded(NODE_RIGHTS, None))


def pool_rights(pool: Pool) -> tuple[Right, ...]:
    """Return what one pool needs besides; nothing for pools of a cloud's own API, which has rights of its own.

    Args:
        pool: The pool.

    Returns:
        The rights.
    """
    found: list[Right] = []
    if isinstance(pool.target.target, ObjectReference):
        found += _scaled(pool.target.target)
    if pool.workload is not None:
        found += _scaled(pool.workload.reference)
    namespace = pool.identity.namespace
    if pool.spec.ownership is Ownership.BUFFER:
        found += _expanded((("autoscaling.x-k8s.io", "capacitybuffers", "get create patch"),), namespace)
    return tuple(dict.fromkeys(found))


def scale_verbs(group: str) -> str:
    """Return the verbs on the scale subresource of an API group's kinds."""
    return APPS_SCALE_VERBS if group == "apps" else OTHER_SCALE_VERBS


def _scaled(reference: ObjectReference) -> list[Right]:
    """Return what resizing an object needs; its scale alone where the kind is not one of ours."""
    group = reference.api_version.rpartition("/")[0]
    plural, verbs = SCALED_KINDS.get((group, reference.kind), (f"{reference.kind.lower()}s", "get"))
    namespace = None if reference.kind == "NodePool" else reference.namespace
    rows = [(group, plural, verbs), (group, f"{plural}/scale", scale_verbs(group))]
    if group == "apps":
        # Seen, so that a size that another autoscaler owns is left alone.
        rows.append(("autoscaling", "horizontalpodautoscalers", "list"))
    if reference.kind in ("MachineDeployment", "MachinePool"):
        rows.append((group, "machines", "list patch"))
    return _expanded(rows, namespace)


def _expanded(rows: Iterable[tuple[str, str, str]], namespace: str | None) -> list[Right]:
    """Return one right for each resource and verb of some rows."""
    return [
        Right(group=group, resource=resource, verb=verb, namespace=namespace)
        for group, resources, verbs in rows
        for resource in resources.split()
        for verb in verbs.split()
    ]
