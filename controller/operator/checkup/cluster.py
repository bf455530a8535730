"""Checks against the Kubernetes API: its clock and version, our definitions, rights, and the objects themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.operator.checkup.findings import Finding, failed, good, unknown, warning
from controller.operator.entries import PolicyEntry, PoolEntry, assign, policy_entry, pool_entry
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ForbiddenError, KubernetesError, MissingError
from controller.operator.kubernetes.resources import Resource
from controller.operator.resources.fields import API_VERSION
from controller.operator.resources.manifests import definitions
from controller.operator.rights import Right, own_rights, pool_rights
from controller.operator.settings import OperatorSettings

DEFINITIONS = Resource(api_version="apiextensions.k8s.io/v1", plural="customresourcedefinitions")
MAX_SKEW_SECONDS = 2.0
"""A term of the lease ends five seconds before another may begin; clocks this far apart leave most of that."""
OLDEST_MINOR = 20
RULES_MINOR = 25
"""From this version on the API itself enforces the rules that a schema cannot say."""
MAX_OBJECTS = 500
LEASES = "coordination.k8s.io/v1"


def check_api(client: KubernetesClient, now: datetime) -> tuple[Finding, ...]:
    """Check that the API answers, its version and its clock.

    Args:
        client: How to reach it.
        now: The present by our own clock.

    Returns:
        The findings; a single one when it does not answer.
    """
    try:
        version, told = client.version()
    except KubernetesError as error:
        return (failed("api", client.url, str(error), "check --kubeconfig and the network between"),)
    return (_version(version), _skew(told, now))


def _version(version: Mapping[str, Any]) -> Finding:
    """Return what an API server's version means."""
    text = str(version.get("gitVersion", "unknown"))
    digits = "".join(letter for letter in str(version.get("minor", "")) if letter.isdigit())
    if not digits:
        return unknown("version", "api", f"the API calls itself {text}", "look at `kubectl version`")
    if int(digits) < OLDEST_MINOR:
        return failed("version", "api", f"{text} is older than 1.{OLDEST_MINOR}", "upgrade the cluster")
    if int(digits) < RULES_MINOR:
        return warning(
            "version",
            "api",
            f"{text} does not evaluate the rules in our definitions; the operator does, and reports in conditions",
            f"read conditions after every edit, or upgrade to 1.{RULES_MINOR}",
        )
    return good("version", "api", text)


def _skew(told: datetime | None, now: datetime) -> Finding:
    """Return how far apart the clocks are; the API tells whole seconds."""
    if told is None:
        return unknown("clock", "api", "the API's answer has no Date", "compare the clocks by hand: `date -u`")
    skew_seconds = (now - told).total_seconds()
    # The header is cut to whole seconds, so up to one of them is no skew.
    beyond_seconds = max(-skew_seconds, skew_seconds - 1.0, 0.0)
    if beyond_seconds > MAX_SKEW_SECONDS:
        text = f"this machine and the API differ by about {skew_seconds:.0f} s"
        return failed("clock", "api", text, "run NTP (chrony) on both; limits and leases end by the clock")
    return good("clock", "api", f"this machine and the API agree within {max(beyond_seconds, 1.0):.0f} s")


def check_definitions(client: KubernetesClient) -> tuple[Finding, ...]:
    """Check that the API serves the fields that this version writes and reads."""
    findings = []
    for definition in definitions().values():
        name = definition["metadata"]["name"]
        try:
            served = client.get(DEFINITIONS, name)
        except MissingError:
            findings.append(failed("definition", name, "not installed", "kubectl apply -k manifests/crds"))
            continue
        except KubernetesError as error:
            findings.append(unknown("definition", name, str(error), "run doctor with an account that may read it"))
            continue
        missing = sorted(_paths(_schema(definition)) - _paths(_schema(served)))
        if missing:
            text = f"the cluster's definition lacks {len(missing)} fields of this version, such as {missing[0]}"
            findings.append(failed("definition", name, text, "kubectl apply -k manifests/crds"))
        else:
            findings.append(good("definition", name, "installed, and of this version"))
    return tuple(findings)


def _schema(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a definition's version of ours; empty without one."""
    wanted = API_VERSION.rpartition("/")[2]
    for version in definition["spec"]["versions"]:
        if version["name"] == wanted:
            schema: Mapping[str, Any] = (version.get("schema") or {}).get("openAPIV3Schema") or {}
            return schema
    return {}


def _paths(schema: Mapping[str, Any], at: str = "") -> set[str]:
    """Return the paths of every field of a schema."""
    found: set[str] = set()
    for name, inner in (schema.get("properties") or {}).items():
        found |= {f"{at}{name}"} | _paths(inner, f"{at}{name}.")
    items = schema.get("items")
    return found | (_paths(items, f"{at}[].") if isinstance(items, dict) else set())


def read_objects(
    client: KubernetesClient, namespace: str
) -> tuple[tuple[PolicyEntry, ...], tuple[PoolEntry, ...], tuple[Finding, ...]]:
    """Read policies and pools, and check that the operator can use them.

    Args:
        client: How to reach the API.
        namespace: Where they lie.

    Returns:
        The policies, the pools, and the findings.
    """

    def rows(plural: str) -> list[Any]:
        resource = Resource(api_version=API_VERSION, plural=plural, namespace=namespace)
        return list(client.list(resource, limit=MAX_OBJECTS)["items"])

    try:
        policies = tuple(policy_entry(row) for row in rows("surgepolicies"))
        pools = tuple(pool_entry(row) for row in rows("gpupools"))
    except KubernetesError as error:
        return (), (), (unknown("objects", namespace, str(error), "run doctor with an account that may list them"),)
    findings: list[Finding] = []
    for pool in pools:
        name = f"gpupool/{pool.identity.name}"
        used = pool.pool is not None
        findings.append(
            good("objects", name, "can be used") if used else failed("objects", name, pool.problem, "edit it")
        )
    for assignment in assign(policies, pools):
        name = f"surgepolicy/{assignment.entry.identity.name}"
        if assignment.problem is not None:
            findings.append(failed("objects", name, assignment.problem.text, "edit it"))
        elif not assignment.pools:
            cure = "create GPUPools whose region is one of its regions; `meltguard init` writes them"
            findings.append(failed("objects", name, "no pool belongs to its regions", cure))
        else:
            findings.append(good("objects", name, f"can be used, with {len(assignment.pools)} pools"))
    if not policies:
        cure = "`meltguard init` writes one to begin with"
        findings.append(failed("objects", namespace, "no SurgePolicy", cure))
    return policies, pools, tuple(findings)


def check_leader(client: KubernetesClient, namespace: str, now: datetime) -> Finding:
    """Check that an operator leads.

    Args:
        client: How to reach the API.
        namespace: Of the Lease.
        now: The present.

    Returns:
        The finding.
    """
    name = OperatorSettings(namespace=namespace, identity="").lease_name
    cure = "see `kubectl get pods` and the logs of the operator; an advisory one needs no lease and leads nobody"
    try:
        spec = client.get(Resource(api_version=LEASES, plural="leases", namespace=namespace), name)["spec"]
    except MissingError:
        return warning("leader", name, "no operator has ever led here", cure)
    except KubernetesError as error:
        return unknown("leader", name, str(error), "run doctor with an account that may read leases")
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        return warning("leader", name, "nobody leads now", cure)
    age_seconds = (now - datetime.fromisoformat(renewed)).total_seconds()
    if age_seconds > float(spec.get("leaseDurationSeconds") or 0) + MAX_SKEW_SECONDS:
        return failed("leader", name, f"{holder} led last, {age_seconds:.0f} s ago", cure)
    return good("leader", name, f"{holder} leads")


def check_rights(
    client: KubernetesClient,
    namespace: str,
    policies: tuple[PolicyEntry, ...],
    pools: tuple[PoolEntry, ...],
    *,
    account: str | None,
) -> tuple[Finding, ...]:
    """Ask the API about every verb that the operator needs.

    Args:
        client: How to reach the API.
        namespace: Of the policies.
        policies: The policies.
        pools: The pools.
        account: Service account of the operator in that namespace; None asks about ourselves.

    Returns:
        One finding for all that is allowed, and one for each verb that is not.
    """
    writes_flags = any(entry.spec is not None and entry.spec.flags.feature_flag is not None for entry in policies)
    wanted = list(own_rights(namespace, writes_feature_flags=writes_flags))
    for entry in pools:
        wanted += pool_rights(entry.pool) if entry.pool is not None else ()
    who = "this account" if account is None else f"system:serviceaccount:{namespace}:{account}"
    denied: list[Finding] = []
    rights = tuple(dict.fromkeys(wanted))
    for right in rights:
        try:
            allowed = _is_allowed(client, right, None if account is None else who)
        except ForbiddenError as error:
            cure = "run doctor as an administrator, or with --self inside the operator's pod"
            return (unknown("rights", who, str(error), cure),)
        except KubernetesError as error:
            return (unknown("rights", who, str(error), "try again when the API answers"),)
        if not allowed:
            cure = "apply manifests/base/operator/rbac.yaml, and bind its roles where the pools lie"
            denied.append(failed("rights", who, f"may not {right.text}", cure))
    return tuple(denied) or (good("rights", who, f"has all {len(rights)} verbs that these objects need"),)


def _is_allowed(client: KubernetesClient, right: Right, user: str | None) -> bool:
    """Return whether somebody has a right; None asks about ourselves."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "verb": right.verb,
        **({"namespace": right.namespace} if right.namespace is not None else {}),
    }
    spec: dict[str, object] = {"resourceAttributes": attributes}
    plural = "selfsubjectaccessreviews"
    if user is not None:
        plural = "subjectaccessreviews"
        # Rights may be bound to the groups that every service account belongs to.
        spec |= {"user": user, "groups": ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]}
    review = client.create(Resource(api_version="authorization.k8s.io/v1", plural=plural), {"spec": spec})
    return bool(review["status"].get("allowed"))
