"""How long one decision takes: `plan()` over many pools and regions, p50 and p99 of repeated calls.

    python benchmarks/plan_speed.py [--pools 1000] [--regions 20] [--gpus-per-node 8] [--nodes 10] [--calls 40]

The fleet is half calm and half in trouble, so that searches, restores and orders all happen. The clock is the wall's.
"""

from __future__ import annotations

import argparse
import time
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
    PlanMemory,
    Policy,
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
from forecasting.types import Calibration, DemandForecast, DemandTarget, ModelInfo, SeriesKey, SurgeState

NOW = datetime(2025, 3, 31, 18, 0, tzinfo=UTC)
TIERS = (("free", 1, False, 0.7), ("paid", 2, True, 0.2), ("batch", 0, False, 0.1))
GPU_SECONDS = 10.0


def make_policy(num_pools: int, num_regions: int, num_nodes: int, gpus_per_node: int) -> Policy:
    """Return a policy of so many pools, spread over the regions."""
    regions = tuple(RegionSpec(name=f"r{index}") for index in range(num_regions))
    pools = tuple(
        PoolSpec(
            name=f"p{index}",
            region=f"r{index % num_regions}",
            gpus_per_node=gpus_per_node,
            min_nodes=1,
            max_nodes=2 * num_nodes,
            max_step_nodes=2,
            cost_per_node_hour=30.0 + index % 7,
            lead_time_p50_seconds=400.0,
            lead_time_p95_seconds=800.0,
            margin_target_celsius=6.0,
        )
        for index in range(num_pools)
    )
    tiers = tuple(
        TierSpec(
            name=name,
            priority=priority,
            protected=protected,
            deferrable=name == "batch",
            harm_per_limited_request=0.02,
            harm_per_waited_second=1e-4,
            images_per_day=100,
            mean_images_per_user_day=6.0,
        )
        for name, priority, protected, _ in TIERS
    )
    return Policy(
        name="speed",
        mode=Mode.ACTIVE,
        tiers=tiers,
        regions=regions,
        pools=pools,
        ladder=default_ladder(6.0),
        limits=Limits(
            max_nodes_per_hour=200,
            max_cost_per_hour=1e9,
            max_regions_disabled=3,
            max_shaped_demand_ratio=0.9,
            flap_budget_per_hour=6,
        ),
        capacity=CapacityModel(
            images_per_request=1.0,
            tokens_per_image=1000.0,
            tokens_per_second_per_gpu=1000.0 / GPU_SECONDS,
            idle_watts_per_gpu=75.0,
            busy_watts_per_gpu=690.0,
        ),
    )


def make_snapshot(policy: Policy, loads: dict[str, float], num_nodes: int) -> FleetSnapshot:
    """Return a fresh snapshot with every pool settled at its region's load."""
    pools = []
    for index, spec in enumerate(policy.pools):
        power = 75.0 + 615.0 * loads[spec.region]
        offset = 40.0 + index % 6
        margin = 87.0 - offset - 0.06 * power
        thermal = PoolThermal(
            time_constants_seconds=(2.0, 5.0, 12.0, 30.0, 75.0, 180.0, 450.0, 1100.0),
            gains_celsius_per_watt=(0.02, 0.0, 0.01, 0.01, 0.01, 0.01, 0.0, 0.0),
            filtered_power_watts=(power,) * 8,
            offset_celsius=offset,
            offset_trend_celsius_per_second=0.001,
            limit_celsius=87.0,
            idle_power_watts=75.0,
            busy_power_watts=690.0,
        )
        counts = NodeCounts(desired=num_nodes, created=num_nodes, ready=num_nodes, serving=num_nodes, pending=0)
        pools.append(
            PoolState(
                name=spec.name,
                region=spec.region,
                nodes=Sample.fresh(counts, NOW),
                arrivals=(),
                margin=Sample.fresh(
                    PoolMargin(
                        minimum_celsius=margin, low_celsius=margin, median_celsius=margin + 2.0, num_nodes_low=2
                    ),
                    NOW,
                ),
                power_watts=Sample.fresh(power, NOW),
                throttled_ratio=Sample.fresh(0.0, NOW),
                seconds_to_slowdown=Sample.fresh(3600.0, NOW),
                thermal=Sample.fresh(thermal, NOW),
            )
        )
    zero = Sample.fresh(0.0, NOW)
    regions = tuple(
        RegionState(
            name=spec.name,
            tiers=tuple(
                TierState(tier=name, first_attempt_rate=zero, served_rate=zero, queue_requests=zero, wait_seconds=zero)
                for name, *_ in TIERS
            ),
        )
        for spec in policy.regions
    )
    return FleetSnapshot(as_of=NOW, regions=regions, pools=tuple(pools))


def make_forecasts(policy: Policy, loads: dict[str, float], num_nodes: int) -> ForecastSet:
    """Return forecasts that double every second region's demand within the horizon."""
    rows = []
    for index, region in enumerate(policy.regions):
        gpus = sum(num_nodes * spec.gpus_per_node for spec in policy.pools if spec.region == region.name)
        growth = np.linspace(1.0, 2.0 if index % 2 else 1.0, 30)
        for name, _, _, share in TIERS:
            mean = loads[region.name] * gpus / GPU_SECONDS * share * 60.0 * growth
            rows.append(
                DemandForecast(
                    key=SeriesKey(region=region.name, tier=name),
                    target=DemandTarget.REQUESTS,
                    issued_at=NOW,
                    step_seconds=60.0,
                    levels=(0.1, 0.5, 0.9),
                    mean=mean,
                    quantiles=np.vstack([0.9 * mean, mean, 1.1 * mean]),
                    surge=SurgeState(),
                    model=ModelInfo(name="speed", fitted_seconds=0.0, num_points=0),
                    calibration=Calibration(),
                )
            )
    return ForecastSet(demand=tuple(rows))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--calls", type=int, default=40)
    options = parser.parse_args()
    policy = make_policy(options.pools, options.regions, options.nodes, options.gpus_per_node)
    loads = {region.name: 0.5 if index % 4 < 2 else 0.95 for index, region in enumerate(policy.regions)}
    snapshot = make_snapshot(policy, loads, options.nodes)
    forecasts = make_forecasts(policy, loads, options.nodes)
    memory = plan(snapshot, forecasts, policy, PlanMemory(), NOW - timedelta(hours=1)).memory
    limited = tuple(
        replace(entry, step_index=4, since=NOW - timedelta(hours=1)) if index % 4 == 0 else entry
        for index, entry in enumerate(memory.regions)
    )
    memory = replace(memory, regions=limited)
    seconds, processor = [], []
    for _ in range(options.calls):
        began, began_processor = time.perf_counter(), time.process_time()
        made = plan(snapshot, forecasts, policy, memory, NOW)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_processor)
    gpus = options.pools * options.nodes * options.gpus_per_node
    p50, p99 = (1000.0 * float(np.quantile(seconds, level)) for level in (0.5, 0.99))
    cpu50, cpu99 = (1000.0 * float(np.quantile(processor, level)) for level in (0.5, 0.99))
    print(f"{options.pools} pools, {options.regions} regions, {gpus} GPUs, {options.calls} calls")
    print(
        f"plan(): p50 {p50:.0f} ms, p99 {p99:.0f} ms of wall time; p50 {cpu50:.0f} ms, p99 {cpu99:.0f} ms of processor"
    )
    print(f"actions {len(made.actions)}, rungs {sorted({int(verdict.rung) for verdict in made.regions})}")


if __name__ == "__main__":
    main()
