"""The shape of a SurgePolicy: the one source of its schema, its defaults and its parsing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from controller.operator.resources.fields import (
    Condition,
    Count,
    Duration,
    Name,
    NotNegative,
    Positive,
    PositiveCount,
    Query,
    Ratio,
    RegionName,
    Shape,
)
from controller.types import Approval, Mode


class Signal(Shape, frozen=True, kw_only=True):
    """One demand signal."""

    query: Annotated[
        Query, Meta(description="PromQL: counts in the step before each instant, by region and tier where it has them.")
    ]
    step: Annotated[Duration, Meta(description="Length of an interval.")] = "60s"


class Signals(Shape, frozen=True, kw_only=True):
    """What demand is forecast from."""

    requests: Annotated[Signal | None, Meta(description="First attempts of image requests, before any limit.")] = None
    signups: Annotated[Signal | None, Meta(description="Sign-ups; they lead requests.")] = None


class WattsPerGpu(Shape, frozen=True, kw_only=True):
    """Power of a GPU; only a prior, heat is always taken from measured power."""

    idle: Annotated[NotNegative, Meta(description="Without work.")] = 75.0
    busy: Annotated[NotNegative, Meta(description="Fully used.")] = 620.0


class WorkloadModel(Shape, frozen=True, kw_only=True):
    """From requests to GPUs."""

    images_per_request: Annotated[Positive, Meta(description="Images that one request asks for.")] = 1.0
    tokens_per_image: Annotated[Positive, Meta(description="Autoregressive tokens of one image.")]
    tokens_per_second_per_gpu: Annotated[Positive, Meta(description="Tokens that one busy GPU makes in a second.")]
    watts_per_gpu: Annotated[WattsPerGpu, Meta(description="Power of a GPU.")] = WattsPerGpu()


class Tier(Shape, frozen=True, kw_only=True):
    """A class of users."""

    name: Annotated[RegionName, Meta(description="Its name in flags and metrics.")]
    priority: Annotated[int, Meta(ge=0, le=1000, description="Higher is served first.")]
    protected: Annotated[bool, Meta(description="Never limited without a person's approval.")] = False
    deferrable: Annotated[bool, Meta(description="Batch work that may wait for hours.")] = False
    harm_per_limited_request: Annotated[NotNegative, Meta(description="Cost of refusing one request.")]
    harm_per_waited_second: Annotated[NotNegative, Meta(description="Cost of a second of one request's wait.")] = 0.0
    images_per_day: Annotated[PositiveCount, Meta(description="Daily quota in normal times.")] = 100
    mean_images_per_user_day: Annotated[Positive, Meta(description="Mean wish of an active user.")] = 6.0


class Region(Shape, frozen=True, kw_only=True):
    """A region."""

    name: Annotated[RegionName, Meta(description="Its name in flags and metrics.")]
    may_serve: Annotated[
        list[RegionName], Meta(max_length=64, description="Regions whose traffic may be routed here.")
    ] = []
    routable_ratio: Annotated[Ratio, Meta(description="Share of its traffic that may be served elsewhere.")] = 0.0


class Event(Shape, frozen=True, kw_only=True):
    """A known event that multiplies demand."""

    name: Annotated[Name, Meta(description="For people.")]
    start: Annotated[str, Meta(max_length=64, description="RFC 3339.")]
    end: Annotated[str, Meta(max_length=64, description="RFC 3339, after the start.")]
    factor: Annotated[Positive, Meta(description="What demand is multiplied by.")]


class Enter(Shape, frozen=True, kw_only=True):
    """When a rung may be considered."""

    margin_celsius: Annotated[float, Meta(description="The predicted margin falls below this.")]


class Exit(Shape, frozen=True, kw_only=True):
    """When a rung may be left."""

    margin_celsius: Annotated[float, Meta(description="The counterfactual keeps at least this; above enter.")]


class LadderRung(Shape, frozen=True, kw_only=True):
    """One rung of the ladder."""

    rung: Annotated[int, Meta(ge=0, le=7, description="0 observe … 7 paid impact.")]
    action: Annotated[str, Meta(max_length=128, description="For people.")] = ""
    steps: Annotated[
        list[NotNegative],
        Meta(max_length=16, description="Rung 4: images a day; rungs 5 and 7: share of requests admitted."),
    ] = []
    enter: Annotated[Enter, Meta(description="When it may be considered.")]
    exit: Annotated[Exit, Meta(description="When it may be left.")]
    min_dwell: Annotated[Duration, Meta(description="Shortest stay before a restore.")] = "10m"
    max_duration: Annotated[Duration, Meta(description="Longest stay before a person is paged.")] = "24h"
    approval: Annotated[Approval, Meta(description="Who lets it be entered; rung 7 always asks a person.")] = (
        Approval.AUTOMATIC
    )


class PolicyLimits(Shape, frozen=True, kw_only=True):
    """Hard bounds."""

    max_nodes_per_hour: Annotated[Count, Meta(description="Nodes added in any hour, over all pools.")] = 20
    max_cost_per_hour: Annotated[NotNegative, Meta(description="Cost of all nodes, in the policy's currency.")] = 1e9
    max_regions_disabled: Annotated[Count, Meta(description="Regions on rung 6 at once.")] = 1
    max_shaped_demand_ratio: Annotated[Ratio, Meta(description="Share of all demand that may be limited.")] = 0.6
    flap_budget_per_hour: Annotated[Count, Meta(description="Restores and scale-ins a region and hour.")] = 6
    max_escalations_per_ten_minutes: Annotated[PositiveCount, Meta(description="More open the breaker.")] = 10


class ConfigMapFlags(Shape, frozen=True, kw_only=True):
    """Flags in a ConfigMap, mounted as a file."""

    name: Annotated[Name, Meta(description="Its name, in the policy's namespace.")]
    key: Annotated[Name, Meta(description="Key of the file.")] = "flags.json"


class FeatureFlags(Shape, frozen=True, kw_only=True):
    """Flags in a FeatureFlag of the OpenFeature operator."""

    name: Annotated[Name, Meta(description="Its name, in the policy's namespace.")]


class SyncFlags(Shape, frozen=True, kw_only=True):
    """Flags streamed by the operator itself."""

    port: Annotated[int, Meta(ge=1, le=65535, description="Where consumers reach it, for people.")] = 8015


class Flags(Shape, frozen=True, kw_only=True):
    """How limits reach consumers: at least one."""

    config_map: Annotated[ConfigMapFlags | None, Meta(description="A ConfigMap.")] = None
    feature_flag: Annotated[FeatureFlags | None, Meta(description="A FeatureFlag object.")] = None
    sync: Annotated[SyncFlags | None, Meta(description="flagd.sync.v1 from the operator.")] = None


class SurgePolicySpec(Shape, frozen=True, kw_only=True):
    """Everything that people decide beforehand."""

    mode: Annotated[Mode, Meta(description="Whether decisions are carried out or only reported.")] = Mode.ACTIVE
    signals: Annotated[Signals, Meta(description="What demand is forecast from.")] = Signals()
    horizon: Annotated[Duration, Meta(description="How far the plan looks ahead.")] = "30m"
    quantile: Annotated[
        Ratio | None, Meta(description="Demand that the plan prepares for; left out, harm and cost decide.")
    ] = None
    workload: Annotated[WorkloadModel, Meta(description="From requests to GPUs.")]
    tiers: Annotated[list[Tier], Meta(min_length=1, max_length=16, description="Classes of users.")]
    regions: Annotated[list[Region], Meta(min_length=1, max_length=64, description="Regions.")]
    events: Annotated[list[Event], Meta(max_length=64, description="Known events.")] = []
    ladder: Annotated[
        list[LadderRung], Meta(max_length=8, description="The ladder; left out, the default one for the margin target.")
    ] = []
    limits: Annotated[PolicyLimits, Meta(description="Hard bounds.")] = PolicyLimits()
    flags: Annotated[Flags, Meta(description="How limits reach consumers.")] = Flags(sync=SyncFlags())
    flag_ttl: Annotated[
        Duration, Meta(description="Time to live of a limit; three times propagation plus pass at least.")
    ] = "2m"
    flag_propagation: Annotated[Duration, Meta(description="From write to obedience; learned later.")] = "5s"
    stale_after: Annotated[Duration, Meta(description="Age beyond which a sample is stale.")] = "60s"
    forecast_stale_after: Annotated[Duration, Meta(description="Age beyond which a forecast is stale.")] = "5m"


class RegionStatus(Shape, frozen=True, kw_only=True):
    """Where a region stands."""

    name: Annotated[str, Meta(description="The region.")]
    rung: Annotated[int, Meta(description="Its rung.")]
    since: Annotated[str | None, Meta(description="Since when it stands there.")] = None
    reason: Annotated[str, Meta(description="Why.")] = ""
    predicted_min_margin_celsius: Annotated[float | None, Meta(description="Lowest margin over the horizon.")] = None


class SurgeStatus(Shape, frozen=True, kw_only=True):
    """What the surge trigger says."""

    state: Annotated[str, Meta(description="calm, onset, surge or decay.")] = "calm"
    doubling_seconds: Annotated[int | None, Meta(description="Time to double while demand grows.")] = None


class DecisionStatus(Shape, frozen=True, kw_only=True):
    """The last decision."""

    id: Annotated[str, Meta(description="For meltguard explain.")]
    time: Annotated[str, Meta(description="When it was made.")]


class MitigationStatus(Shape, frozen=True, kw_only=True):
    """A limit in force."""

    flag: Annotated[str, Meta(description="Key of the flag.")]
    scope: Annotated[str, Meta(description="Region and tier.")]
    value: Annotated[str, Meta(description="Its value.")]
    expires_at: Annotated[str, Meta(description="When it ends by itself.")]
    decision_id: Annotated[str, Meta(description="Decision that last wrote the flag set.")] = ""


class SurgePolicyStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the operator says about a policy."""

    regions: Annotated[list[RegionStatus], Meta(max_length=64, description="Where each region stands.")] = []
    highest_rung: Annotated[int, Meta(description="Highest rung of any region.")] = 0
    min_margin_celsius: Annotated[float | None, Meta(description="Least margin of any pool.")] = None
    doing: Annotated[str, Meta(description="What is happening, in a few words.")] = ""
    surge: Annotated[SurgeStatus, Meta(description="The surge trigger.")] = SurgeStatus()
    last_decision: Annotated[DecisionStatus | None, Meta(description="The last decision.")] = None
    active_mitigations: Annotated[list[MitigationStatus], Meta(max_length=256, description="Limits in force.")] = []
    observed_generation: Annotated[int, Meta(ge=0, description="Generation of the spec that was judged.")] = 0
    conditions: Annotated[list[Condition], Meta(max_length=16, description="Verdicts.")] = []
