"""What the planner sees: the fleet at one moment, every value with its age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.types.policy import Rung
from controller.types.samples import Freshness, Sample


class PoolCondition(StrEnum):
    """What stands in the way of a pool."""

    STOCK_OUT = "StockOut"
    QUOTA_EXCEEDED = "QuotaExceeded"
    PAUSED = "Paused"
    FOREIGN_OWNER = "ForeignOwner"
    UPDATING = "Updating"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCounts:
    """Nodes of one pool by state; each state includes the ones after it, but for pending.

    Attributes:
        desired: What the pool was asked to be.
        created: Nodes that exist.
        ready: Nodes that are schedulable and show their GPUs.
        serving: Nodes that have served a first image and still do.
        pending: Nodes asked for that do not serve yet.
    """

    desired: int
    created: int
    ready: int
    serving: int
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingNodes:
    """Nodes on their way.

    Attributes:
        num_nodes: How many, > 0.
        ordered_at: When they were asked for.
        expected_p50: Median time of their first image.
        expected_p95: Time by which they serve with 95 % probability.
    """

    num_nodes: int
    ordered_at: datetime
    expected_p50: datetime
    expected_p95: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMargin:
    """Degrees left to the first intervention of the hardware, over the GPUs of a pool.

    Attributes:
        minimum_celsius: Of the hottest GPU; an outlier alone is for the guard and a drain.
        low_celsius: The 10 % quantile; this is what rungs answer to.
        median_celsius: The median.
        num_nodes_low: Nodes with at least one GPU at or below the low quantile; common-mode heat needs two.
    """

    minimum_celsius: float
    low_celsius: float
    median_celsius: float
    num_nodes_low: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolThermal:
    """A pool's thermal response at an unfavourable quantile of its GPUs, in the linear form of the thermal model.

    ``T = offset + sum_k gain_k * x_k`` with ``x_k`` the power low-passed by ``time_constant_k``
    (forecasting.thermal; the form that the research calls output-error).

    Attributes:
        time_constants_seconds: Shape ``(num_time_constants,)``, ascending.
        gains_celsius_per_watt: Same shape, >= 0.
        filtered_power_watts: Same shape; the state at the sample's time.
        offset_celsius: Temperature at zero power.
        offset_trend_celsius_per_second: Recent drift of the offset; positive when the room heats up.
        limit_celsius: Temperature of the first intervention of the hardware.
        idle_power_watts: Power of a GPU without work.
        busy_power_watts: Power of a GPU that is fully used.
    """

    time_constants_seconds: tuple[float, ...]
    gains_celsius_per_watt: tuple[float, ...]
    filtered_power_watts: tuple[float, ...]
    offset_celsius: float
    offset_trend_celsius_per_second: float
    limit_celsius: float
    idle_power_watts: float
    busy_power_watts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """One node pool.

    Attributes:
        name: The pool, as the policy names it.
        region: Where it stands.
        nodes: Node counts by state.
        arrivals: Nodes on their way, oldest first.
        margin: Margin over its GPUs.
        power_watts: Mean power of its GPUs, per GPU.
        throttled_ratio: Share of its GPUs that the hardware slows down now, 0..1.
        seconds_to_slowdown: Least time to slowdown of its GPUs as they run now; infinity when not in sight.
        thermal: Its thermal response.
        guard_ratio: Mean share of full work that the pods' local guards allow, 0..1; absent where pods have no guard.
        conditions: What stands in its way.
    """

    name: str
    region: str
    nodes: Sample[NodeCounts]
    arrivals: tuple[PendingNodes, ...]
    margin: Sample[PoolMargin]
    power_watts: Sample[float]
    throttled_ratio: Sample[float]
    seconds_to_slowdown: Sample[float]
    thermal: Sample[PoolThermal]
    guard_ratio: Sample[float] = Sample(value=None, as_of=None, freshness=Freshness.ABSENT)
    conditions: frozenset[PoolCondition] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TierState:
    """The users of one tier in one region.

    Attributes:
        tier: The tier, as the policy names it.
        first_attempt_rate: Offered requests per second, retries left out, before any limit.
        served_rate: Images finished per second.
        queue_requests: Admitted requests that wait.
        wait_seconds: Estimated wait of a request admitted now.
    """

    tier: str
    first_attempt_rate: Sample[float]
    served_rate: Sample[float]
    queue_requests: Sample[float]
    wait_seconds: Sample[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionState:
    """One region: its name and its tiers."""

    name: str
    tiers: tuple[TierState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagInForce:
    """A limit that consumers hold now.

    Attributes:
        key: Flag key of the contract.
        region: Region that it is scoped to.
        tier: Tier that it is scoped to; None for every tier.
        value: Its value.
        revision: Revision of the flag set that carried it.
        expires_at: When it ends by itself.
    """

    key: str
    region: str
    tier: str | None
    value: bool | int | float | str
    revision: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGrant:
    """A person's leave to enter a rung that asks for one.

    Attributes:
        region: Where.
        rung: Up to which rung.
        approved_by: Who.
        expires_at: When the leave ends by itself.
    """

    region: str
    rung: Rung
    approved_by: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RungOverride:
    """A rung that a person set by hand; it holds in both directions until it ends.

    Attributes:
        region: Where.
        rung: The rung; 0 lifts every limit.
        set_by: Who.
        reason: Why.
        expires_at: When it ends by itself.
    """

    region: str
    rung: Rung
    set_by: str
    reason: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSnapshot:
    """Everything that was known about the fleet at ``as_of``.

    Attributes:
        as_of: When it was put together.
        regions: Regions.
        pools: Node pools.
        flags: Limits that consumers hold.
        approvals: What people have approved.
        overrides: What people have set by hand.
        breaker_resets: Regions whose breaker a person has closed since the last decision.
    """

    as_of: datetime
    regions: tuple[RegionState, ...]
    pools: tuple[PoolState, ...]
    flags: tuple[FlagInForce, ...] = ()
    approvals: tuple[ApprovalGrant, ...] = ()
    overrides: tuple[RungOverride, ...] = ()
    breaker_resets: frozenset[str] = frozenset()
