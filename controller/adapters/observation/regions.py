"""Regions and their tiers as the planner sees them, out of the inference servers' metrics. Pure."""

from __future__ import annotations

from datetime import datetime

from controller.adapters.observation.reading import Table, sample
from controller.adapters.observation.signals import Signal
from controller.types import Policy, RegionState, Sample, TierState


def region_states(table: Table, policy: Policy, now: datetime) -> tuple[RegionState, ...]:
    """Return every region of a policy.

    Args:
        table: The metrics.
        policy: Which regions and tiers there are, and how old a sample may be.
        now: The present.

    Returns:
        The regions, in the policy's order.
    """
    tiers = tuple(tier.name for tier in policy.tiers)
    return tuple(
        RegionState(
            name=region.name,
            tiers=tuple(_tier(table, region.name, tier, tiers, policy.stale_after_seconds, now) for tier in tiers),
        )
        for region in policy.regions
    )


def _tier(
    table: Table, region: str, tier: str, tiers: tuple[str, ...], stale_after_seconds: float, now: datetime
) -> TierState:
    """Return one tier of a region."""
    key = (region, tier)
    rate, at = table.get(Signal.FIRST_RATE, *key), table.get(Signal.FIRST_AT, *key)
    if at is None and _is_silent(table, region, tiers):
        rate, at = 0.0, max(_times(table, region))
    served = table.get(Signal.SERVED_RATE, *key)
    queue_at = table.get(Signal.QUEUE_AT, region)

    def aged(value: float | None, seconds: float | None, signal: Signal, name: tuple[str, ...]) -> Sample[float]:
        return sample(
            value if value is None else max(value, 0.0),
            seconds,
            now,
            stale_after_seconds=stale_after_seconds,
            contradictory=table.contradicts(name, signal),
        )

    return TierState(
        tier=tier,
        first_attempt_rate=aged(rate, at, Signal.FIRST_RATE, key),
        served_rate=aged(served, at, Signal.SERVED_RATE, key),
        queue_requests=aged(_queue(table, region, tier, tiers), queue_at, Signal.QUEUE, key),
        wait_seconds=aged(table.get(Signal.WAIT, region), queue_at, Signal.WAIT, (region,)),
    )


def _times(table: Table, region: str) -> list[float]:
    """Return when the tiers of a region were last scraped."""
    keys = [key for key in table.keys(Signal.FIRST_AT) if key[0] == region]
    return [at for key in keys if (at := table.get(Signal.FIRST_AT, *key)) is not None]


def _is_silent(table: Table, region: str, tiers: tuple[str, ...]) -> bool:
    """Return whether a tier without a series truly had no request.

    A server shows a tier from its first request on. When it shows others, and none that the policy does not know, the
    missing one was not misnamed: nobody of it came. Without any series of the region nothing is known.
    """
    seen = {key[1] for key in table.keys(Signal.FIRST_AT) if key[0] == region}
    return bool(seen) and seen <= set(tiers)


def _queue(table: Table, region: str, tier: str, tiers: tuple[str, ...]) -> float | None:
    """Return a tier's queue; a queue that is not told apart by tier is shared out by the rates of first attempts."""
    own = table.get(Signal.QUEUE, region, tier)
    if own is not None:
        return own
    whole = table.get(Signal.QUEUE, region, "")
    if whole is None:
        return None
    rates = {name: table.get(Signal.FIRST_RATE, region, name) or 0.0 for name in tiers}
    total = sum(rates.values())
    return whole / len(tiers) if total <= 0.0 else whole * rates[tier] / total
