"""Plays the cloud and the kubelets: nodes come a lead time after they were ordered, and go when they are given back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ConflictError, KubernetesError, MissingError
from controller.operator.kubernetes.resources import Resource
from tools.lab.keeper import Keeper
from tools.lab.node import LabNode, Neighbours, make_node
from tools.lab.objects import node as node_object
from tools.lab.settings import NAMESPACE, POOL, LabSettings

NODES = Resource(api_version="v1", plural="nodes")
GROUPS = Resource(api_version="apps/v1", plural="deployments", namespace=NAMESPACE)
TURN_SECONDS = 0.5


class NodeProvider:
    """Keeps as many nodes as the node group asks for.

    Args:
        client: The API.
        keeper: Runs the nodes' processes.
        directory: Where nodes keep their files.
        settings: Of the lab.
        neighbours: Where the nodes' processes find the others.
        on_change: Told the nodes that run whenever they change.
    """

    def __init__(
        self,
        client: KubernetesClient,
        keeper: Keeper,
        directory: Path,
        settings: LabSettings,
        *,
        neighbours: Neighbours,
        on_change: Callable[[tuple[LabNode, ...]], None],
    ) -> None:
        """Have no node yet."""
        self._client, self._keeper, self._directory = client, keeper, directory
        self._settings, self._neighbours, self._on_change = settings, neighbours, on_change
        self._nodes: list[LabNode] = []
        self._ordered_at: list[float] = []
        self._registered: dict[str, bool] = {}
        self._num_made = 0
        self._desired = settings.num_nodes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="provider", daemon=True)

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        """The nodes whose processes run."""
        return tuple(self._nodes)

    @property
    def desired(self) -> int:
        """How many nodes the group was last seen to ask for."""
        return self._desired

    @property
    def num_ready(self) -> int:
        """How many nodes are registered as ready."""
        return sum(self._registered.values())

    def start(self) -> None:
        """Begin; the first nodes need no lead time."""
        self._nodes += [self._make() for _ in range(self._settings.num_nodes)]
        self._on_change(self.nodes)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the keeper ends the processes."""
        self._stop.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while not self._stop.wait(TURN_SECONDS):
            for node in self._nodes:
                node.warm()
            try:
                group = self._client.get(GROUPS, POOL)
                self._follow(int(group["spec"]["replicas"]))
                for node in self._nodes:
                    self._register(node)
                self._report(group)
            except KubernetesError:
                # The API is away: nodes go on working, and orders are seen when it is back.
                continue

    def _follow(self, desired: int) -> None:
        """Order what is missing, start what is due, give back what is too much."""
        self._desired = desired
        now = time.monotonic()
        num_orders = max(desired - len(self._nodes), 0)
        self._ordered_at = (self._ordered_at + [now] * num_orders)[:num_orders]
        num_due = sum(now - at >= self._settings.boot_seconds for at in self._ordered_at)
        for _ in range(num_due):
            self._ordered_at.pop(0)
            self._nodes.append(self._make())
        surplus = self._nodes[desired:]
        del self._nodes[desired:]
        if num_due or surplus:
            self._on_change(self.nodes)
        for node in surplus:
            self._remove(node)

    def _make(self) -> LabNode:
        """Return a node whose processes are being started."""
        self._num_made += 1
        node = make_node(f"node-{self._num_made}", self._directory, self._settings, self._neighbours)
        self._keeper.keep(node.exporter)
        self._keeper.keep(node.server)
        return node

    def _register(self, node: LabNode) -> None:
        """Write the Node object as its kubelet would: ready from when both processes answer."""
        ready = node.is_ready()
        if self._registered.get(node.name) == ready or (not ready and node.name not in self._registered):
            return
        body = node_object(node.name, self._settings, ready=ready)
        try:
            self._client.create(NODES, body)
        except ConflictError:
            self._client.merge_patch(NODES, node.name, {"status": body["status"]}, subresource="status")
        self._registered[node.name] = ready

    def _remove(self, node: LabNode) -> None:
        """Delete the Node object, and end its processes."""
        self._registered.pop(node.name, None)
        try:
            self._client.delete(NODES, node.name)
        except MissingError:
            pass
        self._keeper.let_go(node.server.name)
        self._keeper.let_go(node.exporter.name)

    def _report(self, group: dict[str, object]) -> None:
        """Write how many nodes there are, as the cloud's controller would."""
        counts = {"replicas": len(self._nodes), "readyReplicas": self.num_ready}
        status = group.get("status")
        if isinstance(status, dict) and all(status.get(key, 0) == value for key, value in counts.items()):
            return
        self._client.merge_patch(GROUPS, POOL, {"status": counts}, subresource="status")
