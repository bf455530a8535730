"""Turns forecasts and samples into the demand that a region is prepared for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from controller.planning.evidence import believable
from controller.planning.prices import UNSERVED_FACTOR
from controller.types import ForecastSet, Policy, RegionState
from forecasting.types import FloatArray, SurgePhase

SCENARIO_LEVELS: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Middles of five equally likely slices of what may come; nodes are judged by their mean harm over these."""
UNCONFIRMED_SECONDS = 600.0
"""How long a surge that requests do not show yet waits for them: new users begin within minutes, counters jump."""
CONFIRMING_LEVEL = 0.9
CONFIRMING_RATIO = 1.1
"""Requests that exceed this quantile of their own forecast by a tenth confirm a surge: more than a minute's chance."""
LOWEST_QUANTILE = 0.5
HIGHEST_QUANTILE = 0.99
"""Bounds of the derived quantile: nobody plans for less than half of what may come, and forecasts end here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionDemand:
    """The offered demand of one region over the horizon, in requests a second, shape ``(num_tiers, num_steps)``.

    Attributes:
        planned: At the policy's quantile; capacity and heat answer to this.
        expected: The mean; harm is counted with this.
        scenarios: Equally likely courses, shape ``(num_scenarios, num_tiers, num_steps)``; nodes answer to these.
            In a surge that only sign-ups show, none exceeds the median.
        surging: Whether any of the region's series is in a surge.
        forecast_tiers: Number of tiers that have a forecast; the others hold their present rate.
        known_tiers: Number of tiers with any evidence at all, forecast or sample.
    """

    planned: FloatArray
    expected: FloatArray
    scenarios: FloatArray
    surging: bool
    forecast_tiers: int
    known_tiers: int


def region_demand(
    region: RegionState, forecasts: ForecastSet, policy: Policy, num_steps: int, now: datetime
) -> RegionDemand:
    """Return the demand of one region on the plan's grid.

    A forecast counts from its own time of issue; one that ends before the horizon holds its last value. A tier without
    a forecast holds its present rate, stale or not, since an old rate is still better evidence than zero.

    Args:
        region: The region's samples.
        forecasts: Forecasts of all regions.
        policy: Tiers, grid and quantile.
        num_steps: Length of the horizon.
        now: Time of the decision; step ``i`` lasts from ``now + i * step_seconds`` on.

    Returns:
        The demand.
    """
    states = {state.tier: state for state in region.tiers}
    planned = np.zeros((len(policy.tiers), num_steps))
    expected = np.zeros_like(planned)
    levels = SCENARIO_LEVELS if policy.demand_quantile is None else (policy.demand_quantile,)
    scenarios = np.zeros((len(levels), len(policy.tiers), num_steps))
    surging = False
    num_forecast = num_known = 0
    quantile = planned_quantile(region.name, forecasts, policy)
    middle_seconds = (np.arange(num_steps) + 0.5) * policy.step_seconds
    for index, tier in enumerate(policy.tiers):
        forecast = forecasts.of(region.name, tier.name)
        rate = believable(states[tier.name].first_attempt_rate) if tier.name in states else None
        if forecast is not None and forecast.num_steps > 0:
            num_forecast += 1
            surging = surging or forecast.surge.phase in (SurgePhase.ONSET, SurgePhase.SURGE)
            since_issue = middle_seconds + (now - forecast.issued_at).total_seconds()
            steps = np.clip((since_issue / forecast.step_seconds).astype(np.int64), 0, forecast.num_steps - 1)
            expected[index] = forecast.mean[steps] / forecast.step_seconds
            # A mean above the upper quantile (a heavy tail) must not be planned away.
            planned[index] = np.maximum(forecast.at_level(quantile)[steps] / forecast.step_seconds, expected[index])
            for row, level in enumerate(levels):
                scenarios[row, index] = forecast.at_level(level)[steps] / forecast.step_seconds
        elif rate is not None:
            planned[index] = expected[index] = rate
            scenarios[:, index] = rate
        num_known += int(rate is not None or (forecast is not None and forecast.num_steps > 0))
    surging = surging or any(
        f.key.region == region.name and f.surge.phase in (SurgePhase.ONSET, SurgePhase.SURGE) for f in forecasts.signups
    )
    if surging and policy.demand_quantile is None and _is_unconfirmed(region, forecasts, now):
        scenarios = np.minimum(scenarios, scenarios[SCENARIO_LEVELS.index(0.5)])
    return RegionDemand(
        planned=planned,
        expected=expected,
        scenarios=scenarios,
        surging=surging,
        forecast_tiers=num_forecast,
        known_tiers=num_known,
    )


def _is_unconfirmed(region: RegionState, forecasts: ForecastSet, now: datetime) -> bool:
    """Return whether a young surge shows in sign-ups alone: a counter may have jumped, and nobody has come yet.

    Requests are silent only if every tier's rate is fresh; what nobody sees speaks for no calm.
    """
    surges = [
        forecast.surge for forecast in (*forecasts.demand, *forecasts.signups) if forecast.key.region == region.name
    ]
    begun = [surge.since for surge in surges if surge.phase in (SurgePhase.ONSET, SurgePhase.SURGE)]
    young = all(since is not None and (now - since).total_seconds() < UNCONFIRMED_SECONDS for since in begun)
    if not begun or not young or not all(state.first_attempt_rate.is_fresh for state in region.tiers):
        return False
    seen = sum(believable(state.first_attempt_rate) or 0.0 for state in region.tiers)
    usual = 0.0
    for state in region.tiers:
        forecast = forecasts.of(region.name, state.tier)
        if forecast is None or forecast.num_steps == 0:
            return False
        step = int(
            np.clip((now - forecast.issued_at).total_seconds() / forecast.step_seconds, 0, forecast.num_steps - 1)
        )
        usual += float(forecast.at_level(CONFIRMING_LEVEL)[step]) / forecast.step_seconds
    return seen <= CONFIRMING_RATIO * usual


def planned_quantile(region: str, forecasts: ForecastSet, policy: Policy) -> float:
    """Return the quantile of demand that a region is prepared for.

    The newsvendor's critical ratio ``c_u / (c_u + c_o)`` (Arrow, Harris and Marschak, Econometrica 19, 1951):
    ``c_u`` is the harm of a request that finds no capacity, over the tiers as they are expected; ``c_o`` is what the
    capacity of one request costs when it is not needed.

    Args:
        region: The region.
        forecasts: Expected demand, which weighs the tiers.
        policy: Harm, node costs and the cost of a request; its own quantile overrides.

    Returns:
        A level between :data:`LOWEST_QUANTILE` and :data:`HIGHEST_QUANTILE`.
    """
    if policy.demand_quantile is not None:
        return policy.demand_quantile
    means = [forecasts.of(region, tier.name) for tier in policy.tiers]
    rates = np.array([0.0 if forecast is None else float(forecast.mean.mean()) for forecast in means])
    weights = rates / rates.sum() if rates.sum() > 0.0 else np.full(rates.size, 1.0 / rates.size)
    under = UNSERVED_FACTOR * float(weights @ np.array([tier.harm_per_limited_request for tier in policy.tiers]))
    pools = [spec for spec in policy.pools if spec.region == region]
    if not pools or under <= 0.0:
        return LOWEST_QUANTILE
    per_request = policy.capacity.gpu_seconds_per_request / 3600.0
    over = min(spec.cost_per_node_hour / spec.gpus_per_node for spec in pools) * per_request
    return min(max(under / (under + over), LOWEST_QUANTILE), HIGHEST_QUANTILE)
