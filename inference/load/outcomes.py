"""What became of each wish, and the figures that follow: percentiles, shares, goodput. Pure.

Latencies run from the moment at which the schedule wanted the request, not from that at which it was sent: a server
(or a generator) that holds requests up cannot hide it (no coordinated omission).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

SCHEMA = "meltguard.load/v1"
WITHIN_RATIO = 0.2
LEAST_JUDGED_WAIT_SECONDS = 0.25
"""Shorter waits are a few steps of the engine; a share of them says nothing about the estimate."""


class Fate(StrEnum):
    """How a wish ended."""

    SERVED = "served"
    LIMITED = "limited"
    FAILED = "failed"
    NOT_SENT = "not_sent"


@dataclass(slots=True, kw_only=True)
class WishRecord:
    """One first attempt and its retries.

    Attributes:
        tier: Of the user.
        region: Of the user.
        is_new: The user signed up within the run.
        wanted_at: When the schedule wanted it, seconds from the start.
        sent_late_seconds: How much later the generator sent it.
        fate: How it ended.
        ended_at: When, seconds from the start.
        num_retries: Attempts after the first.
        codes: Error codes of the refusals on the way.
        served_seconds: Of the attempt that was served, from its sending (from the schedule's moment for a first one).
        estimated_wait_seconds: As the server told; None where it did not.
        actual_wait_seconds: As the server told in the end.
        num_images: Images received.
    """

    tier: str
    region: str
    is_new: bool
    wanted_at: float
    sent_late_seconds: float = 0.0
    fate: Fate = Fate.FAILED
    ended_at: float = 0.0
    num_retries: int = 0
    codes: list[str] = field(default_factory=list)
    served_seconds: float | None = None
    estimated_wait_seconds: float | None = None
    actual_wait_seconds: float | None = None
    num_images: int = 0


class Percentiles(msgspec.Struct, frozen=True):
    """Of a duration, in seconds; null without any value."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Group(msgspec.Struct, frozen=True):
    """The figures of one tier, region or cohort.

    Attributes:
        offered: Wishes.
        attempts: Requests sent, retries included.
        served: Wishes that got their images.
        limited: Wishes that ended refused.
        failed: Wishes that ended without a proper answer.
        not_sent: Wishes that the generator itself could not send.
        refusals: Refused attempts by error code.
        latency_seconds: Of served attempts, from the moment that the schedule wanted them.
        to_image_seconds: Of served wishes, from the first attempt, retries and waits between them included.
        wait_seconds: For a slot, as the server told.
        estimate_within_20_percent_ratio: Share of waits of at least 0.25 s whose estimate was within 20 %.
        judged_waits: How many those are.
    """

    offered: int
    attempts: int
    served: int
    limited: int
    failed: int
    not_sent: int
    refusals: dict[str, int]
    latency_seconds: Percentiles
    to_image_seconds: Percentiles
    wait_seconds: Percentiles
    estimate_within_20_percent_ratio: float | None
    judged_waits: int


class LoadReport(msgspec.Struct, frozen=True):
    """What a run of the generator saw, schema ``meltguard.load/v1``."""

    schema: str
    url: str
    duration_seconds: float
    offered_per_second: float
    served_images_per_second: float
    generator_lag_seconds: Percentiles
    total: Group
    tiers: dict[str, Group]
    regions: dict[str, Group]
    cohorts: dict[str, Group]


def percentile(ascending: Sequence[float], share: float) -> float | None:
    """Return the value below or at which ``share`` of the ascending values lie (nearest rank); None without any."""
    if not ascending:
        return None
    rank = max(-(-len(ascending) * round(share * 1000) // 1000), 1)
    return round(ascending[rank - 1], 4)


def percentiles(values: Iterable[float | None]) -> Percentiles:
    """Return the usual percentiles of what is not None."""
    ascending = sorted(value for value in values if value is not None)
    return Percentiles(*(percentile(ascending, share) for share in (0.5, 0.9, 0.95, 0.99, 1.0)))


def group(records: Sequence[WishRecord]) -> Group:
    """Return the figures of some wishes."""
    fates = Counter(record.fate for record in records)
    served = [record for record in records if record.fate is Fate.SERVED]
    judged = [
        abs(record.estimated_wait_seconds - record.actual_wait_seconds) <= WITHIN_RATIO * record.actual_wait_seconds
        for record in served
        if record.estimated_wait_seconds is not None
        and record.actual_wait_seconds is not None
        and record.actual_wait_seconds >= LEAST_JUDGED_WAIT_SECONDS
    ]
    return Group(
        offered=len(records),
        attempts=sum(record.num_retries + 1 for record in records) - fates[Fate.NOT_SENT],
        served=fates[Fate.SERVED],
        limited=fates[Fate.LIMITED],
        failed=fates[Fate.FAILED],
        not_sent=fates[Fate.NOT_SENT],
        refusals=dict(sorted(Counter(code for record in records for code in record.codes).items())),
        latency_seconds=percentiles(record.served_seconds for record in served),
        to_image_seconds=percentiles(record.ended_at - record.wanted_at for record in served),
        wait_seconds=percentiles(record.actual_wait_seconds for record in served),
        estimate_within_20_percent_ratio=round(sum(judged) / len(judged), 4) if judged else None,
        judged_waits=len(judged),
    )


def report(url: str, duration_seconds: float, records: Sequence[WishRecord]) -> LoadReport:
    """Return the report of a run.

    Args:
        url: What was offered load.
        duration_seconds: Length of the schedule.
        records: Every wish.

    Returns:
        The figures in all, by tier, by region and by cohort; goodput counts images that came within the schedule.
    """
    in_time = sum(record.num_images for record in records if record.ended_at <= duration_seconds)

    def grouped(names: Sequence[str]) -> dict[str, Group]:
        members: dict[str, list[WishRecord]] = {}
        for name, record in zip(names, records, strict=True):
            members.setdefault(name, []).append(record)
        return {name: group(members[name]) for name in sorted(members)}

    return LoadReport(
        schema=SCHEMA,
        url=url,
        duration_seconds=duration_seconds,
        offered_per_second=round(len(records) / duration_seconds, 4),
        served_images_per_second=round(in_time / duration_seconds, 4),
        generator_lag_seconds=percentiles(record.sent_late_seconds for record in records),
        total=group(records),
        tiers=grouped([record.tier for record in records]),
        regions=grouped([record.region or "-" for record in records]),
        cohorts=grouped(["new" if record.is_new else "standing" for record in records]),
    )
