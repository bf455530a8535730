"""What a forecast was worth: capacity over and under demand, pinball loss, coverage.

The backtest command and the benchmarks call these. Pure functions of arrays; nothing here knows a model.

Capacity is judged at matched unmet demand: every forecaster spans a family of capacities by one number, a buffer for a
point forecast (factor or addition) or a level for a quantile forecast, and is read where its unmet demand meets the
target. :func:`hindsight_over` fits that number on the judged points themselves, :func:`causal_capacity` on what was
known before each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecasting.types import FloatArray

_BISECTIONS = 48
"""Halvings of a buffer's range; 48 leave less than one part in 10^14 of it."""

Family = Callable[[float], FloatArray]
"""Capacity, shape ``(num_points,)``, as a function of one number in 0..1; non-decreasing in it."""


def unmet_ratio(truth: FloatArray, capacity: FloatArray) -> float:
    """Return the demand above capacity over all demand."""
    total = float(np.sum(truth))
    return float(np.sum(np.maximum(truth - capacity, 0.0))) / total if total > 0.0 else 0.0


def over_ratio(truth: FloatArray, capacity: FloatArray) -> float:
    """Return the capacity above demand over all demand."""
    total = float(np.sum(truth))
    return float(np.sum(np.maximum(capacity - truth, 0.0))) / total if total > 0.0 else 0.0


def factor_family(points: FloatArray, *, truth: FloatArray) -> Family:
    """Return the capacities ``points * factor``; the number maps onto factors from 0.25 to 64."""
    del truth
    return lambda number: points * 2.0 ** (-2.0 + 8.0 * number)


def addition_family(points: FloatArray, *, truth: FloatArray) -> Family:
    """Return the capacities ``points + addition``; the number spans minus the mean to four times the peak."""
    low, high = -float(np.mean(truth)), 4.0 * float(np.max(truth, initial=0.0)) + 1e-9
    # Square root spacing gives small additions as much room as large ones.
    return lambda number: np.maximum(points + low + (high - low) * number**2, 0.0)


def level_family(quantiles: FloatArray, levels: FloatArray) -> Family:
    """Return the capacities at one quantile level, interpolated; above the top level it grows by a factor.

    Args:
        quantiles: Shape ``(num_points, num_levels)``, non-decreasing along the levels.
        levels: Ascending, shape ``(num_levels,)``.

    Returns:
        The family: numbers up to 0.9 run through the levels, those above stretch the top level up to 16 times.
    """
    positions = np.arange(levels.size, dtype=np.float64)

    def capacity(number: float) -> FloatArray:
        position = float(np.clip(number / 0.9, 0.0, 1.0)) * positions[-1]
        lower = min(int(position), max(levels.size - 2, 0))
        upper = min(lower + 1, levels.size - 1)
        weight = position - lower
        stretch = 2.0 ** (max(number - 0.9, 0.0) * 40.0)
        value: FloatArray = stretch * ((1.0 - weight) * quantiles[:, lower] + weight * quantiles[:, upper])
        return value

    return capacity


def solve_family(family: Family, truth: FloatArray, unmet_target: float) -> float:
    """Return the least number of the family whose unmet demand does not exceed the target."""
    low, high = 0.0, 1.0
    if unmet_ratio(truth, family(low)) <= unmet_target:
        return low
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if unmet_ratio(truth, family(middle)) > unmet_target:
            low = middle
        else:
            high = middle
    return high


def hindsight_over(family: Family, truth: FloatArray, unmet_target: float) -> float:
    """Return the over-provisioning when the family's number is fitted on the judged points themselves."""
    return over_ratio(truth, family(solve_family(family, truth, unmet_target)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalOutcome:
    """What causally fitted buffers came to.

    Attributes:
        unmet: Realised unmet demand, ratio.
        over: Over-provisioned capacity, ratio.
    """

    unmet: float
    over: float


def causal_capacity(
    family: Family, truth: FloatArray, *, unmet_target: float, lag: int, burn_in: int, refit_points: int
) -> FloatArray:
    """Return capacities whose number was fitted, point by point, only on truths known before.

    Args:
        family: Capacities of all points.
        truth: Shape ``(num_points,)``.
        unmet_target: The unmet demand to aim at, ratio.
        lag: Points between a forecast and the arrival of its truth, >= 1.
        burn_in: Points before the first fit; they get NaN.
        refit_points: Points between two fits.

    Returns:
        Capacity, shape ``(num_points,)``; NaN in the burn-in.
    """
    result = np.full(truth.size, np.nan)
    for first in range(burn_in, truth.size, refit_points):
        known = max(first - lag + 1, 1)
        number = solve_family(lambda value, known=known: family(value)[:known], truth[:known], unmet_target)  # type: ignore[misc]
        result[first : first + refit_points] = family(number)[first : first + refit_points]
    return result


def causal_curve(
    family: Family, truth: FloatArray, *, targets: tuple[float, ...], lag: int, burn_in: int, refit_points: int
) -> list[CausalOutcome]:
    """Return the outcome of causal buffers for each target of unmet demand."""
    outcomes = []
    for target in targets:
        capacity = causal_capacity(
            family, truth, unmet_target=target, lag=lag, burn_in=burn_in, refit_points=refit_points
        )
        judged = np.isfinite(capacity)
        outcomes.append(
            CausalOutcome(
                unmet=unmet_ratio(truth[judged], capacity[judged]), over=over_ratio(truth[judged], capacity[judged])
            )
        )
    return outcomes


def over_at(outcomes: list[CausalOutcome], unmet_target: float) -> float:
    """Return the over-provisioning where the realised unmet demand meets the target; NaN outside the curve."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.unmet)
    unmet = np.array([outcome.unmet for outcome in ordered])
    over = np.array([outcome.over for outcome in ordered])
    if not unmet[0] <= unmet_target <= unmet[-1]:
        return float("nan")
    return float(np.interp(unmet_target, unmet, over))


def pinball_loss(truth: FloatArray, quantile: FloatArray, level: float) -> float:
    """Return the mean pinball loss at one level, in counts."""
    excess = truth - quantile
    return float(np.mean(np.maximum(level * excess, (level - 1.0) * excess)))


def coverage_ratio(truth: FloatArray, quantile: FloatArray) -> float:
    """Return the share of truths at or below the quantile; NaN without points."""
    return float(np.mean(truth <= quantile)) if truth.size else float("nan")


def relative_absolute_error(truth: FloatArray, points: FloatArray, reference: FloatArray) -> float:
    """Return the mean absolute error over that of a reference forecast of the same points."""
    scale = float(np.mean(np.abs(truth - reference)))
    return float(np.mean(np.abs(truth - points))) / scale if scale > 0.0 else float("nan")
