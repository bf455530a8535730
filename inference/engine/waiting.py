"""The queue: weighted priority with ageing, slots reserved by tier, limits in requests and in tokens. Pure.

Every waiting image gains priority at the same rate, so weight and age together are one number that never changes: a
virtual time of arrival, earlier than the real one by ``weight * seconds_per_weight``. A light image is overtaken only
by heavier ones that come within the difference, so none starves (docs/decisions/0091-ageing-is-a-head-start.md).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from typing import Protocol

from inference.engine.work import ImageTask, Job, QueueKey


class Waiting(Protocol):
    """A waiting image, as far as admission is concerned."""

    @property
    def key(self) -> QueueKey:
        """Its place in the queue."""
        ...

    @property
    def num_rows(self) -> int:
        """Rows that it needs."""
        ...


def next_tier(
    heads: Mapping[str, Waiting],
    *,
    num_free_rows: int,
    busy_by_tier: Mapping[str, int],
    reserved_by_tier: Mapping[str, int],
) -> str | None:
    """Choose the tier whose first image gets rows next.

    The cases: the first in the queue fits beside what is kept for other tiers, and goes; or it does not, and then
    another tier may go within its own reservation, where it takes nothing that the first one waits for; or nobody may,
    and nothing runs: then the first goes if it fits at all, or a low bound would leave it waiting before idle rows.

    Args:
        heads: The first waiting image of each tier that has one.
        num_free_rows: Rows that may be taken.
        busy_by_tier: Rows that each tier has.
        reserved_by_tier: Rows that are kept for each tier.

    Returns:
        The tier, or None when nobody may go.
    """
    # Estimates call this for every image that waits, many times a second: it makes nothing that it can do without.
    kept = 0
    for tier, reserved in reserved_by_tier.items():
        kept += max(0, reserved - busy_by_tier.get(tier, 0))
    in_order = sorted(heads, key=lambda name: heads[name].key) if len(heads) > 1 else list(heads)
    for place, tier in enumerate(in_order):
        num_rows = heads[tier].num_rows
        own = max(0, reserved_by_tier.get(tier, 0) - busy_by_tier.get(tier, 0))
        fits_beside_others = num_rows <= num_free_rows - (kept - own)
        fits_in_reservation = num_rows <= min(own, num_free_rows)
        if fits_in_reservation or (place == 0 and fits_beside_others):
            return tier
    is_idle = not any(busy_by_tier.values())
    if in_order and is_idle and heads[in_order[0]].num_rows <= num_free_rows:
        return in_order[0]
    return None


class WaitingQueue:
    """Images that wait for rows, by tier and in order.

    Args:
        seconds_per_weight: Head start of one unit of weight.
    """

    def __init__(self, seconds_per_weight: float) -> None:
        self._seconds_per_weight = seconds_per_weight
        self._by_tier: dict[str, list[ImageTask]] = {}
        self._tokens_by_tier: dict[str, int] = {}
        self._num_arrivals = 0

    def __len__(self) -> int:
        return sum(len(images) for images in self._by_tier.values())

    @property
    def num_tokens(self) -> int:
        """Image tokens that wait."""
        return sum(self._tokens_by_tier.values())

    @property
    def tokens_by_tier(self) -> dict[str, int]:
        """Image tokens that wait, by tier; a tier that waited once stays, with 0."""
        return dict(self._tokens_by_tier)

    @property
    def images(self) -> list[ImageTask]:
        """All that wait, in no order across tiers."""
        return [image for images in self._by_tier.values() for image in images]

    def virtual_time(self, weight: float, submitted_at: float) -> float:
        """Return when a request counts as arrived."""
        return submitted_at - weight * self._seconds_per_weight

    def next_key(self, weight: float, submitted_at: float) -> QueueKey:
        """Return the place in the queue of the first image of a request that arrives now."""
        return (self.virtual_time(weight, submitted_at), self._num_arrivals, 0)

    def add(self, job: Job) -> None:
        """Queue all images of a request; they have keys already."""
        self._num_arrivals += 1
        images = self._by_tier.setdefault(job.request.tier, [])
        for image in job.images:
            bisect.insort(images, image, key=lambda other: other.key)
        waiting = self._tokens_by_tier.get(job.request.tier, 0)
        self._tokens_by_tier[job.request.tier] = waiting + sum(image.num_tokens for image in job.images)

    def heads(self) -> dict[str, ImageTask]:
        """Return the first image of each tier that has one."""
        return {tier: images[0] for tier, images in self._by_tier.items() if images}

    def pop(self, tier: str) -> ImageTask:
        """Take the first image of a tier out."""
        image = self._by_tier[tier].pop(0)
        self._tokens_by_tier[tier] -= image.num_tokens
        return image

    def remove(self, job: Job) -> None:
        """Take out whatever waits of a request."""
        tier = job.request.tier
        images = self._by_tier.get(tier, [])
        self._by_tier[tier] = [image for image in images if image.job is not job]
        self._tokens_by_tier[tier] = sum(image.num_tokens for image in self._by_tier[tier])

    def in_order(self, tier: str) -> Iterator[ImageTask]:
        """Iterate over what waits of a tier, first to go first."""
        return iter(self._by_tier.get(tier, ()))
