"""From positions on the ladder to the flag set of the contract, and from two flag sets to actions."""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.types import (
    FlagAction,
    FlagInForce,
    FlagScope,
    FlagValue,
    LadderStep,
    Policy,
    Reason,
    Rung,
    TierSpec,
)

RENEW_BELOW_RATIO = 0.5
"""A limit is renewed when less than this share of its time to live is left."""


def normal_value(key: str, tier: TierSpec) -> FlagValue | None:
    """Return a flag's value when nothing is limited; None for a flag that no limit of ours uses."""
    values: dict[str, FlagValue] = {
        "image-generation-enabled": True,
        "images-per-day": tier.images_per_day,
        "admission-ratio": 1.0,
        "batch-admitted": True,
    }
    return values.get(key)


def tier_values(step: LadderStep, tier: TierSpec) -> dict[str, FlagValue]:
    """Return the flags that a position sets for a tier; only those that differ from normal."""
    if tier.protected:
        return {"admission-ratio": step.admission_ratio} if step.rung is Rung.PAID_IMPACT else {}
    if tier.deferrable and not step.batch_admitted:
        # Work that waits needs no quota, and a write that says nothing is not made.
        return {"batch-admitted": False}
    values: dict[str, FlagValue] = {}
    if not step.generation_enabled:
        values["image-generation-enabled"] = False
    if step.images_per_day is not None and step.images_per_day < tier.images_per_day:
        values["images-per-day"] = step.images_per_day
    if step.admission_ratio < 1.0 and step.generation_enabled:
        values["admission-ratio"] = step.admission_ratio
    return values


def flag_set(
    policy: Policy, positions: dict[str, int], *, revision: int, expires_at: datetime
) -> tuple[FlagInForce, ...]:
    """Return the whole flag set for the regions' positions on the ladder.

    Args:
        policy: Tiers and ladder.
        positions: Each region's position.
        revision: Revision of the set.
        expires_at: When it ends by itself.

    Returns:
        The flags that differ from normal.
    """
    flags = []
    for region, index in positions.items():
        for tier in policy.tiers:
            for key, value in tier_values(policy.ladder.steps[index], tier).items():
                flags.append(
                    FlagInForce(
                        key=key,
                        region=region,
                        tier=tier.name,
                        value=value,
                        revision=revision,
                        expires_at=expires_at,
                    )
                )
    return tuple(flags)


def flag_actions(
    policy: Policy,
    in_force: tuple[FlagInForce, ...],
    wanted: tuple[FlagInForce, ...],
    reasons: dict[str, Reason],
    now: datetime,
) -> tuple[FlagAction, ...]:
    """Return what must be written so that ``wanted`` holds.

    Cases a flag and scope: new or other value: set it; same value and close to its expiry: renew it; in force and no
    longer wanted: return it to normal. Flags, tiers and scopes that no limit of ours uses are somebody else's and stay.

    Args:
        policy: Tiers and times to live.
        in_force: What consumers hold.
        wanted: What they should hold.
        reasons: Why, by region.
        now: Time of the decision.

    Returns:
        The actions; empty when what is in force may stand.
    """
    tiers = {tier.name: tier for tier in policy.tiers}
    held = {(flag.key, flag.region, flag.tier): flag for flag in in_force}
    goal = {(flag.key, flag.region, flag.tier): flag for flag in wanted}
    renew_before = now + timedelta(seconds=policy.flag_ttl_seconds * RENEW_BELOW_RATIO)
    actions = []
    for place, flag in goal.items():
        before = held.get(place)
        usual = _usual(flag, tiers)
        if usual is None:
            continue
        changed = before is None or before.value != flag.value
        if not changed and before is not None and before.expires_at > renew_before:
            continue
        why = reasons[flag.region] if changed else Reason(code="renewed", text=f"{flag.region}: limit still needed")
        before_value = usual if before is None else before.value
        actions.append(_action(flag, before_value, flag.value, why, expires_at=flag.expires_at, inverse=usual))
    for place, flag in held.items():
        usual = _usual(flag, tiers)
        if place not in goal and usual is not None and flag.region in reasons:
            why = reasons[flag.region]
            actions.append(_action(flag, flag.value, usual, why, expires_at=None, inverse=flag.value))
    return tuple(actions)


def _usual(flag: FlagInForce, tiers: dict[str, TierSpec]) -> FlagValue | None:
    """Return what a flag is without limits; None when it is not ours."""
    return normal_value(flag.key, tiers[flag.tier]) if flag.tier in tiers else None


def _action(
    flag: FlagInForce,
    before: FlagValue,
    after: FlagValue,
    why: Reason,
    *,
    expires_at: datetime | None,
    inverse: FlagValue,
) -> FlagAction:
    """Return the action that brings a flag from one value to another."""
    return FlagAction(
        key=flag.key,
        scope=FlagScope(region=flag.region, tier=flag.tier),
        from_value=before,
        to_value=after,
        expires_at=expires_at,
        why=why,
        inverse=inverse,
    )
