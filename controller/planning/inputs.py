"""Judges the inputs of a decision: how old they are, and what may rest on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from controller.types import FleetSnapshot, ForecastSet, Freshness, InputAge, Policy, Sample

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputReview:
    """The inputs of one decision.

    Attributes:
        inputs: Every input with its age.
        stale_regions: Regions where an input that a restore or a scale-in needs is not fresh.
        margins_celsius: Lowest margin seen in each region; missing where no pool answered.
    """

    inputs: tuple[InputAge, ...]
    stale_regions: frozenset[str]
    margins_celsius: dict[str, float]

    def is_fresh(self, region: str) -> bool:
        """Return whether limits may be lifted and nodes taken away in a region."""
        return region not in self.stale_regions

    def least_margin_celsius(self, region: str) -> float:
        """Return how near a region is to its limit; a region that cannot be seen counts as the nearest."""
        return self.margins_celsius.get(region, float("-inf"))


def review_inputs(snapshot: FleetSnapshot, forecasts: ForecastSet, policy: Policy, now: datetime) -> InputReview:
    """Judge all inputs of a decision.

    Args:
        snapshot: As :func:`~controller.planning.evidence.trusted_snapshot` returns it.
        forecasts: As :func:`~controller.planning.evidence.trusted_forecasts` returns them.
        policy: How old an input may be.
        now: Time of the decision.

    Returns:
        Ages and freshness; a tier without a forecast makes its region stale, since nobody knows what is to come.
    """
    inputs: list[InputAge] = []
    stale: set[str] = set()
    margins: dict[str, float] = {}

    def judge(name: str, region: str, sample: Sample[Value]) -> None:
        inputs.append(InputAge(name=name, age_seconds=sample.age_seconds(now), freshness=sample.freshness))
        if not sample.is_fresh:
            stale.add(region)

    for region in snapshot.regions:
        for tier in region.tiers:
            judge(f"{region.name}/{tier.tier}/first_attempt_rate", region.name, tier.first_attempt_rate)
            judge(f"{region.name}/{tier.tier}/queue_requests", region.name, tier.queue_requests)
            age_seconds, freshness = _forecast_age(forecasts, region.name, tier.tier, policy, now)
            inputs.append(
                InputAge(name=f"{region.name}/{tier.tier}/forecast", age_seconds=age_seconds, freshness=freshness)
            )
            if freshness is not Freshness.FRESH:
                stale.add(region.name)
    for pool in snapshot.pools:
        judge(f"{pool.name}/nodes", pool.region, pool.nodes)
        judge(f"{pool.name}/margin", pool.region, pool.margin)
        judge(f"{pool.name}/thermal", pool.region, pool.thermal)
        if pool.margin.value is not None:
            least = min(margins.get(pool.region, float("inf")), pool.margin.value.minimum_celsius)
            margins[pool.region] = least
    with_pools = {pool.region for pool in snapshot.pools}
    stale |= {spec.name for spec in policy.regions if spec.name not in with_pools}
    return InputReview(inputs=tuple(inputs), stale_regions=frozenset(stale), margins_celsius=margins)


def _forecast_age(
    forecasts: ForecastSet, region: str, tier: str, policy: Policy, now: datetime
) -> tuple[float | None, Freshness]:
    """Return the age of a tier's forecast and whether it may be acted on."""
    forecast = forecasts.of(region, tier)
    if forecast is None:
        return None, Freshness.ABSENT
    age_seconds = (now - forecast.issued_at).total_seconds()
    return age_seconds, Freshness.FRESH if age_seconds <= policy.forecast_stale_after_seconds else Freshness.STALE
