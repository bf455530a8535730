"""Decides what may be believed: called once a decision, before anything else looks at snapshot or forecasts.

What comes out holds every region, tier and pool of the policy exactly once and in the policy's order. A value that is
not a number is absent, one from the future or at odds with itself is contradictory, one too old is stale, and what the
snapshot does not mention is absent: no data is never read as zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from math import isfinite
from typing import TypeVar

import numpy as np

from controller.types import (
    FleetSnapshot,
    ForecastSet,
    Freshness,
    NodeCounts,
    Policy,
    PoolMargin,
    PoolState,
    PoolThermal,
    RegionState,
    Sample,
    TierState,
)
from forecasting.types import DemandForecast

Value = TypeVar("Value")


def trusted_snapshot(snapshot: FleetSnapshot, policy: Policy, now: datetime) -> FleetSnapshot:
    """Return the snapshot as far as it may be believed.

    Args:
        snapshot: As it was read.
        policy: Which regions, tiers and pools there are, and how old a sample may be.
        now: Time of the decision.

    Returns:
        A snapshot that is complete and in the policy's order; limits that have expired are left out.
    """
    regions = {state.name: state for state in reversed(snapshot.regions)}
    pools = {state.name: state for state in reversed(snapshot.pools)}
    return replace(
        snapshot,
        regions=tuple(
            _region(regions.get(spec.name, RegionState(name=spec.name, tiers=())), policy, now)
            for spec in policy.regions
        ),
        pools=tuple(_pool(pools.get(spec.name), spec.name, spec.region, policy, now) for spec in policy.pools),
        flags=tuple(flag for flag in snapshot.flags if flag.expires_at > now),
        approvals=tuple(grant for grant in snapshot.approvals if grant.expires_at > now),
        overrides=tuple(order for order in snapshot.overrides if order.expires_at > now),
    )


def trusted_forecasts(forecasts: ForecastSet, policy: Policy, now: datetime) -> ForecastSet:
    """Return the forecasts that say something: numbers that a demand can be, issued at a time that has been.

    Args:
        forecasts: As they were issued.
        policy: How old one may be; half of that is forgiven to a clock that runs ahead.
        now: Time of the decision.

    Returns:
        The usable ones; age is judged with the other inputs.
    """
    ahead_seconds = policy.forecast_stale_after_seconds / 2.0

    def usable(forecast: DemandForecast) -> bool:
        age_seconds = (now - forecast.issued_at).total_seconds()
        values = (forecast.mean, forecast.quantiles)
        sound = all(value.size > 0 and bool(np.isfinite(value).all()) and float(value.min()) >= 0.0 for value in values)
        return sound and age_seconds >= -ahead_seconds

    return ForecastSet(
        demand=tuple(forecast for forecast in forecasts.demand if usable(forecast)),
        signups=tuple(forecast for forecast in forecasts.signups if usable(forecast)),
    )


def believable(sample: Sample[Value]) -> Value | None:
    """Return the value of a sample, fresh or old; None where there is none or where it contradicts itself."""
    return None if sample.freshness is Freshness.CONTRADICTORY else sample.value


def _judged(
    sample: Sample[Value],
    policy: Policy,
    now: datetime,
    *,
    is_number: Callable[[Value], bool],
    is_possible: Callable[[Value], bool],
) -> Sample[Value]:
    """Return a sample with the freshness that it deserves."""
    if sample.value is None or sample.as_of is None:
        return sample
    if not is_number(sample.value):
        return Sample.absent()
    in_future = (sample.as_of - now).total_seconds() > policy.stale_after_seconds
    if in_future or not is_possible(sample.value):
        return Sample(value=sample.value, as_of=sample.as_of, freshness=Freshness.CONTRADICTORY)
    return sample.aged(now, stale_after_seconds=policy.stale_after_seconds)


def _region(state: RegionState, policy: Policy, now: datetime) -> RegionState:
    """Return one region with every tier of the policy."""
    tiers = {tier.tier: tier for tier in reversed(state.tiers)}

    def judged(sample: Sample[float]) -> Sample[float]:
        return _judged(sample, policy, now, is_number=isfinite, is_possible=lambda value: value >= 0.0)

    absent: Sample[float] = Sample.absent()
    rows = []
    for spec in policy.tiers:
        seen = tiers.get(spec.name)
        rows.append(
            TierState(
                tier=spec.name,
                first_attempt_rate=absent if seen is None else judged(seen.first_attempt_rate),
                served_rate=absent if seen is None else judged(seen.served_rate),
                queue_requests=absent if seen is None else judged(seen.queue_requests),
                wait_seconds=absent if seen is None else judged(seen.wait_seconds),
            )
        )
    return RegionState(name=state.name, tiers=tuple(rows))


def _pool(state: PoolState | None, name: str, region: str, policy: Policy, now: datetime) -> PoolState:
    """Return one pool; a pool that the snapshot does not know has only absent samples."""
    if state is None:
        return PoolState(
            name=name,
            region=region,
            nodes=Sample.absent(),
            arrivals=(),
            margin=Sample.absent(),
            power_watts=Sample.absent(),
            throttled_ratio=Sample.absent(),
            seconds_to_slowdown=Sample.absent(),
            thermal=Sample.absent(),
        )
    return replace(
        state,
        region=region,
        nodes=_judged(state.nodes, policy, now, is_number=lambda counts: True, is_possible=_possible_counts),
        arrivals=tuple(arrival for arrival in state.arrivals if arrival.num_nodes > 0),
        margin=_judged(state.margin, policy, now, is_number=_is_margin, is_possible=_possible_margin),
        power_watts=_judged(state.power_watts, policy, now, is_number=isfinite, is_possible=lambda v: v >= 0.0),
        guard_ratio=_judged(
            state.guard_ratio, policy, now, is_number=isfinite, is_possible=lambda ratio: 0.0 <= ratio <= 1.0
        ),
        thermal=_judged(state.thermal, policy, now, is_number=_is_thermal, is_possible=_possible_thermal),
    )


def _possible_counts(counts: NodeCounts) -> bool:
    """Return whether node counts can be: none negative, and no more serving than exist."""
    least = min(counts.desired, counts.created, counts.ready, counts.serving, counts.pending)
    return least >= 0 and counts.serving <= counts.created


def _is_margin(margin: PoolMargin) -> bool:
    """Return whether a margin is made of numbers."""
    return isfinite(margin.minimum_celsius) and isfinite(margin.low_celsius) and isfinite(margin.median_celsius)


def _possible_margin(margin: PoolMargin) -> bool:
    """Return whether a margin's quantiles are in order."""
    return margin.minimum_celsius <= margin.low_celsius <= margin.median_celsius


def _is_thermal(thermal: PoolThermal) -> bool:
    """Return whether a response is made of numbers."""
    vectors = (thermal.time_constants_seconds, thermal.gains_celsius_per_watt, thermal.filtered_power_watts)
    scalars = (
        thermal.offset_celsius,
        thermal.offset_trend_celsius_per_second,
        thermal.limit_celsius,
        thermal.idle_power_watts,
        thermal.busy_power_watts,
    )
    return all(isfinite(value) for vector in (*vectors, scalars) for value in vector)


def _possible_thermal(thermal: PoolThermal) -> bool:
    """Return whether a response can be: matching shapes, positive time constants, no gain below zero."""
    num_filters = len(thermal.time_constants_seconds)
    shapes = num_filters == len(thermal.gains_celsius_per_watt) == len(thermal.filtered_power_watts) > 0
    return (
        shapes
        and min(thermal.time_constants_seconds) > 0.0
        and min(thermal.gains_celsius_per_watt) >= 0.0
        and 0.0 <= thermal.idle_power_watts <= thermal.busy_power_watts
    )
