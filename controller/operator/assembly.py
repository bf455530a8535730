"""Puts an operator together: connections, local copies, the lease, and the world of each policy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from controller.adapters.ports import NodeFacts
from controller.operator.entries import PolicyEntry, PoolEntry, node_facts, policy_entry, pool_entry
from controller.operator.kubernetes.access import Access
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.lease import LeaseElector, LeaseSettings
from controller.operator.kubernetes.list_watch import ListWatch
from controller.operator.kubernetes.resources import Resource
from controller.operator.operator import Operator, OperatorParts
from controller.operator.policy_inputs import PortsFactory
from controller.operator.publisher import Publisher
from controller.operator.resources.fields import API_VERSION
from controller.operator.settings import OperatorSettings
from controller.telemetry.metrics import ControllerMetrics

LEASE_CONNECT_SECONDS = 1.0
CONNECT_SHARE = 0.2
"""Share of the time limit of a write that is meant for the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Connections to the API, apart by purpose, so that no traffic delays a renewal and no watch a write.

    Attributes:
        main: For passes, statuses and Events.
        lease: For the lease only.
        watch: For the list-watches.
    """

    main: KubernetesClient
    lease: KubernetesClient
    watch: KubernetesClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Local copies of what the operator decides about."""

    policies: ListWatch[PolicyEntry]
    pools: ListWatch[PoolEntry]
    nodes: ListWatch[NodeFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What lies beyond the operator.

    Attributes:
        make_ports: Makes the ports of a policy.
        on_turn: Told the policies at every turn of the loop, in every replica.
        problems: What is wrong with what this replica streams, one sentence each.
    """

    make_ports: PortsFactory
    on_turn: Callable[[tuple[PolicyEntry, ...]], None] = lambda policies: None
    problems: Callable[[], tuple[str, ...]] = tuple


def connect(access: Access, settings: OperatorSettings) -> Connections:
    """Return the connections of an operator; nothing is sent yet.

    Args:
        access: Where the API is.
        settings: How long a renewal may take.

    Returns:
        The connections.
    """
    # A write that a leader begins in the last moment of its term must have ended when another may begin to lead.
    grace_seconds = settings.lease_duration_seconds - settings.lease_renew_deadline_seconds
    return Connections(
        main=KubernetesClient(
            access, connect_seconds=CONNECT_SHARE * grace_seconds, read_seconds=(1.0 - CONNECT_SHARE) * grace_seconds
        ),
        lease=KubernetesClient(
            access,
            connect_seconds=min(LEASE_CONNECT_SECONDS, settings.lease_retry_seconds),
            read_seconds=settings.lease_retry_seconds,
            max_connections=1,
        ),
        watch=KubernetesClient(access),
    )


def copies_of(connections: Connections, settings: OperatorSettings, wake: Callable[[], None]) -> Copies:
    """Return the local copies; nothing is read yet.

    Args:
        connections: How to reach the API.
        settings: Namespace and bounds.
        wake: Told when a policy or a pool has changed.

    Returns:
        The copies.
    """

    def resource(plural: str) -> Resource:
        return Resource(api_version=API_VERSION, plural=plural, namespace=settings.namespace)

    return Copies(
        policies=ListWatch(
            connections.watch,
            resource("surgepolicies"),
            policy_entry,
            settings=settings.watch,
            on_change=lambda name: wake(),
            is_news=_is_news,
        ),
        pools=ListWatch(
            connections.watch,
            resource("gpupools"),
            pool_entry,
            settings=settings.watch,
            on_change=lambda name: wake(),
            is_news=_is_news,
        ),
        nodes=ListWatch(
            connections.watch, Resource(api_version="v1", plural="nodes"), node_facts, settings=settings.watch
        ),
    )


def build_operator(
    access: Access,
    settings: OperatorSettings,
    make_world: Callable[[Connections, Copies], World],
    audit: Callable[[tuple[bytes, ...]], None],
    metrics: ControllerMetrics,
) -> Operator:
    """Return an operator; :meth:`Operator.start` starts it.

    Args:
        access: Where the API is.
        settings: How it runs.
        make_world: Makes what lies beyond the API of Kubernetes.
        audit: Takes audit lines.
        metrics: Its metrics.

    Returns:
        The operator.
    """
    connections = connect(access, settings)
    wake = threading.Event()
    copies = copies_of(connections, settings, wake.set)
    elector = None
    if not settings.advisory:
        elector = LeaseElector(
            connections.lease,
            LeaseSettings(
                namespace=settings.namespace,
                name=settings.lease_name,
                identity=settings.identity,
                duration_seconds=settings.lease_duration_seconds,
                renew_deadline_seconds=settings.lease_renew_deadline_seconds,
                retry_seconds=settings.lease_retry_seconds,
            ),
            on_change=lambda leading: wake.set(),
        )

    world = make_world(connections, copies)

    def fence() -> int:
        return 0 if elector is None else elector.fence()

    return Operator(
        OperatorParts(
            settings=settings,
            client=connections.main,
            elector=elector,
            policies=copies.policies,
            pools=copies.pools,
            nodes=copies.nodes,
            publisher=Publisher(fence),
            metrics=metrics,
            make_ports=world.make_ports,
            on_turn=world.on_turn,
            stream_problems=world.problems,
            audit=audit,
            wake=wake,
        )
    )


def _is_news(before: PolicyEntry | PoolEntry, after: PolicyEntry | PoolEntry) -> bool:
    """Return whether a change is one to act on; our own statuses are not."""
    if before.identity != after.identity:
        return True
    annotations = getattr(before, "annotations", None), getattr(after, "annotations", None)
    return annotations[0] != annotations[1] or getattr(before, "pool", None) != getattr(after, "pool", None)
