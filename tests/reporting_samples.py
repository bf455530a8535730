"""A small made-up run set for the tests of reporting: a surge, three policies, two regions, two tiers, seeded."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

from controller.simulator.record import (
    REPLAY_SCHEMA,
    DecisionMark,
    FanRecord,
    Figures,
    RegionFigures,
    RegionTrack,
    Requests,
    RunRecord,
    RunSet,
    TierFigures,
    TierTrack,
    WaitSeconds,
)
from controller.simulator.scenario import (
    Fact,
    FactKind,
    Gpu,
    Pool,
    Region,
    Scenario,
    Site,
    Tier,
    Users,
    WavePoint,
    Work,
)

START = datetime(2025, 3, 31, 14, 0, tzinfo=UTC)
SLOWDOWN_CELSIUS = 87.0
REGIONS = ("us-east", "eu-west", "ap-south")
HEAT = {"none": 1.0, "reactive": 0.86}
"""How much of the unmitigated rise each policy lets through; every other policy 0.55."""
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def signups_at(second: float, duration: float) -> float:
    """Return a rate that rises from 8,000 to 1,000,000 an hour at 55 % of the run and falls slowly."""
    place = second / duration
    peak, low = math.log(1e6), math.log(8e3)
    if place < 0.25:
        return 8e3
    if place < 0.55:
        return math.exp(low + (peak - low) * (place - 0.25) / 0.30)
    return math.exp(peak - (place - 0.55) * 3.2)


def sample_run(policy: str, *, seed: int = 0, num_samples: int = 360, sample_seconds: float = 60.0) -> RunRecord:
    """Return one policy's run; "none" melts, "reactive" is late, everything else keeps cool."""
    noise = random.Random(f"{policy}{seed}")
    duration = num_samples * sample_seconds
    seconds = tuple(sample_seconds * (index + 1) for index in range(num_samples))
    signups = tuple(round(signups_at(second, duration) * (1 + 0.04 * noise.gauss(0, 1)), 3) for second in seconds)
    load = [min(1.0, math.log(max(rate, 8e3) / 8e3) / math.log(125)) for rate in signups]
    windows = [load[max(0, i - 12) : i + 1] for i in range(num_samples)]
    # Rounded, so that the golden files do not depend on the last digit of a mathematics library.
    lag = [round(math.fsum(window) / len(window), 6) for window in windows]
    hottest = tuple(round(62 + 33 * HEAT.get(policy, 0.55) * part + noise.gauss(0, 0.25), 4) for part in lag)
    calm = policy not in ("none", "reactive")
    regions = {name: _region(index, lag, hottest, calm, policy) for index, name in enumerate(REGIONS)}
    tiers = {"free": _tier(lag, 700.0, policy), "paid": _tier(lag, 160.0, policy, paid=True)}
    decisions = _decisions(seconds, regions) if calm else ()
    unmitigated = next((second for second, part in zip(seconds, lag, strict=True) if 62 + 33 * part >= 87.0), None)
    lead = unmitigated - (decisions[0].at - START).total_seconds() if decisions and unmitigated is not None else None
    return RunRecord(
        policy=policy,
        seed=seed,
        start=START,
        sample_seconds=sample_seconds,
        seconds=seconds,
        signups_per_hour=signups,
        hottest_celsius=hottest,
        tiers=tiers,
        regions=regions,
        decisions=decisions,
        fans=_fans(seconds, duration) if calm else (),
        figures=_figures(policy, hottest, tiers, regions, sample_seconds, lead),
    )


def _region(index: int, lag: list[float], hottest: tuple[float, ...], calm: bool, policy: str) -> RegionTrack:
    rungs = [min(6, int(max(0.0, part - 0.05 * index) * (7.2 - index))) if calm else 0 for part in lag]
    nodes = [6 + (0 if policy == "none" else int(part * (10 - 2 * index))) for part in lag]
    pending = [max(nodes[min(i + 15, len(nodes) - 1)] - count, 0) for i, count in enumerate(nodes)]
    return RegionTrack(
        hottest_celsius=tuple(value - 1.5 * index for value in hottest),
        nodes_serving=tuple(nodes),
        nodes_pending=tuple(pending),
        rung=tuple(rungs),
        utilization_ratio=tuple(min(1.0, 0.3 + part) for part in lag),
        inlet_celsius=tuple(24 + 2 * part for part in lag),
    )


def _tier(lag: list[float], scale: float, policy: str, *, paid: bool = False) -> TierTrack:
    offered = [scale * (0.25 + part * (1.3 if policy == "none" else 1.0)) for part in lag]
    limited = [
        0.0 if paid or policy in ("none", "reactive") else rate * 0.42 * part
        for rate, part in zip(offered, lag, strict=True)
    ]
    lost = {"none": 0.45, "reactive": 0.3}.get(policy, 0.01)
    dropped = [
        rate * lost * max(0.0, part - 0.5) * (0.3 if paid else 1.0) for rate, part in zip(offered, lag, strict=True)
    ]
    served = [a - b - c for a, b, c in zip(offered, limited, dropped, strict=True)]
    return TierTrack(offered=tuple(offered), served=tuple(served), limited=tuple(limited), dropped=tuple(dropped))


def _fans(seconds: tuple[float, ...], duration: float) -> tuple[FanRecord, ...]:
    fans = []
    for second in seconds[::10]:
        place = second / duration
        phase = "calm" if place < 0.27 else "onset" if place < 0.31 else "surge" if place < 0.6 else "decay"
        middle = [signups_at(min(second + 300.0 * (k + 1), duration), duration) for k in range(12)]
        rows = tuple(
            tuple(
                round(value * math.exp((level - 0.5) * 1.1 * math.sqrt(k + 1) / 2), 3) for k, value in enumerate(middle)
            )
            for level in LEVELS
        )
        fans.append(
            FanRecord(
                issued_at=START + timedelta(seconds=second),
                step_seconds=300.0,
                levels=LEVELS,
                quantiles=rows,
                phase=phase,
            )
        )
    return tuple(fans)


def _decisions(seconds: tuple[float, ...], regions: dict[str, RegionTrack]) -> tuple[DecisionMark, ...]:
    marks = []
    for name, region in regions.items():
        for i in range(1, len(seconds)):
            before, after, at = region.rung[i - 1], region.rung[i], START + timedelta(seconds=seconds[i])
            if after != before:
                marks.append(
                    DecisionMark(
                        at=at,
                        decision_id=f"d-{at:%H%M%S}-{i:04d}",
                        kind="limit" if after > before else "restore",
                        region=name,
                        rung=after,
                        title=f"Free quota to {max(8 - after, 1)} images a day" if after > before else "One rung back",
                        reason=f"Forecast margin in 10 min is {9 - after:.1f} °C, below what rung {after} asks for; "
                        f"nodes ordered now arrive in 12 min.",
                    )
                )
            if region.nodes_pending[i] > region.nodes_pending[i - 1]:
                marks.append(
                    DecisionMark(
                        at=at,
                        decision_id=f"d-{at:%H%M%S}-{i:04d}",
                        kind="nodes",
                        region=name,
                        rung=after,
                        title=f"{region.nodes_pending[i] - region.nodes_pending[i - 1]} more nodes in pool {name}-h100",
                        reason="Demand at the 90 % quantile needs them when they arrive, 12 min from now.",
                        nodes_added=region.nodes_pending[i] - region.nodes_pending[i - 1],
                    )
                )
    return tuple(sorted(marks, key=lambda mark: mark.at))


def _figures(
    policy: str,
    hottest: tuple[float, ...],
    tiers: dict[str, TierTrack],
    regions: dict[str, RegionTrack],
    step: float,
    lead: float | None,
) -> Figures:
    over = [max(0.0, value - SLOWDOWN_CELSIUS) for value in hottest]
    requests = {
        name: TierFigures(
            requests=Requests(
                offered=math.fsum(track.offered) * step,
                served=math.fsum(track.served) * step,
                limited=math.fsum(track.limited) * step,
                dropped=math.fsum(track.dropped) * step,
                abandoned=0.0,
            ),
            wait_seconds=WaitSeconds(p50=4.0, p95=31.5 if policy == "none" else 11.0, p99=88.0),
        )
        for name, track in tiers.items()
    }
    hours = math.fsum(math.fsum(region.nodes_serving) for region in regions.values()) * 8 * step / 3600
    return Figures(
        throttled_gpu_seconds=math.fsum(step * 20 for value in over if value),
        over_limit_degree_seconds=math.fsum(over) * step,
        max_temperature_celsius=max(hottest),
        gpus_shut_down=0,
        tiers=requests,
        regions={
            name: RegionFigures(
                minutes_limited={"free": math.fsum(step / 60 for rung in track.rung if rung >= 4), "paid": 0.0}
            )
            for name, track in regions.items()
        },
        gpu_hours=hours,
        cost=hours * 2.75,
        actions=0 if policy == "none" else 41,
        flag_changes=0 if policy == "none" else 17,
        first_action_lead_seconds=lead,
        regret=None,
    )


def sample_run_set(
    policies: tuple[str, ...] = ("none", "reactive", "meltguard"),
    *,
    seeds: int = 1,
    num_samples: int = 360,
    sample_seconds: float = 60.0,
) -> RunSet:
    """Return the runs of every policy and seed."""
    runs = tuple(
        sample_run(policy, seed=seed, num_samples=num_samples, sample_seconds=sample_seconds)
        for seed in range(seeds)
        for policy in policies
    )
    return RunSet(
        schema=REPLAY_SCHEMA,
        scenario="made-up-surge",
        title="A made-up surge for tests",
        slowdown_celsius=SLOWDOWN_CELSIUS,
        currency="USD",
        runs=runs,
    )


def sample_scenario(*, title: str = "A made-up surge for tests", facts: tuple[Fact, ...] | None = None) -> Scenario:
    """Return a scenario that fits the run set."""
    if facts is None:
        facts = (
            Fact(
                what="One million sign-ups in one hour at the peak",
                kind=FactKind.PUBLISHED,
                source="Made up for this test; see https://example.org/a?b=1&c=2.",
            ),
            Fact(what="0.14 °C per watt from inlet to die", kind=FactKind.MEASURED, source="Made up for this test"),
            Fact(
                what="8,000 sign-ups an hour before the surge",
                kind=FactKind.ASSUMED,
                source="Nobody published the rate before; this is a round guess",
            ),
        )
    site = Site(inlet_celsius=24.0, cooling_capacity_watts=2e5, overload_celsius_per_watt=1e-4)
    shares = (0.4, 0.35, 0.25)
    regions = tuple(
        Region(
            name=name,
            share=share,
            site=site,
            pools=(
                Pool(
                    name=f"{name}-h100",
                    nodes=6,
                    min_nodes=4,
                    max_nodes=20,
                    cost_per_node_hour=22.0,
                    lead_time_p50_seconds=720.0,
                    lead_time_p95_seconds=1200.0,
                ),
            ),
        )
        for name, share in zip(REGIONS, shares, strict=True)
    )
    tier = {
        "share": 0.5,
        "images_per_day": 20,
        "mean_images_per_user_day": 4.0,
        "harm_per_limited_request": 0.02,
        "harm_per_waited_second": 0.001,
    }
    return Scenario(
        schema="meltguard.scenario/v1",
        name="made-up-surge",
        title=title,
        description="A wave that no one saw.",
        start=START,
        duration_seconds=21600.0,
        users=Users(
            scale=0.01,
            wave=(WavePoint(at_seconds=0.0, signups_per_hour=8e3),),
            baseline_requests_per_second=10.0,
            day_amplitude_ratio=0.2,
            requests_per_user_hour=(4.0,),
            age_edges_seconds=(3600.0,),
            retry_ratio=0.3,
            retry_delay_seconds=60.0,
            patience_seconds=90.0,
            queue_bound_seconds=60.0,
        ),
        tiers=(
            Tier(name="free", priority=0, protected=False, **tier),
            Tier(name="paid", priority=5, protected=True, **tier),
        ),
        regions=regions,
        work=Work(tokens_per_image=1024.0, tokens_per_second_per_gpu=4000.0),
        gpu=Gpu(
            idle_watts=75.0,
            busy_watts=620.0,
            limit_watts=700.0,
            slowdown_celsius=SLOWDOWN_CELSIUS,
            shutdown_celsius=95.0,
            resistance_celsius_per_watt=0.09,
            resistance_spread_ratio=0.06,
        ),
        facts=facts,
    )
