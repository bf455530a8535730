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


def normal_value(key: str, tier: TierSpec) -> FlagValue:
    """Return a flag's value when nothing is limited.

    Raises:
        KeyError: If no limit of ours uses the flag.
    """
    values: dict[str, FlagValue] = {
        "image-generation-enabled": True,
        "images-per-day": tier.images_per_day,
        "admission-ratio": 1.0,
        "batch-admitted": True,
    }
    return values[key]


def tier_values(step: LadderStep, tier: TierSpec) -> dict[str, FlagValue]:
    """Return the flags that a position sets for a tier; only those that differ from normal."""
    if tier.protected:
        return {"admission-ratio": step.admission_ratio} if step.rung is Rung.PAID_IMPACT else {}
    values: dict[str, FlagValue] = {}
    if tier.deferrable and not step.batch_admitted:
        values["batch-admitted"] = False
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
    """Return the whole flag set for the regions' positions on the ladder."""
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
    """Return what must be written so that ``wanted`` holds; empty when what is in force may stand.

    Cases a flag and scope: new or other value: set it; same value and close to its expiry: renew it; in force and no
    longer wanted: return it to normal.
    """
    tiers = {tier.name: tier for tier in policy.tiers}
    held = {(flag.key, flag.region, flag.tier): flag for flag in in_force}
    goal = {(flag.key, flag.region, flag.tier): flag for flag in wanted}
    renew_before = now + timedelta(seconds=policy.flag_ttl_seconds * RENEW_BELOW_RATIO)
    actions = []
    for place, flag in goal.items():
        before = held.get(place)
        usual = normal_value(flag.key, tiers[flag.tier]) if flag.tier in tiers else True
        changed = before is None or before.value != flag.value
        if not changed and before is not None and before.expires_at > renew_before:
            continue
        why = reasons[flag.region] if changed else Reason(code="renewed", text=f"{flag.region}: limit still needed")
        actions.append(
            FlagAction(
                key=flag.key,
                scope=FlagScope(region=flag.region, tier=flag.tier),
                from_value=usual if before is None else before.value,
                to_value=flag.value,
                expires_at=flag.expires_at,
                why=why,
                inverse=usual,
            )
        )
    for place, flag in held.items():
        if place not in goal and flag.tier in tiers:
            usual = normal_value(flag.key, tiers[flag.tier])
            actions.append(
                FlagAction(
                    key=flag.key,
                    scope=FlagScope(region=flag.region, tier=flag.tier),
                    from_value=flag.value,
                    to_value=usual,
                    expires_at=None,
                    why=reasons.get(flag.region, Reason(code="restored", text=f"{flag.region}: limit lifted")),
                    inverse=flag.value,
                )
            )
    return tuple(actions)
