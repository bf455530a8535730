"""What the operator's loop asks of the world: node pools, flags, observations. Protocols and their values, no I/O.

The loop calls, in this order: :class:`ObservationPort` and :class:`ForecastPort` before ``plan()``;
:class:`CapacityPort` and :class:`FlagPort` after it, on a fresh read and with its lease epoch as the fence. Whatever a
port cannot do comes back as a typed outcome; an exception is a defect. Every call is bounded in time by its adapter's
settings. The simulator's cloud and the real APIs stand behind the same protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from controller.adapters.learned import LeadTimes as LeadTimes
from controller.adapters.learned import Learned as Learned
from controller.adapters.learned import PoolRecord as PoolRecord
from controller.adapters.targets import PoolTarget
from controller.types import (
    FlagInForce,
    FleetSnapshot,
    ForecastSet,
    Ownership,
    Policy,
    PoolCondition,
    Sample,
)

# -- transport ---------------------------------------------------------------------------------------------------------

JsonObject: TypeAlias = dict[str, object]

MAX_MESSAGE = 600
"""Long enough for a refusal to name the verb and the resource behind a path of long names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAnswer:
    """An answer of the Kubernetes API.

    Attributes:
        status: HTTP status; 0 when there was no answer in time or no connection.
        body: The JSON object; empty when there was none.
    """

    status: int
    body: JsonObject

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """What the API said went wrong, in one line."""
        if self.status == 0:
            return str(self.body.get("message", "no answer"))
        words = str(self.body.get("message", "no reason given")).split()
        return f"HTTP {self.status}: {' '.join(words)[:MAX_MESSAGE]}"


class KubernetesApi(Protocol):
    """Sends one request to the Kubernetes API with a bounded time; failures come back as a status, never raised."""

    def call(
        self,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> ApiAnswer:
        """Send one request.

        Args:
            method: HTTP method.
            path: Path with its query.
            body: JSON body; None sends none.
            content_type: Its type; a merge patch, for example, is ``application/merge-patch+json``.

        Returns:
            The answer; status 0 without one.
        """
        ...


# -- capacity ----------------------------------------------------------------------------------------------------------


class WriteOutcome(StrEnum):
    """How a write ended.

    DONE: it holds, or held already. STOCK_OUT: the provider has no such node now. QUOTA: a quota of the account or
    namespace is used up. TIME_OUT: nobody knows whether it holds; read again before the next write. CONFLICT: somebody
    changed it after it was read; read again. FOREIGN_OWNER: another controller owns it. FENCED: a newer leader has
    written; stop leading. REJECTED: it will fail however often it is tried; the text says why.
    """

    DONE = "done"
    STOCK_OUT = "stock_out"
    QUOTA = "quota"
    TIME_OUT = "time_out"
    CONFLICT = "conflict"
    FOREIGN_OWNER = "foreign_owner"
    FENCED = "fenced"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """How large a pool is and was asked to be, as its API says; what the adapters could not learn is None.

    Attributes:
        desired: Nodes that it was asked to be (for ownership floor or buffer: that its owner asked for).
        written: What we may write stands at this now: the size, the floor or the buffer.
        created: Nodes that exist.
        ready: Nodes that its API calls ready; the observation counts those that also show their GPUs.
        revision: Token for compare-and-swap; None where the API has none.
        decision_id: Decision that last wrote it; None when that was not us.
        conditions: What stands in its way.
        messages: The conditions in words, one sentence each.
    """

    desired: int | None
    written: int | None
    created: int | None
    ready: int | None
    revision: str | None = None
    decision_id: str | None = None
    conditions: frozenset[PoolCondition] = frozenset()
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOrder:
    """A change of a pool's size.

    Attributes:
        pool: The pool.
        to_nodes: Wanted size, within the pool's bounds (the adapter clamps to them again).
        ownership: Must be the pool's own; anything else is rejected.
        decision_id: The decision behind it; the same order sent twice is done once.
        epoch: The writer's lease epoch; a write of an older epoch than the last one is fenced.
        revision: From the fresh read that the order was checked against; None writes without compare-and-swap.
        hottest_nodes: Names of nodes to give up first when the pool shrinks, hottest first; a wish.
        dry_run: Check everything and write nothing.
    """

    pool: PoolTarget
    to_nodes: int
    ownership: Ownership
    decision_id: str
    epoch: int
    revision: str | None = None
    hottest_nodes: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeReceipt:
    """What became of a :class:`SizeOrder`.

    Attributes:
        outcome: How it ended.
        text: One sentence for people; names the object and, unless done, the cure.
        wrote: Whether this call changed anything.
        retry_after_seconds: Earliest useful next try; None when there is none or the adapter has no opinion.
        warning: What could not be done as it should, although the size was written; empty when all was.
    """

    outcome: WriteOutcome
    text: str
    wrote: bool = False
    retry_after_seconds: float | None = None
    warning: str = ""


class CapacityPort(Protocol):
    """Node pools of every kind; one object serves all pools."""

    def read(self, pool: PoolTarget, now: datetime) -> Sample[PoolSize]:
        """Read a pool from its API; absent when the API does not answer, never zero. ``now`` stamps the sample."""
        ...

    def read_many(self, pools: tuple[PoolTarget, ...], now: datetime) -> Mapping[str, Sample[PoolSize]]:
        """Read all pools with as few requests as their kinds allow, by pool."""
        ...

    def set_size(self, order: SizeOrder, now: datetime) -> SizeReceipt:
        """Carry out an order, or say why not; idempotent by decision id and size."""
        ...


# -- flags -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFlags:
    """A flag set, ready to be written; :func:`controller.adapters.flags.rendering.render_flags` makes it.

    Attributes:
        text: flagd's JSON.
        revision: Its ``metadata.revision``.
        decision_id: Its ``metadata.version``.
        flags: The limits in it, as the planner knows them.
        ends_at: When its last stage is over and nothing is limited any more; None for a set without limits.
        feature_flag_text: The same for the FeatureFlag resource, which wants explicit defaults; None: not asked for.
    """

    text: str
    revision: int
    decision_id: str
    flags: tuple[FlagInForce, ...]
    ends_at: datetime | None = None
    feature_flag_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFlags:
    """The flag set in the store.

    Attributes:
        rendered: What is stored; revision 0 without limits before the first write.
        epoch: Lease epoch of its writer.
        written_at: When it was written; None before the first write.
        token: For compare-and-swap (the store's resourceVersion).
        intact: False when somebody edited the text by hand; the next write repairs it under a higher revision.
    """

    rendered: RenderedFlags
    epoch: int
    written_at: datetime | None
    token: str
    intact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagReceipt:
    """What became of a write of flags: outcome, one sentence, and the revision that the store holds now if known."""

    outcome: WriteOutcome
    text: str
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What consumers say about the flags.

    Attributes:
        revision: Revision that was asked about.
        num_consumers: Consumers that were seen.
        num_holding: Those that hold the revision or a later one.
        oldest_revision: Lowest revision that a consumer holds; None without consumers.
        oldest_age_seconds: Age of the oldest flag set in force; None without consumers.
        propagation_seconds: Learned time from a write to the consumers' acknowledgement, 95 % quantile; the prior
            until enough was seen.
    """

    revision: int
    num_consumers: int
    num_holding: int
    oldest_revision: int | None
    oldest_age_seconds: float | None
    propagation_seconds: float

    @property
    def complete(self) -> bool:
        """Whether every consumer that was seen holds the revision."""
        return self.num_consumers > 0 and self.num_holding == self.num_consumers


class FlagPort(Protocol):
    """One guarded store of flags and what its consumers answer."""

    def read(self, now: datetime) -> Sample[StoredFlags]:
        """Read the store; absent when it does not answer. A store that was never written holds revision 0."""
        ...

    def write(self, rendered: RenderedFlags, *, epoch: int, token: str, now: datetime) -> FlagReceipt:
        """Replace the flag set, unless the store changed since ``token`` or holds a higher revision or epoch.

        Args:
            rendered: The set; it is validated before it is written.
            epoch: The writer's lease epoch.
            token: From the read that the set was rendered for.
            now: Stamps the write.

        Returns:
            How it ended.
        """
        ...

    def acknowledgement(self, revision: int, now: datetime) -> Sample[Acknowledgement]:
        """Ask who holds a revision; absent when the metrics do not answer."""
        ...


# -- observation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One Kubernetes Node, as far as pools need it.

    Attributes:
        name: Its name.
        labels: Its labels.
        created_at: When the object appeared.
        is_ready: Whether its Ready condition is true.
        is_schedulable: Whether pods may be placed on it.
        num_gpus: Allocatable GPUs.
    """

    name: str
    labels: Mapping[str, str]
    created_at: datetime
    is_ready: bool
    is_schedulable: bool
    num_gpus: int


class NodeSource(Protocol):
    """Where the observation gets nodes from: the operator's list-watch, or a plain list for a dry run."""

    def nodes(self, now: datetime) -> Sample[tuple[NodeFacts, ...]]:
        """Return all nodes, with the time at which that was known to be the truth; absent when unknown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the fleet.

    Attributes:
        snapshot: For ``plan()``; without approvals, overrides and breaker resets, which the operator adds.
        sizes: What the capacity port said of each pool; the token for the write is in it.
        lead_times: Lead times by pool, for PoolSpec and for ``meltguard_pool_lead_time_seconds``.
        hottest_nodes: Names of each pool's nodes, hottest first, a bounded number.
        problems: Metrics that could not be read and why, one sentence each, for conditions and the log.
        pool_problems: The same of pools and nodes.
    """

    snapshot: FleetSnapshot
    sizes: Mapping[str, Sample[PoolSize]]
    lead_times: tuple[LeadTimes, ...] = ()
    hottest_nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    pool_problems: tuple[str, ...] = ()


class ObservationPort(Protocol):
    """Everything that is known about the fleet now."""

    def observe(self, policy: Policy, pools: tuple[PoolTarget, ...], now: datetime) -> Observed:
        """Put a snapshot together; what does not answer in time is stale or absent in it, never zero.

        Args:
            policy: Regions, tiers and pools that the snapshot must have, in its order.
            pools: What to read for each pool of the policy.
            now: Time of the snapshot.

        Returns:
            The snapshot and what goes with it.
        """
        ...

    def note_order(self, pool: str, *, num_nodes: int, now: datetime) -> None:
        """Remember an order, for arrivals and lead times.

        Args:
            pool: The pool.
            num_nodes: Nodes ordered; negative: given back.
            now: When.
        """
        ...

    @property
    def learned(self) -> Learned:
        """What to store; pass it to the adapter's constructor after a restart."""
        ...


class ForecastPort(Protocol):
    """Demand forecasts from the metrics."""

    def forecasts(self, policy: Policy, now: datetime) -> ForecastSet:
        """Return the newest forecasts; they are renewed at their own period, and old ones keep their time of issue."""
        ...
