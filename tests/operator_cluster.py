"""A namespace of a real API for tests of the operator: clients, custom resources, and objects in it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ConflictError, KubernetesError
from controller.operator.kubernetes.resources import Resource
from controller.operator.resources.fields import API_VERSION
from controller.operator.resources.manifests import definitions
from tests.operator_account import ServiceAccount
from tools.real_parts.control_plane import ControlPlane
from tools.real_parts.credentials import write_kubeconfig

DEFINITIONS = Resource(api_version="apiextensions.k8s.io/v1", plural="customresourcedefinitions")
NAMESPACES = Resource(api_version="v1", plural="namespaces")
ESTABLISH_SECONDS = 20.0


class Cluster:
    """One namespace, spoken to directly or through a proxy.

    Args:
        control_plane: The real API.
        namespace: The namespace.
        directory: Where kubeconfigs are written.
    """

    def __init__(self, control_plane: ControlPlane, namespace: str, directory: Path) -> None:
        """Open a direct client."""
        self.control_plane = control_plane
        self.namespace = namespace
        self._directory = directory
        self._account: ServiceAccount | None = None
        self.clients: list[KubernetesClient] = []
        # The test itself may wait longer than what it tests: the machine may be busy.
        self.client = self.client_at(control_plane.url, read_seconds=15.0)
        self.policies = self.resource(API_VERSION, "surgepolicies")
        self.pools = self.resource(API_VERSION, "gpupools")
        self.config_maps = self.resource("v1", "configmaps")
        self.leases = self.resource("coordination.k8s.io/v1", "leases")
        self.deployments = self.resource("apps/v1", "deployments")
        self.events = self.resource("events.k8s.io/v1", "events")

    def resource(self, api_version: str, plural: str) -> Resource:
        """Return a resource in the namespace."""
        return Resource(api_version=api_version, plural=plural, namespace=self.namespace)

    def kubeconfig_at(self, url: str) -> Path:
        """Return a kubeconfig for an address."""
        path = self._directory / f"kubeconfig-{url.rpartition(':')[2]}"
        return path if path.exists() else write_kubeconfig(path, url, self.control_plane.credentials)

    @property
    def account(self) -> ServiceAccount:
        """The operator's service account, made when it is first asked for."""
        if self._account is None:
            self._account = ServiceAccount(self, self._directory)
        return self._account

    def client_at(self, url: str, **settings: Any) -> KubernetesClient:
        """Return a client for an address, with short time limits unless told otherwise."""
        access = open_access(self.kubeconfig_at(url))
        client = KubernetesClient(access, **{"connect_seconds": 2.0, "read_seconds": 2.0, **settings})
        self.clients.append(client)
        return client

    def create(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object in the namespace."""
        body = {**body, "metadata": {**body["metadata"], "namespace": self.namespace}}
        return self.client.create(resource, body)

    def deployment(self, name: str, replicas: int) -> dict[str, Any]:
        """Create a Deployment; nothing runs its pods."""
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "none"}]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
        return self.create(self.deployments, body)

    def replicas(self, name: str) -> int:
        """Return the size that a Deployment was asked to be."""
        return int(self.client.get(self.deployments, name)["spec"]["replicas"])


@contextmanager
def cluster_of(control_plane: ControlPlane, directory: Path) -> Iterator[Cluster]:
    """Make a namespace of its own, with the custom resources installed.

    Args:
        control_plane: The real API.
        directory: Where kubeconfigs are written.

    Yields:
        The namespace.
    """
    cluster = Cluster(control_plane, f"t-{secrets.token_hex(4)}", directory)
    install_definitions(cluster.client)
    cluster.client.create(NAMESPACES, {"metadata": {"name": cluster.namespace}})
    try:
        yield cluster
    finally:
        # What was created stays: the next test has a namespace of its own, and the API ends with the run.
        for client in cluster.clients:
            client.close()


def install_definitions(client: KubernetesClient) -> None:
    """Install the custom resources and wait until the API serves them."""
    for definition in definitions().values():
        try:
            client.create(DEFINITIONS, definition)
        except ConflictError:
            continue
    give_up = time.monotonic() + ESTABLISH_SECONDS
    for plural in ("gpupools", "surgepolicies"):
        while True:
            try:
                client.list(Resource(api_version=API_VERSION, plural=plural))
                break
            except KubernetesError:
                assert time.monotonic() < give_up, f"{plural} was not served in time"
                time.sleep(0.1)
