"""How fast steps go, and how many and how often a bound allows them. Pure: times are arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inference.engine.ports import WorkBound

RATIO_SECONDS = 5.0
"""Time constant of the speed: a wait of many seconds goes at the mean of many, and a clock that slows down is seen."""
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
        self._seen_seconds = RATIO_SECONDS
        self._expected_seconds = RATIO_SECONDS
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
        """Take a step into account; a freak ten times off counts as ten.

        The ratio is that of two sums that fade: all the time that steps took lately, over what the curve had them take.

        Args:
            num_rows: Rows of the step.
            step_seconds: From the step before to this one, without rest.
        """
        curve = self._curve
        if curve is None or step_seconds <= 0.0:
            return
        expected_seconds = max(curve.base_seconds + num_rows * curve.row_seconds, 1e-9)
        usual_seconds = expected_seconds * curve.ratio
        seen_seconds = min(max(step_seconds, usual_seconds / 10.0), usual_seconds * 10.0)
        kept = math.exp(-seen_seconds / RATIO_SECONDS)
        self._seen_seconds = self._seen_seconds * kept + seen_seconds
        self._expected_seconds = self._expected_seconds * kept + expected_seconds
        ratio = self._seen_seconds / self._expected_seconds
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
