"""What people tell the operator, in annotations of a SurgePolicy that kubectl alone can write.

::

    approve.meltguard.dev/eu:       rung=7 until=2026-03-31T19:00:00Z by=alice
    limit.meltguard.dev/eu:         rung=4 until=2026-03-31T19:00:00Z by=alice reason=load test
    breaker-reset.meltguard.dev/eu: 2026-03-31T18:05:00Z by=alice
    meltguard.dev/paused:           scaleIn | scaleOut | all

Each ends by itself at its time, at most :data:`MAX_HOURS` after it was read. Pure: texts in, values out; a text that
cannot be understood is a problem that is reported, and never an order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.types import ApprovalGrant, Rung, RungOverride

APPROVE_PREFIX = "approve.meltguard.dev/"
LIMIT_PREFIX = "limit.meltguard.dev/"
BREAKER_PREFIX = "breaker-reset.meltguard.dev/"
MAX_HOURS = 24
"""Longest time that an order may hold: nobody's word of last month steers a fleet."""
MAX_ORDERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What people have said.

    Attributes:
        approvals: Leave to enter a rung.
        overrides: Rungs set by hand.
        breaker_resets: Regions whose breaker a person closes, with the text of the order.
        problems: What could not be understood, one sentence each.
    """

    approvals: tuple[ApprovalGrant, ...] = ()
    overrides: tuple[RungOverride, ...] = ()
    breaker_resets: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()


def write_order(*, rung: int | None, until: datetime, by: str, reason: str = "") -> str:
    """Return the text of an order.

    Args:
        rung: The rung; None for an order without one.
        until: When it ends, aware.
        by: Who gives it; spaces become dots.
        reason: Why.

    Returns:
        The annotation's value.
    """
    parts = [] if rung is None else [f"rung={rung}"]
    parts += [f"until={until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", f"by={'.'.join(by.split()) or 'unknown'}"]
    return " ".join([*parts, f"reason={' '.join(reason.split())}"] if reason else parts)


def read_orders(annotations: Mapping[str, str], regions: frozenset[str], now: datetime) -> Orders:
    """Return what the annotations of a policy say.

    Args:
        annotations: All of them; others are passed over.
        regions: Regions that the policy has.
        now: Orders that have ended before this are passed over.

    Returns:
        The orders and what could not be understood.
    """
    approvals: list[ApprovalGrant] = []
    overrides: list[RungOverride] = []
    resets: list[tuple[str, str]] = []
    problems: list[str] = []
    for key, text in sorted(annotations.items())[:MAX_ORDERS]:
        prefix = next((p for p in (APPROVE_PREFIX, LIMIT_PREFIX, BREAKER_PREFIX) if key.startswith(p)), None)
        if prefix is None:
            continue
        region = key.removeprefix(prefix)
        if region not in regions:
            problems.append(f"annotation {key}: the policy has no region {region!r}")
            continue
        if prefix == BREAKER_PREFIX:
            resets.append((region, text))
            continue
        try:
            rung, until, by, reason = _read_order(text)
        except ValueError as error:
            problems.append(f"annotation {key}: {error}")
            continue
        until = min(until, now + timedelta(hours=MAX_HOURS))
        if until <= now:
            continue
        if prefix == APPROVE_PREFIX:
            approvals.append(ApprovalGrant(region=region, rung=rung, approved_by=by, expires_at=until))
        else:
            overrides.append(RungOverride(region=region, rung=rung, set_by=by, reason=reason, expires_at=until))
    return Orders(
        approvals=tuple(approvals),
        overrides=tuple(overrides),
        breaker_resets=tuple(resets),
        problems=tuple(problems),
    )


def _read_order(text: str) -> tuple[Rung, datetime, str, str]:
    """Return rung, end, author and reason of an order.

    Raises:
        ValueError: If it lacks one of the first two or has nonsense there.
    """
    head, _, reason = text.partition(" reason=")
    fields = dict(re.findall(r"(rung|until|by)=(\S+)", head))
    if not re.fullmatch("[0-7]", fields.get("rung", "")):
        raise ValueError(f"{text!r} names no rung; write rung=0 … rung=7")
    try:
        until = datetime.fromisoformat(fields.get("until", ""))
    except ValueError as error:
        raise ValueError(f"{text!r} has no end; write until=2026-03-31T19:00:00Z") from error
    if until.tzinfo is None:
        raise ValueError(f"{text!r}: the end needs a zone, such as Z")
    return Rung(int(fields["rung"])), until.astimezone(UTC), fields.get("by", "unknown"), reason.strip()
