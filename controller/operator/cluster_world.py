"""The real world of each policy: pools, flags and metrics through the adapters, and the streams of flags.

Flags are streamed by every replica, leader or not, so the streams are tied to the policies that there are and not to
passes. One process streams one flag set: that of the oldest policy that asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog

from controller.adapters.capacity.port import ClusterCapacity
from controller.adapters.demand_feed import DemandFeed, DemandSettings
from controller.adapters.flags.acknowledgement import Acknowledgements, AcknowledgementSettings
from controller.adapters.flags.feature_flag import FeatureFlagProjection
from controller.adapters.flags.feed import FeedSettings, FlagFeed, ObjectWatch
from controller.adapters.flags.port import ClusterFlags
from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.flags.sync_server import SyncServer, SyncSettings
from controller.adapters.observation.port import ClusterObservation, ObservationSettings
from controller.adapters.ports import JsonObject, Learned, NodeFacts
from controller.adapters.prometheus import PrometheusClient
from controller.errors import PermanentError
from controller.operator.assembly import Connections, Copies, World
from controller.operator.entries import PolicyEntry
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ForbiddenError
from controller.operator.kubernetes.list_watch import ListWatch
from controller.operator.policy_inputs import PolicyPorts
from controller.operator.resources.fields import duration_seconds
from controller.operator.resources.surge_policy import SurgePolicySpec
from controller.operator.settings import OperatorSettings
from controller.types import Sample
from exporters.metric_names import INFERENCE_REQUESTS

STREAM_SILENCE_SECONDS = 60.0
DEFAULT_STEP = "60s"
DEFAULT_FLAGS_SUFFIX = "-meltguard-flags"


class NodeCopies:
    """The nodes of a local copy, with the time at which they were known to be the truth.

    Args:
        copy: The local copy.
    """

    def __init__(self, copy: ListWatch[NodeFacts]) -> None:
        """Take the copy."""
        self._copy = copy

    def nodes(self, now: datetime) -> Sample[tuple[NodeFacts, ...]]:
        """Return the nodes; absent before the first list."""
        age_seconds = self._copy.age_seconds()
        if age_seconds is None:
            return Sample.absent()
        return Sample.fresh(self._copy.items(), now - timedelta(seconds=age_seconds))


class FlagStreams:
    """Streams the stored flags of one policy from this replica.

    Args:
        client: How to reach the store.
        server: The sync server; None where flags are not streamed.
        namespace: Of the policies.
    """

    def __init__(self, client: KubernetesClient, server: SyncServer | None, namespace: str) -> None:
        """Stream nothing yet."""
        self._client = client
        self._server = server
        self._namespace = namespace
        self._streamed = ""
        self._feed: FlagFeed | None = None

    def server_of(self, entry: PolicyEntry) -> SyncServer | None:
        """Return the server that streams a policy's flags; None when none does."""
        return self._server if entry.identity.name == self._streamed else None

    def follow(self, policies: tuple[PolicyEntry, ...]) -> None:
        """Stream the flags of the oldest policy that asks for it."""
        if self._server is None:
            return
        asking = [entry for entry in policies if entry.spec is not None and entry.spec.flags.sync is not None]
        chosen = min(asking, key=lambda entry: (entry.created_at, entry.identity.name), default=None)
        name = chosen.identity.name if chosen is not None else ""
        if name == self._streamed:
            return
        self.stop()
        self._streamed = name
        if chosen is not None:
            store = store_of(chosen, self._client, self._namespace)
            self._feed = FlagFeed(store, self._server, FeedSettings(), watch=object_watch(self._client))
            self._feed.start()
            structlog.get_logger().info("flags.streamed", policy=name)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the streams, one sentence each."""
        feed = self._feed
        if feed is None:
            return ()
        return tuple(text for text in (feed.problem, feed.watch_problem) if text is not None)

    def stop(self) -> None:
        """Stop streaming."""
        if self._feed is not None:
            self._feed.stop()
            self._feed = None


def cluster_world(
    settings: OperatorSettings,
    connections: Connections,
    copies: Copies,
    streams: FlagStreams,
) -> World:
    """Return the real world.

    Args:
        settings: Of the operator.
        connections: How to reach the API.
        copies: Local copies of it.
        streams: This replica's streams of flags.

    Returns:
        The world.
    """
    prometheus = PrometheusClient(settings.prometheus_url)

    def make_ports(entry: PolicyEntry, learned: Learned) -> PolicyPorts:
        assert entry.spec is not None
        client, spec = connections.main, entry.spec
        capacity = ClusterCapacity(client)
        prior_seconds = duration_seconds(spec.flag_propagation, place="spec.flagPropagation")
        acknowledgements = Acknowledgements(
            prometheus, AcknowledgementSettings(prior_seconds=prior_seconds), learned.propagation_seconds
        )
        projection = None
        if spec.flags.feature_flag is not None:
            name = spec.flags.feature_flag.name
            projection = FeatureFlagProjection(client, namespace=entry.identity.namespace, name=name)
        flags = ClusterFlags(
            store_of(entry, client, entry.identity.namespace),
            acknowledgements,
            sync_server=streams.server_of(entry),
            feature_flag=projection,
        )
        observation = ClusterObservation(
            prometheus,
            capacity,
            NodeCopies(copies.nodes),
            ObservationSettings(source=settings.signals),
            learned=learned,
        )
        feed = DemandFeed(settings.prometheus_url, demand_settings(spec))
        feed.start()
        return PolicyPorts(
            capacity=capacity,
            flags=flags,
            observation=observation,
            forecasts=feed,
            propagation_seconds=lambda: flags.learned_seconds,
            problems=lambda: feed.problems,
            close=lambda: threading.Thread(target=feed.stop, name="demand-feed-stop", daemon=True).start(),
        )

    return World(make_ports=make_ports, on_turn=streams.follow, problems=lambda: streams.problems)


def demand_settings(spec: SurgePolicySpec) -> DemandSettings:
    """Return where a policy's demand is counted; without a query, our own inference pods are asked.

    Args:
        spec: The policy.

    Returns:
        The settings.
    """
    requests, signups = spec.signals.requests, spec.signals.signups
    step = requests.step if requests is not None else signups.step if signups is not None else DEFAULT_STEP
    step_seconds = duration_seconds(step, place="spec.signals.requests.step")
    default = f'sum by (region, tier) (increase({INFERENCE_REQUESTS.name}{{attempt="first"}}[{round(step_seconds)}s]))'
    return DemandSettings(
        requests_query=default if requests is None else requests.query,
        signups_query=None if signups is None else signups.query,
        step_seconds=step_seconds,
        period_seconds=step_seconds,
    )


def start_sync_server(listen: str) -> tuple[SyncServer, int]:
    """Return a running sync server and its port."""
    server = SyncServer(SyncSettings(listen=listen))
    return server, server.start()


def store_of(entry: PolicyEntry, client: KubernetesClient, namespace: str) -> ConfigMapFlagStore:
    """Return the flag store of a policy; without a ConfigMap in its spec it has one of its own.

    Args:
        entry: The policy; its spec can be used.
        client: How to reach the store.
        namespace: Where it lies.

    Returns:
        The store.
    """
    assert entry.spec is not None
    place = entry.spec.flags.config_map
    if place is None:
        return ConfigMapFlagStore(client, namespace=namespace, name=entry.identity.name + DEFAULT_FLAGS_SUFFIX)
    return ConfigMapFlagStore(client, namespace=namespace, name=place.name, key=place.key)


def object_watch(client: KubernetesClient) -> ObjectWatch:
    """Return the adapters' way to watch objects; a right that is missing is a failure that stays."""

    def watch(path: str) -> Iterator[JsonObject]:
        try:
            events = client.stream(path, silence_seconds=STREAM_SILENCE_SECONDS)
        except ForbiddenError as error:
            raise PermanentError(str(error)) from error
        try:
            yield from events
        finally:
            events.close()

    return watch
