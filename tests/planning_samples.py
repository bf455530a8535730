"""Policies, snapshots and forecasts for tests of the planner: small, settled, and easy to break on purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from controller.planning import plan
from controller.planning.ladder import default_ladder
from controller.types import (
    FleetSnapshot,
    ForecastSet,
    Limits,
    Mode,
    NodeCounts,
    Plan,
    PlanMemory,
    Policy,
    PoolAction,
    PoolMargin,
    PoolSpec,
    PoolState,
    PoolThermal,
    RegionSpec,
    RegionState,
    Sample,
    TierSpec,
    TierState,
)
from forecasting.capacity import CapacityModel
from forecasting.types import (
    Calibration,
    DemandForecast,
    DemandTarget,
    ModelInfo,
    SeriesKey,
    SurgePhase,
    SurgeState,
)

NOW = datetime(2025, 3, 31, 18, 0, tzinfo=UTC)
TARGET_CELSIUS = 6.0
NODES = 4
GPUS_PER_NODE = 8
GPU_SECONDS_PER_REQUEST = 10.0
FULL_RATE = NODES * GPUS_PER_NODE / GPU_SECONDS_PER_REQUEST
"""Requests a second that the four nodes of a sample pool can finish."""
LEVELS = (0.1, 0.5, 0.9)


def tier(name: str, **changes: object) -> TierSpec:
    """Return a tier; ``paid`` is protected, ``batch`` deferrable."""
    base = TierSpec(
        name=name,
        priority={"free": 1, "paid": 2, "batch": 0}[name],
        protected=name == "paid",
        deferrable=name == "batch",
        harm_per_limited_request={"free": 0.02, "paid": 0.4, "batch": 0.002}[name],
        harm_per_waited_second={"free": 1e-4, "paid": 2e-3, "batch": 0.0}[name],
        images_per_day={"free": 100, "paid": 1000, "batch": 100_000}[name],
        mean_images_per_user_day={"free": 6.0, "paid": 12.0, "batch": 500.0}[name],
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def pool_spec(name: str, region: str, **changes: object) -> PoolSpec:
    """Return a pool of four nodes that may become eight."""
    base = PoolSpec(
        name=name,
        region=region,
        gpus_per_node=GPUS_PER_NODE,
        min_nodes=2,
        max_nodes=8,
        max_step_nodes=2,
        cost_per_node_hour=10.0,
        lead_time_p50_seconds=300.0,
        lead_time_p95_seconds=600.0,
        margin_target_celsius=TARGET_CELSIUS,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def policy(num_regions: int = 2, **changes: object) -> Policy:
    """Return a policy of some regions with one pool each."""
    names = [f"r{index}" for index in range(num_regions)]
    base = Policy(
        name="sample",
        mode=Mode.ACTIVE,
        tiers=(tier("free"), tier("paid"), tier("batch")),
        regions=tuple(RegionSpec(name=name) for name in names),
        pools=tuple(pool_spec(f"{name}-h", name) for name in names),
        ladder=default_ladder(TARGET_CELSIUS),
        limits=Limits(
            max_nodes_per_hour=6,
            max_cost_per_hour=1e6,
            max_regions_disabled=1,
            max_shaped_demand_ratio=0.95,
            flap_budget_per_hour=4,
        ),
        capacity=CapacityModel(
            images_per_request=1.0,
            tokens_per_image=1000.0,
            tokens_per_second_per_gpu=1000.0 / GPU_SECONDS_PER_REQUEST,
            idle_watts_per_gpu=75.0,
            busy_watts_per_gpu=690.0,
        ),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def thermal(load_ratio: float, offset_celsius: float = 40.0) -> PoolThermal:
    """Return a pool settled at a load; fully used it ends ``87 - offset - 41.4`` degrees below slowdown."""
    power = 75.0 + 615.0 * load_ratio
    return PoolThermal(
        time_constants_seconds=(5.0, 110.0),
        gains_celsius_per_watt=(0.036, 0.024),
        filtered_power_watts=(power, power),
        offset_celsius=offset_celsius,
        offset_trend_celsius_per_second=0.0,
        limit_celsius=87.0,
        idle_power_watts=75.0,
        busy_power_watts=690.0,
    )


def pool_state(name: str, region: str, load_ratio: float, *, as_of: datetime, **changes: object) -> PoolState:
    """Return a settled pool of four nodes; its margin agrees with its response."""
    response = changes.pop("response", None) or thermal(load_ratio)
    assert isinstance(response, PoolThermal)
    rise = sum(g * x for g, x in zip(response.gains_celsius_per_watt, response.filtered_power_watts, strict=True))
    margin = response.limit_celsius - response.offset_celsius - rise
    base = PoolState(
        name=name,
        region=region,
        nodes=Sample.fresh(NodeCounts(desired=NODES, created=NODES, ready=NODES, serving=NODES, pending=0), as_of),
        arrivals=(),
        margin=Sample.fresh(
            PoolMargin(minimum_celsius=margin, low_celsius=margin + 0.5, median_celsius=margin + 2.0, num_nodes_low=2),
            as_of,
        ),
        power_watts=Sample.fresh(response.filtered_power_watts[0], as_of),
        throttled_ratio=Sample.fresh(0.0, as_of),
        seconds_to_slowdown=Sample.fresh(float("inf"), as_of),
        thermal=Sample.fresh(response, as_of),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def snapshot(rules: Policy, load_ratio: float = 0.4, *, now: datetime = NOW) -> FleetSnapshot:
    """Return a fresh snapshot in which every pool is settled at a load."""
    regions = tuple(
        RegionState(
            name=spec.name,
            tiers=tuple(
                TierState(
                    tier=entry.name,
                    first_attempt_rate=Sample.fresh(load_ratio * FULL_RATE * _share(entry.name), now),
                    served_rate=Sample.fresh(load_ratio * FULL_RATE * _share(entry.name), now),
                    queue_requests=Sample.fresh(0.0, now),
                    wait_seconds=Sample.fresh(0.0, now),
                )
                for entry in rules.tiers
            ),
        )
        for spec in rules.regions
    )
    pools = tuple(pool_state(spec.name, spec.region, load_ratio, as_of=now) for spec in rules.pools)
    return FleetSnapshot(as_of=now, regions=regions, pools=pools)


def _share(tier_name: str) -> float:
    return {"free": 0.7, "paid": 0.2, "batch": 0.1}[tier_name]


def forecasts(
    rules: Policy,
    load_ratio: float = 0.4,
    *,
    growth: float = 1.0,
    now: datetime = NOW,
    phase: SurgePhase = SurgePhase.CALM,
    only: str | None = None,
) -> ForecastSet:
    """Return forecasts that go from a load to ``growth`` times it within half an hour.

    Args:
        rules: The policy.
        load_ratio: Present load.
        growth: Factor at the end.
        now: Time of issue.
        phase: What the surge trigger says.
        only: Grow in this region alone.
    """
    num_steps = 30
    rows = []
    for region in rules.regions:
        grown = growth if only in (None, region.name) else 1.0
        shape = np.linspace(1.0, grown, num_steps) * load_ratio * FULL_RATE * 60.0
        for entry in rules.tiers:
            mean = shape * _share(entry.name)
            rows.append(
                DemandForecast(
                    key=SeriesKey(region=region.name, tier=entry.name),
                    target=DemandTarget.REQUESTS,
                    issued_at=now,
                    step_seconds=60.0,
                    levels=LEVELS,
                    mean=mean,
                    quantiles=np.vstack([0.9 * mean, mean, 1.1 * mean]),
                    surge=SurgeState(phase=phase),
                    model=ModelInfo(name="sample", fitted_seconds=0.0, num_points=0),
                    calibration=Calibration(),
                )
            )
    return ForecastSet(demand=tuple(rows))


def limited(rules: Policy, step_index: int, *, since: datetime | None = None) -> PlanMemory:
    """Return a memory in which every region stands at a position, long enough to leave it."""
    at = NOW - timedelta(hours=2) if since is None else since
    memory = plan(snapshot(rules), forecasts(rules), rules, PlanMemory(), NOW - timedelta(hours=3)).memory
    return replace(
        memory,
        regions=tuple(replace(entry, step_index=step_index, since=at, limited_since=at) for entry in memory.regions),
    )


def decide(rules: Policy, seen: FleetSnapshot, ahead: ForecastSet, memory: PlanMemory | None = None) -> Plan:
    """Return the plan at :data:`NOW`."""
    return plan(seen, ahead, rules, memory or PlanMemory(), NOW)


def pool_actions(made: Plan) -> list[PoolAction]:
    """Return the changes of size in a plan."""
    return [action for action in made.actions if isinstance(action, PoolAction)]


def with_pool(seen: FleetSnapshot, index: int, **changes: object) -> FleetSnapshot:
    """Return the snapshot with one pool changed."""
    pools = list(seen.pools)
    pools[index] = replace(pools[index], **changes)  # type: ignore[arg-type]
    return replace(seen, pools=tuple(pools))


def with_tier(seen: FleetSnapshot, region: int, column: int, **changes: object) -> FleetSnapshot:
    """Return the snapshot with the samples of one region and tier changed."""
    regions = list(seen.regions)
    tiers = list(regions[region].tiers)
    tiers[column] = replace(tiers[column], **changes)  # type: ignore[arg-type]
    regions[region] = replace(regions[region], tiers=tuple(tiers))
    return replace(seen, regions=tuple(regions))
