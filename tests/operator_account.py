"""The operator's service account: in a namespace of its own, with the rights of the manifest, which tests may cut.

Every operator under test works as this account, so that a right which the manifest lacks shows wherever it is needed.
"""

from __future__ import annotations

import base64
import copy
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ForbiddenError
from controller.operator.kubernetes.resources import Resource

if TYPE_CHECKING:
    from tests.operator_cluster import Cluster

MANIFEST = Path(__file__).parents[1] / "manifests" / "base" / "operator" / "rbac.yaml"
RBAC = "rbac.authorization.k8s.io/v1"
CLUSTER_ROLES = Resource(api_version=RBAC, plural="clusterroles")
CLUSTER_BINDINGS = Resource(api_version=RBAC, plural="clusterrolebindings")
NAME = "meltguard-operator"
Right = tuple[str, str]
"""A resource, with its subresource, and a verb."""
READY_SECONDS = 20.0


def manifest() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects of the manifest by kind and name."""
    return {(row["kind"], row["metadata"]["name"]): row for row in yaml.safe_load_all(MANIFEST.read_text())}


def granted() -> set[Right]:
    """Return every right of the manifest."""
    return {
        (resource, verb)
        for body in manifest().values()
        for rule in body.get("rules", [])
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


class ServiceAccount:
    """The operator's service account in one namespace.

    Args:
        cluster: The namespace.
        directory: Where kubeconfigs are written.
    """

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        """Create the account with all its rights, and wait until they hold."""
        self._cluster = cluster
        self._directory = directory
        self._documents = manifest()
        self._roles = cluster.resource(RBAC, "roles")
        accounts = cluster.resource("v1", "serviceaccounts")
        cluster.create(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}})
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200},
        }
        self._token = cluster.client.request("POST", accounts.path(NAME, "token"), body=request)["status"]["token"]
        self._grant([{"kind": "ServiceAccount", "name": NAME, "namespace": cluster.namespace}])
        self._wait()

    def kubeconfig_at(self, url: str) -> Path:
        """Return a kubeconfig for an address, with the account's token."""
        path = self._directory / f"account-{self._cluster.namespace}-{url.rpartition(':')[2]}"
        authority = base64.b64encode(self._cluster.control_plane.credentials.authority.read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": {"token": self._token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(json.dumps(document))
        return path

    def take_away(self, resource: str, verb: str) -> None:
        """Take one verb on one resource away."""
        for (kind, name), body in self._documents.items():
            if not any(resource in rule["resources"] and verb in rule["verbs"] for rule in body.get("rules", [])):
                continue
            rules = []
            for rule in body["rules"]:
                others = [entry for entry in rule["resources"] if entry != resource]
                rules += [{**rule, "resources": others}] if others else []
                if resource in rule["resources"]:
                    kept = [entry for entry in rule["verbs"] if entry != verb]
                    rules.append({**rule, "resources": [resource], "verbs": kept or ["none"]})
            body["rules"] = rules
            if kind == "Role":
                self._cluster.client.merge_patch(self._roles, name, {"rules": rules})
            else:
                self._cluster.client.merge_patch(CLUSTER_ROLES, self._own(name), {"rules": rules})
            return
        raise AssertionError(f"the manifest does not grant {verb} on {resource}")

    def give_back(self) -> None:
        """Give every right of the manifest back."""
        self._documents = manifest()
        for (kind, name), body in self._documents.items():
            if kind == "Role":
                self._cluster.client.merge_patch(self._roles, name, {"rules": body["rules"]})
            elif kind == "ClusterRole":
                self._cluster.client.merge_patch(CLUSTER_ROLES, self._own(name), {"rules": body["rules"]})

    def _grant(self, subjects: list[dict[str, str]]) -> None:
        """Create roles and bindings; cluster roles have no namespace, so each account has its own."""
        cluster = self._cluster
        for (kind, name), row in manifest().items():
            body = copy.deepcopy(row)
            if kind == "Role":
                cluster.create(self._roles, body)
            elif kind == "RoleBinding":
                cluster.create(cluster.resource(RBAC, "rolebindings"), {**body, "subjects": subjects})
            elif kind == "ClusterRole":
                body["metadata"]["name"] = self._own(name)
                cluster.client.create(CLUSTER_ROLES, body)
                binding = {
                    "apiVersion": RBAC,
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": self._own(name)},
                    "roleRef": {"apiGroup": RBAC.partition("/")[0], "kind": "ClusterRole", "name": self._own(name)},
                    "subjects": subjects,
                }
                cluster.client.create(CLUSTER_BINDINGS, binding)

    def _own(self, name: str) -> str:
        """Return the name of a cluster role of this account alone."""
        return f"{name}-{self._cluster.namespace}"

    def _wait(self) -> None:
        """Wait until the API has taken note of the rights."""
        client = KubernetesClient(open_access(self.kubeconfig_at(self._cluster.control_plane.url)))
        until = time.monotonic() + READY_SECONDS
        wanted = [self._cluster.pools, Resource(api_version="v1", plural="nodes")]
        try:
            while wanted:
                try:
                    client.list(wanted[-1])
                    wanted.pop()
                except ForbiddenError:
                    assert time.monotonic() < until, "the account's rights do not hold"
                    time.sleep(0.05)
        finally:
            client.close()
