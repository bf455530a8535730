"""How a limit ends when nobody renews it: from rung to the next milder one, user after user, never all at once.

A dead controller cannot restore in order, so the order stands in the flags themselves. For each region this is the path
from its position on the ladder down to "observe"; each stage lasts as long as the time to live, or less where the
whole way would take longer than :data:`MAX_EXPIRY_SECONDS`. Pure; called by the renderer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from controller.planning.flags import normal_value, tier_values
from controller.planning.ladder import is_limiting, milder
from controller.types import FlagValue, Ladder, Policy, TierSpec

MAX_EXPIRY_SECONDS = 900.0
"""From the last renewal until nothing is limited any more; a deleted policy must be gone by then."""

SPREAD_PARTS = 4
"""Within a stage the users follow in this many equal parts, by a hash of their id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What holds until a moment: one value, or two of which a share of the users has the second already.

    Attributes:
        until_seconds: Unix time at which this ends.
        value: The value; None is the normal one.
        next_value: What follows it; equal to ``value`` while nobody has moved on.
        parts_moved: How many of :data:`SPREAD_PARTS` parts of the users have ``next_value``.
    """

    until_seconds: int
    value: FlagValue | None
    next_value: FlagValue | None
    parts_moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The values of one flag for one region and tier, from now until it is normal again; empty: it stays normal."""

    handovers: tuple[Handover, ...]

    @property
    def ends_seconds(self) -> int | None:
        """Unix time after which the value is normal; None when it always is."""
        return self.handovers[-1].until_seconds if self.handovers else None


def expiry_path(ladder: Ladder, index: int) -> tuple[int, ...]:
    """Return the positions that a region passes when its limits are not renewed, the present one first, 0 last."""
    path = [index]
    while path[-1] > 0:
        path.append(milder(ladder, path[-1]) if is_limiting(ladder, path[-1]) else 0)
    return tuple(path)


def stage_seconds(policy: Policy, num_stages: int) -> float:
    """Return how long each of ``num_stages`` stages after the expiry lasts."""
    room_seconds = max(MAX_EXPIRY_SECONDS - policy.flag_ttl_seconds, float(SPREAD_PARTS))
    return min(policy.flag_ttl_seconds, room_seconds / max(num_stages, 1))


def courses(policy: Policy, index: int, tier: TierSpec, expires_at: datetime) -> Mapping[str, Course]:
    """Return the course of every flag that a position, or a milder one on its way out, sets for a tier.

    Args:
        policy: Ladder, tiers and times to live.
        index: The region's position.
        tier: The tier.
        expires_at: When the position ends unless it is renewed.

    Returns:
        Courses by flag key; flags that stay normal are left out.
    """
    path = expiry_path(policy.ladder, index)
    seconds = stage_seconds(policy, len(path) - 1)
    values = [tier_values(policy.ladder.steps[position], tier) for position in path]
    keys = sorted({key for stage in values for key in stage})
    found = {}
    for key in keys:
        usual = normal_value(key, tier)
        chain = [None if stage.get(key, usual) == usual else stage[key] for stage in values]
        found[key] = _course(chain, expires_at.timestamp(), seconds)
    return {key: course for key, course in found.items() if course.handovers}


def _course(chain: list[FlagValue | None], expires_seconds: float, seconds: float) -> Course:
    """Return the course of one flag from its value at each stage; None is normal, and so is what follows the last."""
    parts = [Handover(until_seconds=round(expires_seconds), value=chain[0], next_value=chain[0], parts_moved=0)]
    for number, (before, after) in enumerate(zip(chain[:-1], chain[1:], strict=True)):
        for part in range(1, SPREAD_PARTS + 1):
            until = round(expires_seconds + (number + part / SPREAD_PARTS) * seconds)
            if before == after or part == SPREAD_PARTS:
                parts.append(Handover(until_seconds=until, value=after, next_value=after, parts_moved=0))
            else:
                parts.append(Handover(until_seconds=until, value=before, next_value=after, parts_moved=part))
    merged: list[Handover] = []
    for handover in parts:
        same = merged and _content(merged[-1]) == _content(handover)
        merged = [*merged[:-1], handover] if same else [*merged, handover]
    while merged and _content(merged[-1]) == (None, None, 0):
        merged.pop()
    return Course(handovers=tuple(merged))


def _content(handover: Handover) -> tuple[FlagValue | None, FlagValue | None, int]:
    """Return what a handover says, without its end."""
    return handover.value, handover.next_value, handover.parts_moved
