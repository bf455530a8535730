"""Sets the stage: starts every part of the lab, and ends them all."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.operator.kubernetes.access import open_access
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ConflictError, KubernetesError
from controller.operator.kubernetes.resources import Resource
from controller.operator.resources.fields import API_VERSION
from controller.operator.resources.manifests import definitions
from tools.lab import objects
from tools.lab.front import Front
from tools.lab.keeper import Keeper, wait_until
from tools.lab.node import LabNode, Neighbours
from tools.lab.provider import GROUPS, NodeProvider
from tools.lab.settings import NAMESPACE, POOL, REGION, LabSettings
from tools.lab.watch import Watch, status_of
from tools.real_parts.control_plane import ControlPlane, running_control_plane
from tools.real_parts.nvml_stub import build_stub
from tools.real_parts.processes import LOOPBACK, ChildProcess, free_port
from tools.real_parts.servers import PrometheusServer, running_alertmanager, running_prometheus, running_redis

RULES = Path(__file__).resolve().parents[2] / "manifests" / "monitoring" / "rules"
READY_SECONDS = 90.0
DEFINITIONS = Resource(api_version="apiextensions.k8s.io/v1", plural="customresourcedefinitions")
NAMESPACES = Resource(api_version="v1", plural="namespaces")
SILENT = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The lab, ready for the play.

    Attributes:
        settings: Of the lab.
        directory: Where logs, reports and the audit log lie.
        audit: The audit log.
        control_plane: The API.
        prometheus: The metrics.
        alertmanager_url: Where alerts are shown.
        operator_address: ``host:port`` of metrics, probes and status page.
        client: Speaks to the API.
        keeper: Runs everything.
        provider: Makes nodes.
        front: Where users ask.
        watch: Sees what happens.
        stop: Set when the lab has to end early.
    """

    settings: LabSettings
    directory: Path
    audit: Path
    control_plane: ControlPlane
    prometheus: PrometheusServer
    alertmanager_url: str
    operator_address: str
    client: KubernetesClient
    keeper: Keeper
    provider: NodeProvider
    front: Front
    watch: Watch
    stop: threading.Event


@contextmanager
def running_stage(settings: LabSettings, directory: Path, stop: threading.Event) -> Iterator[Stage]:
    """Start the lab and end it.

    Args:
        settings: Of the lab.
        directory: An empty folder.
        stop: Set from outside when it has to end early.

    Yields:
        The lab, every node ready and the operator deciding.

    Raises:
        MissingPartError: If a program is missing.
        RealPartError: If a part does not start.
    """
    with ExitStack() as stack:
        control_plane, prometheus, alertmanager, redis = _start_servers(stack, directory)
        client = KubernetesClient(open_access(control_plane.kubeconfig), connect_seconds=2.0, read_seconds=5.0)
        stack.callback(client.close)
        _create_objects(client, settings, stop)
        keeper, front = Keeper(), Front()
        stack.callback(keeper.stop)
        for process in (control_plane.etcd, control_plane.api_server, prometheus.process, *alertmanager[1:], redis[1]):
            keeper.adopt(process)
        front.start()
        stack.callback(front.stop)
        operator_address, sync_address = (f"{LOOPBACK}:{free_port()}" for _ in range(2))
        audit = directory / "audit.jsonl"
        audit.touch()

        def follow_nodes(nodes: tuple[LabNode, ...]) -> None:
            front.serve_from(*(node.server_address for node in nodes))
            _scrape(prometheus, nodes, operator_address)

        provider = NodeProvider(
            client,
            keeper,
            directory,
            settings,
            neighbours=Neighbours(
                library=build_stub(directory / "driver"), redis_url=redis[0], sync_address=sync_address
            ),
            on_change=follow_nodes,
        )
        keeper.start()
        provider.start()
        stack.callback(provider.stop)
        keeper.keep(_operator(settings, directory, control_plane, prometheus, (operator_address, sync_address)))
        watch = Watch(provider, operator_address)
        wait_until(lambda: provider.num_ready >= settings.num_nodes, seconds=READY_SECONDS, what="a node", stop=stop)
        wait_until(
            lambda: status_of(operator_address)[0] is not None,
            seconds=READY_SECONDS,
            what="the operator's first decision",
            stop=stop,
        )
        yield Stage(
            settings=settings,
            directory=directory,
            audit=audit,
            control_plane=control_plane,
            prometheus=prometheus,
            alertmanager_url=alertmanager[0],
            operator_address=operator_address,
            client=client,
            keeper=keeper,
            provider=provider,
            front=front,
            watch=watch,
            stop=stop,
        )


def _start_servers(
    stack: ExitStack, directory: Path
) -> tuple[ControlPlane, PrometheusServer, tuple[str, ChildProcess], tuple[str, ChildProcess]]:
    """Start what is not ours: the API, Prometheus, Alertmanager and Redis; the last two as address and process."""
    folders = {name: directory / name for name in ("control-plane", "prometheus", "alertmanager", "redis")}
    for folder in folders.values():
        folder.mkdir()
    control_plane = stack.enter_context(running_control_plane(folders["control-plane"]))
    alertmanager = stack.enter_context(
        running_alertmanager(folders["alertmanager"], webhook_url="", configuration=SILENT)
    )
    prometheus = stack.enter_context(
        running_prometheus(
            folders["prometheus"],
            rule_files=[RULES / "*.yaml"],
            alertmanager_address=alertmanager.address,
            interval_seconds=1.0,
            honor_labels=True,
        )
    )
    redis = stack.enter_context(running_redis(folders["redis"]))
    return control_plane, prometheus, (alertmanager.url, alertmanager.process), (redis.url, redis.process)


def _create_objects(client: KubernetesClient, settings: LabSettings, stop: threading.Event) -> None:
    """Install the custom resources and create the lab's objects."""
    for definition in definitions().values():
        try:
            client.create(DEFINITIONS, definition)
        except ConflictError:
            continue
    pools = Resource(api_version=API_VERSION, plural="gpupools", namespace=NAMESPACE)
    policies = Resource(api_version=API_VERSION, plural="surgepolicies", namespace=NAMESPACE)
    client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})

    def are_served() -> bool:
        try:
            client.list(pools)
            client.list(policies)
        except KubernetesError:
            return False
        return True

    wait_until(are_served, seconds=30.0, what="the custom resources", stop=stop)
    client.create(GROUPS, objects.node_group(settings))
    client.create(pools, objects.pool(settings))
    client.create(policies, objects.policy(settings))


def _operator(
    settings: LabSettings,
    directory: Path,
    control_plane: ControlPlane,
    prometheus: PrometheusServer,
    addresses: tuple[str, str],
) -> ChildProcess:
    """Return the operator's process; its audit log goes to a file of its own."""
    command = [sys.executable, "-m", "controller", "operator", f"--kubeconfig={control_plane.kubeconfig}"]
    command += [f"--namespace={NAMESPACE}", f"--prometheus={prometheus.url}", "--period=1s", "--identity=lab"]
    command += [f"--listen={addresses[0]}", f"--sync-listen={addresses[1]}"]
    command += [] if settings.with_meltguard else ["--advisory"]
    return ChildProcess("operator", command, directory, output=directory / "audit.jsonl")


def _scrape(prometheus: PrometheusServer, nodes: tuple[LabNode, ...], operator_address: str) -> None:
    """Tell Prometheus what to scrape, with the labels that our monitors put on."""
    groups: dict[tuple[str, ...], dict[str, str]] = {(operator_address,): {"job": "meltguard-operator"}}
    for node in nodes:
        place = {"pool": POOL, "region": REGION, "node": node.name}
        groups[(node.exporter_address,)] = {"job": "meltguard-exporter", **place}
        groups[(node.server_address,)] = {"job": "meltguard-inference", **place}
    prometheus.scrape_groups(groups)
