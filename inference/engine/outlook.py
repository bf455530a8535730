"""When every waiting image will get its rows and be finished: the schedule, played forward. Pure.

Lengths are known when a request is admitted, so nothing has to be guessed but what comes or goes later.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference.engine.pace import StepCurve, allowance_of
from inference.engine.ports import WorkBound
from inference.engine.waiting import next_tier
from inference.engine.work import QueueKey

MAX_IMAGES_AHEAD = 4096
"""Images that are played forward; what lies behind them is counted at the pace of full rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """An image, as far as time is concerned.

    Attributes:
        key: Its place in the queue; running images keep theirs.
        tier: For reserved rows.
        num_rows: Rows that it has or needs.
        num_steps: Steps that it still takes.
    """

    key: QueueKey
    tier: str
    num_rows: int
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the schedule moves.

    Attributes:
        curve: Seconds of a step by rows.
        bound: The bound in force.
        num_rows: Rows of a full batch.
        reserved_by_tier: Rows that are kept for each tier.
    """

    curve: StepCurve
    bound: WorkBound
    num_rows: int
    reserved_by_tier: Mapping[str, int]

    def step_seconds(self, num_busy: int) -> float:
        """Return how long a step with this many rows takes, rest included; infinite while the bound is zero."""
        duty_ratio = allowance_of(self.bound, num_rows=self.num_rows, num_busy=num_busy).duty_ratio
        return self.curve.seconds(num_busy) / duty_ratio if duty_ratio > 0.0 else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What becomes of one image.

    Attributes:
        starts_after_seconds: Until it gets its rows.
        ends_after_seconds: Until it is finished.
    """

    starts_after_seconds: float
    ends_after_seconds: float


class _Schedule:
    """Virtual time over running and waiting images; each event is an image that ends."""

    def __init__(self, running: Iterable[Load], waiting: Sequence[Load], pace: Pace) -> None:
        self._pace = pace
        # Neither depends on what waits, and both are asked for at every event.
        self._allowed = allowance_of(pace.bound, num_rows=pace.num_rows, num_busy=0).num_rows
        self._step_seconds: dict[int, float] = {}
        self._seconds = 0.0
        self._num_steps = 0
        self._busy: Counter[str] = Counter()
        self._num_busy = 0
        self._ends: list[tuple[int, QueueKey, Load]] = []
        self._waiting: dict[str, list[Load]] = {}
        for load in running:
            self._start(load)
        for load in sorted(waiting, key=lambda other: other.key, reverse=True):
            self._waiting.setdefault(load.tier, []).append(load)
        self.starts: dict[QueueKey, float] = {}
        self.ends: dict[QueueKey, float] = {}

    def play(self, until: set[QueueKey] | None) -> None:
        """Move forward until these images are finished; None until all are."""
        left = None if until is None else set(until)
        self._admit()
        while self._ends and (left is None or left):
            end_step, key, load = heapq.heappop(self._ends)
            self._pass(end_step - self._num_steps)
            self._num_busy -= load.num_rows
            self._busy[load.tier] -= load.num_rows
            self.ends[key] = self._seconds
            if left is not None:
                left.discard(key)
            self._admit()

    def _pass(self, num_steps: int) -> None:
        if num_steps:
            if self._num_busy not in self._step_seconds:
                self._step_seconds[self._num_busy] = self._pace.step_seconds(self._num_busy)
            self._seconds += num_steps * self._step_seconds[self._num_busy]
            self._num_steps += num_steps

    def _start(self, load: Load) -> None:
        heapq.heappush(self._ends, (self._num_steps + load.num_steps, load.key, load))
        self._num_busy += load.num_rows
        self._busy[load.tier] += load.num_rows

    def _admit(self) -> None:
        while self._allowed > self._num_busy:
            heads = {tier: loads[-1] for tier, loads in self._waiting.items() if loads}
            if not heads:
                return
            tier = next_tier(
                heads,
                num_free_rows=self._allowed - self._num_busy,
                busy_by_tier=self._busy,
                reserved_by_tier=self._pace.reserved_by_tier,
            )
            if tier is None:
                return
            load = self._waiting[tier].pop()
            self.starts[load.key] = self._seconds
            self._start(load)


def outlook(
    running: Iterable[Load], waiting: Sequence[Load], pace: Pace, of: Sequence[Load] = ()
) -> dict[QueueKey, Outlook]:
    """Play the schedule forward.

    Args:
        running: Images that have rows.
        waiting: Images that wait.
        pace: How fast it goes.
        of: Further waiting images whose outlook is wanted; nothing is played beyond their end. Without, all are.

    Returns:
        The outlook by key; an image that never gets its turn (the bound is zero) is infinitely far away.
    """
    everything = [*waiting, *of]
    ahead = everything
    if len(everything) > MAX_IMAGES_AHEAD:
        ahead = sorted(everything, key=lambda load: load.key)[:MAX_IMAGES_AHEAD]
    schedule = _Schedule(running, ahead, pace)
    wanted = {load.key for load in of} if of else None
    schedule.play(wanted & {load.key for load in ahead} if wanted is not None else None)
    far = float("inf")
    found = {
        load.key: Outlook(
            starts_after_seconds=schedule.starts.get(load.key, far),
            ends_after_seconds=schedule.ends.get(load.key, far),
        )
        for load in (of or ahead)
    }
    if len(everything) > len(ahead):
        found |= _far_away(everything, len(ahead), schedule, pace)
    return found


def _far_away(everything: Sequence[Load], num_ahead: int, schedule: _Schedule, pace: Pace) -> dict[QueueKey, Outlook]:
    """Count what lies behind the images that were played at the pace of full rows."""
    last = max(schedule.ends.values(), default=0.0)
    num_rows = allowance_of(pace.bound, num_rows=pace.num_rows, num_busy=pace.num_rows).num_rows
    step_seconds = pace.step_seconds(num_rows)
    found: dict[QueueKey, Outlook] = {}
    row_steps = 0
    for load in sorted(everything, key=lambda other: other.key)[num_ahead:]:
        start = last + row_steps / max(num_rows, 1) * step_seconds
        found[load.key] = Outlook(starts_after_seconds=start, ends_after_seconds=start + load.num_steps * step_seconds)
        row_steps += load.num_rows * load.num_steps
    return found
