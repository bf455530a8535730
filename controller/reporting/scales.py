"""Maps values to pixels and chooses round tick values. Pure; called by the panels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from controller.reporting.wording import clock_text, stamp_text
from forecasting.types import FloatArray

LARGEST_DRAWN = 1e30
"""Values beyond this are drawn at it: the differences of larger ones overflow."""
_TIME_STEPS_SECONDS = tuple(
    float(step)
    for step in (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2419200)
)


def drawable(values: Iterable[float]) -> FloatArray:
    """Return the values as an array that can be drawn: huge ones clipped, NaN kept (a gap)."""
    array = np.asarray(list(values), dtype=np.float64)
    return np.clip(array, -LARGEST_DRAWN, LARGEST_DRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueScale:
    """Maps a value to a distance from the top of a panel.

    Attributes:
        low: Value at the bottom edge.
        high: Value at the top edge, above ``low``.
        height: Height of the panel in pixels.
        logarithmic: Whether distances are ratios; needs ``low`` > 0.
    """

    low: float
    high: float
    height: float
    logarithmic: bool = False

    def position(self, values: FloatArray) -> FloatArray:
        """Return pixels from the top, same shape, kept inside the panel; NaN stays NaN."""
        low, high, inside = self.low, self.high, np.clip(values, self.low, self.high)
        if self.logarithmic:
            low, high, inside = math.log10(low), math.log10(high), np.log10(inside)
        return np.asarray((high - inside) / (high - low) * self.height, dtype=np.float64)

    def at(self, value: float) -> float:
        """Return the pixels of one value."""
        return float(self.position(np.asarray([value]))[0])

    def ticks(self, num_wanted: int = 4) -> tuple[float, ...]:
        """Return round values inside the scale, ascending, about ``num_wanted``."""
        return _log_ticks(self.low, self.high) if self.logarithmic else _linear_ticks(self.low, self.high, num_wanted)


def linear_scale(values: Iterable[float], *, height: float, floor: float | None = None) -> ValueScale:
    """Return a linear scale that holds the finite ones of ``values`` with a little room.

    Args:
        values: What is to be drawn; may be empty or hold NaN.
        height: Panel height, pixels.
        floor: Bottom of the scale; None lets the data choose.

    Returns:
        The scale; wider than nothing even where the values are constant or absent.
    """
    finite = _finite(values)
    low = min(finite, default=0.0) if floor is None else floor
    high = max([*finite, low])
    room = (high - low) * 0.08
    if room <= abs(high) * 1e-9:
        # A constant series still needs a scale of some width around it.
        room = max(abs(high) * 0.1, 1.0)
    return ValueScale(low=low if floor is not None else low - room, high=high + room, height=height)


def count_scale(values: Iterable[float], *, height: float, log_from_ratio: float) -> ValueScale:
    """Return a scale for counts: logarithmic when the largest is ``log_from_ratio`` times the smallest positive.

    Args:
        values: What is to be drawn; may be empty or hold NaN.
        height: Panel height, pixels.
        log_from_ratio: Ratio, > 1, from which the scale is logarithmic; infinite keeps it linear.

    Returns:
        A linear scale from zero (or the lowest value below it), or a logarithmic one of six decades at most and a
        little room.
    """
    finite = _finite(values)
    positive = [value for value in finite if value > 0.0]
    if not positive or max(positive) / min(positive) < log_from_ratio:
        return linear_scale(finite, height=height, floor=min([0.0, *finite]))
    high = max(positive)
    # More than six decades would flatten the part that matters.
    low = max(min(positive), high * 1e-6)
    return ValueScale(low=low / 1.3, high=high * 1.6, height=height, logarithmic=True)


def _finite(values: Iterable[float]) -> list[float]:
    """Return the finite ones, clipped to what can be drawn."""
    return [max(-LARGEST_DRAWN, min(LARGEST_DRAWN, float(value))) for value in values if math.isfinite(value)]


def _linear_ticks(low: float, high: float, num_wanted: int) -> tuple[float, ...]:
    """Return multiples of 1, 2, 2.5 or 5 times a power of ten."""
    rough = (high - low) / max(num_wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 4 * num_wanted:
        return ()  # The scale is narrower than the resolution of its own numbers.
    return tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return powers of ten, with 3 between them when there are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1.0, 3.0) if len(exponents) <= 3 else (1.0,)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return tuple(float(f"{tick:.12g}") for tick in ticks if low <= tick <= high)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeScale:
    """Maps seconds of the run to 0..1 across the panels; all panels share one.

    Attributes:
        start: Time at the left edge, aware.
        duration_seconds: Time across, > 0.
    """

    start: datetime
    duration_seconds: float

    def ratio(self, seconds: float) -> float:
        """Return the place of a time, kept inside 0..1; 0 for what is not a number."""
        if math.isnan(seconds):
            return 0.0
        return min(max(seconds / self.duration_seconds, 0.0), 1.0)

    def ratio_of(self, at: datetime) -> float:
        """Return the place of a time of day."""
        return self.ratio((at - self.start).total_seconds())

    def time(self, seconds: float) -> datetime:
        """Return the time of day at a second of the run; the start for what is not a number."""
        bounded = 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), self.duration_seconds)
        try:
            return self.start + timedelta(seconds=bounded)
        except OverflowError:
            return self.start

    def ticks(self, num_wanted: int = 8) -> tuple[tuple[float, str], ...]:
        """Return places 0..1 and labels of round times; a label that begins a new day carries the date."""
        step = next((s for s in _TIME_STEPS_SECONDS if self.duration_seconds / s <= num_wanted), None)
        if step is None:
            return ()
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        offset = (self.start - midnight).total_seconds()
        first, last = math.ceil(offset / step), math.floor((offset + self.duration_seconds) / step)
        marks, day = [], None
        for index in range(first, last + 1):
            at = self.time(index * step - offset)
            label = clock_text(at) if at.date() == day else stamp_text(at)
            marks.append((self.ratio(index * step - offset), label))
            day = at.date()
        return tuple(marks)
