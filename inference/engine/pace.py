"""How fast steps go, and how many and how often a bound allows them. Pure: times are arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inference.engine.ports import WorkBound

RATIO_STEPS = 40.0
"""Steps over which the speed is averaged: long enough for noise, short enough to see a clock that slows down."""
THROUGHPUT_SECONDS = 5.0
"""Time constant of the throughput that is reported."""
MIN_ROWS = 2
"""Rows that any bound above zero allows, since a guided image needs two; the duty makes up for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A bound, applied.

    Attributes:
        num_rows: Rows that may be busy before another image is admitted.
        duty_ratio: Share of the time that steps may take with the rows that are busy now, 0..1.
    """

    num_rows: int
    duty_ratio: float


def allowance_of(bound: WorkBound, *, num_rows: int, num_busy: int) -> Allowance:
    """Apply a bound: free rows go first, then the steps slow down, so that rows times duty stay within it.

    Args:
        bound: Shares, 0..1.
        num_rows: Rows of a full batch.
        num_busy: Rows that are busy.

    Returns:
        What is allowed now.
    """
    occupancy_ratio = min(max(bound.occupancy_ratio, 0.0), 1.0)
    duty_ratio = min(max(bound.duty_ratio, 0.0), 1.0)
    if occupancy_ratio == 0.0 or duty_ratio == 0.0:
        return Allowance(num_rows=0, duty_ratio=0.0)
    # The small number keeps 0.3 * 10 at 3 rows; a share of a row still admits one, and the duty pays for the rest.
    allowed = max(math.ceil(occupancy_ratio * num_rows - 1e-9), min(MIN_ROWS, num_rows))
    by_occupancy = occupancy_ratio * num_rows / max(num_busy, 1)
    return Allowance(num_rows=allowed, duty_ratio=min(duty_ratio, by_occupancy, 1.0))


def pause_seconds(step_seconds: float, duty_ratio: float) -> float:
    """Return how long to rest after a step, so that steps take a share of the time; infinite at zero."""
    return step_seconds * (1.0 / duty_ratio - 1.0) if duty_ratio > 0.0 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCurve:
    """Seconds of one step by rows: ``base_seconds + rows * row_seconds``, times a ratio that follows the present."""

    base_seconds: float
    row_seconds: float
    ratio: float = 1.0

    def seconds(self, num_rows: float) -> float:
        """Return how long a step with this many rows takes."""
        return self.ratio * (self.base_seconds + num_rows * self.row_seconds)


def curve_through(one_row_seconds: float, full_seconds: float, num_rows: int) -> StepCurve:
    """Return the curve through what a warm-up measured; never falling.

    Args:
        one_row_seconds: A step with one row.
        full_seconds: A step with all rows.
        num_rows: All rows.

    Returns:
        The curve.
    """
    full_seconds = max(full_seconds, one_row_seconds)
    row_seconds = (full_seconds - one_row_seconds) / max(num_rows - 1, 1)
    return StepCurve(base_seconds=one_row_seconds - row_seconds, row_seconds=row_seconds)


class SpeedMeter:
    """Follows the speed of the steps from a curve that the warm-up measured."""

    def __init__(self) -> None:
        self._curve: StepCurve | None = None
        self._throughput = 0.0
        self._throughput_weight = 0.0

    def start(self, curve: StepCurve) -> None:
        """Take the warm-up's curve."""
        self._curve = curve

    @property
    def curve(self) -> StepCurve | None:
        """The curve as it is now; None before the warm-up."""
        return self._curve

    def add_step(self, num_rows: int, step_seconds: float) -> None:
        """Take a step into account; a freak ten times off counts as ten."""
        curve = self._curve
        if curve is None or step_seconds <= 0.0:
            return
        expected_seconds = curve.base_seconds + num_rows * curve.row_seconds
        seen = min(max(step_seconds / max(expected_seconds, 1e-9), curve.ratio / 10.0), curve.ratio * 10.0)
        ratio = curve.ratio + (seen - curve.ratio) / RATIO_STEPS
        self._curve = StepCurve(base_seconds=curve.base_seconds, row_seconds=curve.row_seconds, ratio=ratio)

    def add_tokens(self, num_tokens: int, wall_seconds: float) -> None:
        """Take tokens of a stretch of time with work into account, pauses included."""
        kept = math.exp(-wall_seconds / THROUGHPUT_SECONDS)
        self._throughput = self._throughput * kept + num_tokens
        self._throughput_weight = self._throughput_weight * kept + wall_seconds

    @property
    def tokens_per_second(self) -> float:
        """Image tokens per second of recent time with work."""
        return self._throughput / self._throughput_weight if self._throughput_weight > 0.0 else 0.0

    def capacity(self, num_rows: int) -> float:
        """Return image tokens per second with this many rows busy and no bound; 0 before the warm-up."""
        curve = self._curve
        return num_rows / curve.seconds(num_rows) if curve is not None and curve.seconds(num_rows) > 0.0 else 0.0


class ArrivalMeter:
    """Image tokens per second that arrive, by priority weight; forgets over a minute and keeps a few weights."""

    MEMORY_SECONDS = 60.0
    MAX_WEIGHTS = 16

    def __init__(self) -> None:
        self._by_weight: dict[float, tuple[float, float]] = {}
        self._began_at: float | None = None

    def add(self, weight: float, num_tokens: int, now: float) -> None:
        """Take an arrival into account.

        Args:
            weight: Priority weight of the request.
            num_tokens: Image tokens of it.
            now: The time.
        """
        self._began_at = now if self._began_at is None else self._began_at
        if weight not in self._by_weight and len(self._by_weight) >= self.MAX_WEIGHTS:
            return
        self._by_weight[weight] = (self._remaining(weight, now) + num_tokens, now)

    def heavier(self, weight: float, now: float) -> list[tuple[float, float]]:
        """Return weight and tokens per second of everything heavier."""
        if self._began_at is None:
            return []
        # Until it has run for a while the meter divides by what it has seen, and never by less than a second.
        seen_seconds = max(self.MEMORY_SECONDS * -math.expm1(-(now - self._began_at) / self.MEMORY_SECONDS), 1.0)
        return [(other, self._remaining(other, now) / seen_seconds) for other in self._by_weight if other > weight]

    def _remaining(self, weight: float, now: float) -> float:
        tokens, at = self._by_weight.get(weight, (0.0, now))
        return tokens * math.exp(-(now - at) / self.MEMORY_SECONDS)
