"""What the planner may do: tiers, regions, pools, the ladder and the limits that never bend.

In the cluster a ``Policy`` comes from one SurgePolicy and its GPUPools; in a replay from the scenario.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from forecasting.capacity import CapacityModel


class Mode(StrEnum):
    """Whether decisions are carried out or only reported."""

    ACTIVE = "active"
    ADVISORY = "advisory"


class Ownership(StrEnum):
    """What may be written to a pool."""

    DESIRED = "desired"
    FLOOR = "floor"
    BUFFER = "buffer"


class PausedDirection(StrEnum):
    """Which way a person has stopped a pool from moving."""

    NONE = "none"
    SCALE_IN = "scaleIn"
    SCALE_OUT = "scaleOut"
    ALL = "all"


class Approval(StrEnum):
    """Who lets a rung be entered."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class Rung(IntEnum):
    """The ladder, mildest first."""

    OBSERVE = 0
    HOLD = 1
    PROVISION = 2
    SHAPE_QUIETLY = 3
    LOWER_FREE_QUOTA = 4
    SHED = 5
    DISABLE_FREE = 6
    PAID_IMPACT = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderStep:
    """One position on the ladder; a rung with steps has one of these for each.

    Attributes:
        rung: The rung.
        images_per_day: Daily quota of the limited tiers while here; None leaves the normal one.
        admission_ratio: Share of the limited tiers' requests that is admitted while here, 0..1.
        generation_enabled: False refuses the limited tiers in this region.
        batch_admitted: False defers deferrable tiers.
        enter_margin_celsius: May be considered when the predicted margin falls below this.
        exit_margin_celsius: May be left when the counterfactual keeps at least this; above ``enter_margin_celsius``.
        min_dwell_seconds: Shortest stay before a restore.
        max_duration_seconds: Longest stay before a person is paged.
        approval: Who lets it be entered.
    """

    rung: Rung
    images_per_day: int | None = None
    admission_ratio: float = 1.0
    generation_enabled: bool = True
    batch_admitted: bool = True
    enter_margin_celsius: float
    exit_margin_celsius: float
    min_dwell_seconds: float
    max_duration_seconds: float
    approval: Approval = Approval.AUTOMATIC


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The positions of the ladder, mildest first; index 0 is "observe"."""

    steps: tuple[LadderStep, ...]

    def __post_init__(self) -> None:
        """Refuse a ladder that is not ordered.

        Raises:
            ValueError: If it does not begin with "observe", rungs descend or an exit margin is not above its enter.
        """
        rungs = [step.rung for step in self.steps]
        if not rungs or rungs[0] is not Rung.OBSERVE or rungs != sorted(rungs):
            raise ValueError("a ladder begins with rung 0 and never descends")
        for step in self.steps:
            if step.exit_margin_celsius < step.enter_margin_celsius:
                raise ValueError(f"rung {int(step.rung)}: exit margin must not be below its enter margin")

    def first_of(self, rung: Rung) -> int:
        """Return the index of the first step of ``rung``, or of the next rung that the ladder has."""
        for index, step in enumerate(self.steps):
            if step.rung >= rung:
                return index
        return len(self.steps) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSpec:
    """A class of users.

    Attributes:
        name: Its name in flags and metrics.
        priority: Higher is served first.
        protected: Never limited without a person's approval.
        deferrable: Batch work that may wait for hours; rung 3 defers it.
        harm_per_limited_request: Cost of refusing one request, in the policy's currency.
        harm_per_waited_second: Cost of one second of one request's wait, in the policy's currency.
        images_per_day: Daily quota in normal times.
        mean_images_per_user_day: Mean wish of an active user, > 0; with it a quota's effect is predicted.
    """

    name: str
    priority: int
    protected: bool
    deferrable: bool
    harm_per_limited_request: float
    harm_per_waited_second: float
    images_per_day: int
    mean_images_per_user_day: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSpec:
    """A region.

    Attributes:
        name: Its name in flags and metrics.
        may_serve: Other regions whose traffic may be routed here.
        routable_ratio: Share of this region's own traffic that may be served elsewhere, 0..1.
    """

    name: str
    may_serve: tuple[str, ...] = ()
    routable_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A node pool and what may be done to it.

    Attributes:
        name: Its name.
        region: Where it stands.
        gpus_per_node: GPUs on a node, > 0.
        min_nodes: Never fewer.
        max_nodes: Never more.
        max_step_nodes: Largest change in one decision, > 0.
        cost_per_node_hour: In the policy's currency.
        lead_time_p50_seconds: Median from order to first image (a prior; learned later).
        lead_time_p95_seconds: The same at 95 %.
        margin_target_celsius: Margin that the plan keeps at a low quantile of the pool.
        ownership: What may be written.
        paused: Which way a person has stopped it.
    """

    name: str
    region: str
    gpus_per_node: int
    min_nodes: int
    max_nodes: int
    max_step_nodes: int
    cost_per_node_hour: float
    lead_time_p50_seconds: float
    lead_time_p95_seconds: float
    margin_target_celsius: float
    ownership: Ownership = Ownership.DESIRED
    paused: PausedDirection = PausedDirection.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Hard bounds on what one policy may do.

    Attributes:
        max_nodes_per_hour: Nodes added in any hour, over all pools.
        max_cost_per_hour: Cost of all nodes, in the policy's currency.
        max_regions_disabled: Regions on rung 6 at once.
        max_shaped_demand_ratio: Share of all offered demand that may be limited at once, 0..1.
        flap_budget_per_hour: Restores and scale-ins per region and hour; escalations are never held back.
        max_escalations_per_ten_minutes: More of them in one region open its breaker: something is wrong, a person
            must look.
    """

    max_nodes_per_hour: int
    max_cost_per_hour: float
    max_regions_disabled: int
    max_shaped_demand_ratio: float
    flap_budget_per_hour: int
    max_escalations_per_ten_minutes: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that people decide beforehand.

    Attributes:
        name: Its name.
        mode: Active or advisory.
        tiers: Classes of users.
        regions: Regions.
        pools: Node pools.
        ladder: The ladder, the same for every region.
        limits: Hard bounds.
        capacity: From requests to GPUs and watts.
        demand_quantile: Demand that the plan prepares for; None derives it from harm and cost (newsvendor).
        horizon_seconds: How far the plan looks ahead; at least the longest lead time at 95 %.
        step_seconds: Resolution of the roll-forward.
        patience_seconds: Mean time after which a user who waits gives up, > 0.
        flag_propagation_seconds: From a written flag to admission that obeys it (learned later).
        flag_ttl_seconds: Time to live of a limit; at least three times propagation plus pass.
        stale_after_seconds: Age beyond which a sample is stale.
        forecast_stale_after_seconds: Age beyond which a forecast is stale; several of its periods.
    """

    name: str
    mode: Mode
    tiers: tuple[TierSpec, ...]
    regions: tuple[RegionSpec, ...]
    pools: tuple[PoolSpec, ...]
    ladder: Ladder
    limits: Limits
    capacity: CapacityModel
    demand_quantile: float | None = None
    horizon_seconds: float = 1800.0
    step_seconds: float = 60.0
    patience_seconds: float = 90.0
    flag_propagation_seconds: float = 5.0
    flag_ttl_seconds: float = 120.0
    stale_after_seconds: float = 60.0
    forecast_stale_after_seconds: float = 300.0
