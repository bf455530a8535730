"""Judges the inputs of a decision: how old they are, and what may rest on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from controller.types import FleetSnapshot, Freshness, InputAge, Policy, Sample

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


def review_inputs(snapshot: FleetSnapshot, policy: Policy, now: datetime) -> InputReview:
    """Return the ages and freshness of all inputs at ``now``."""
    inputs: list[InputAge] = []
    stale: set[str] = set()
    margins: dict[str, float] = {}

    def judge(name: str, region: str, sample: Sample[Value]) -> None:
        aged = sample.aged(now, stale_after_seconds=policy.stale_after_seconds)
        inputs.append(InputAge(name=name, age_seconds=aged.age_seconds(now), freshness=aged.freshness))
        if aged.freshness is not Freshness.FRESH:
            stale.add(region)

    for region in snapshot.regions:
        for tier in region.tiers:
            judge(f"{region.name}/{tier.tier}/first_attempt_rate", region.name, tier.first_attempt_rate)
    for pool in snapshot.pools:
        judge(f"{pool.name}/nodes", pool.region, pool.nodes)
        judge(f"{pool.name}/margin", pool.region, pool.margin)
        judge(f"{pool.name}/thermal", pool.region, pool.thermal)
        if pool.margin.value is not None:
            least = min(margins.get(pool.region, float("inf")), pool.margin.value.minimum_celsius)
            margins[pool.region] = least
    known = {pool.region for pool in snapshot.pools}
    stale |= {spec.name for spec in policy.regions if spec.name not in known}
    return InputReview(inputs=tuple(inputs), stale_regions=frozenset(stale), margins_celsius=margins)
