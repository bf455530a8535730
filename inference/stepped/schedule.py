"""The stand-in engine's bookkeeping: requests, images, who is next, and how long that takes. Pure.

Lengths are known at admission, so waiting times follow by playing the schedule forward.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from inference.engine.events import Counts
from inference.engine.requests import GenerationRequest
from inference.engine.stream import EventStream

SECONDS_PER_WEIGHT = 30.0
"""Head start in the queue that one unit of priority weight is worth."""


@dataclass(slots=True, eq=False)
class Work:
    """One request in the engine.

    Attributes:
        request: What was asked.
        stream: Where its events go.
        tokens_per_image: Length of each of its images.
        counts: What was done.
        is_over: No event will follow.
    """

    request: GenerationRequest
    stream: EventStream
    tokens_per_image: int
    counts: Counts
    is_over: bool = False
    waiting: list[Row] = field(default_factory=list)
    running: list[Row] = field(default_factory=list)

    @property
    def rank(self) -> float:
        """Place in the queue, lowest first: arrival less the head start."""
        return self.counts.submitted_at - self.request.priority_weight * SECONDS_PER_WEIGHT

    def add(self, **changes: float) -> None:
        """Add to the counts."""
        added = {name: getattr(self.counts, name) + amount for name, amount in changes.items()}
        self.counts = replace(self.counts, **added)


@dataclass(slots=True, eq=False)
class Row:
    """One image of a request, in the queue or in a slot."""

    work: Work
    image_index: int
    tokens: list[int] = field(default_factory=list)
    num_partials: int = 0

    @property
    def remaining(self) -> int:
        """Tokens that it still lacks."""
        return self.work.tokens_per_image - len(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """When a request would start and finish.

    Attributes:
        start_steps: Steps until its first image gets a slot, 0 or more.
        finish_steps: Steps until its last image is finished.
    """

    start_steps: int
    finish_steps: int


def play_forward(remaining: Sequence[int], queued: Sequence[int], num_slots: int, own: Sequence[int]) -> Course:
    """Return the course of a request, given all work that goes before it.

    Args:
        remaining: Tokens that the images in slots still lack; where there are more of them than slots, the first to end
            give no slot free.
        queued: Lengths of the images that go first, in order.
        num_slots: Slots, above 0.
        own: Lengths of the request's own images, in order.

    Returns:
        Its course.
    """
    free_at = sorted(remaining)[max(len(remaining) - num_slots, 0) :]
    free_at += [0] * (num_slots - len(free_at))
    heapq.heapify(free_at)
    for length in queued:
        heapq.heapreplace(free_at, free_at[0] + length)
    start, finish = free_at[0], 0
    for length in own:
        ends = free_at[0] + length
        heapq.heapreplace(free_at, ends)
        finish = max(finish, ends)
    return Course(start_steps=start, finish_steps=finish)
