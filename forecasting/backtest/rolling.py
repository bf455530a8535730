"""Rolling-origin backtest: every forecaster says at each origin what it expects, and is judged by what came.

The command line and the benchmarks call :func:`run_backtest`. Causal: a forecaster sees the counts up to the origin and
nothing else; a test replaces the future by noise. Pure: the clock that measures cost is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecasting.backtest.baselines import NATIVE_LEVELS, Baseline, make_baseline
from forecasting.backtest.metrics import (
    Family,
    addition_family,
    causal_curve,
    coverage_ratio,
    factor_family,
    hindsight_over,
    level_family,
    over_at,
    pinball_loss,
    relative_absolute_error,
)
from forecasting.demand.forecaster import MODEL_NAME, DemandForecaster
from forecasting.demand.settings import ForecastSettings
from forecasting.errors import NotEnoughDataError
from forecasting.types import DemandSeries, DemandTarget, FloatArray

DENSE_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995)
"""Levels that our forecast is asked for, so that a capacity can be read between them."""

UNMET_TARGETS = (0.01, 0.02, 0.05)
_SWEPT_TARGETS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06, 0.1)
_CAUSAL_TARGET = 0.02
_MIN_ORIGINS = 20
_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestPlan:
    """What to backtest.

    Attributes:
        horizon_steps: Steps ahead that are judged, >= 1.
        first_origin: Index of the first judged origin; what comes before warms up.
        stride: Steps between judged origins, >= 1.
        baselines: Names of the baselines; last value is always among them.
        settings: The constants of our forecaster.
        with_causal: Whether to fit buffers causally as well, which takes a second per forecaster and 5,000 origins.
    """

    horizon_steps: int
    first_origin: int
    stride: int = 1
    baselines: tuple[str, ...] = ("last-value",)
    settings: ForecastSettings = ForecastSettings()
    with_causal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What one forecaster said, and what came.

    Attributes:
        name: The forecaster.
        points: Counts, shape ``(num_origins,)``.
        levels: Levels of its quantiles; empty where it has none.
        quantiles: Shape ``(num_origins, num_levels)``.
        cpu_seconds: CPU time for all origins, observations included.
    """

    name: str
    points: FloatArray
    levels: tuple[float, ...]
    quantiles: FloatArray
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """How one forecaster did.

    Attributes:
        name: The forecaster.
        relative_mae: Mean absolute error over that of last value.
        mase: Mean absolute error over that of the one-step last value.
        pinball: Mean pinball loss by level as a share of mean demand; empty without quantiles.
        weighted_quantile_loss: Mean of twice the pinball losses, as a share of mean demand; NaN without quantiles.
        coverage: Share of truths at or below the quantile, by level.
        coverage_in_surge: The same inside surges; empty without surge points.
        over: Over-provisioned capacity at unmet demand of 1, 2 and 5 %, buffers in hindsight, as a share of demand.
        over_causal: The same at 2 % with buffers fitted causally; NaN where it cannot be told.
        over_ratio: ``over`` relative to last value.
        over_causal_ratio: ``over_causal`` relative to last value.
        cpu_milliseconds: CPU time per origin.
    """

    name: str
    relative_mae: float
    mase: float
    pinball: dict[float, float]
    weighted_quantile_loss: float
    coverage: dict[float, float]
    coverage_in_surge: dict[float, float]
    over: dict[float, float]
    over_causal: float
    over_ratio: dict[float, float]
    over_causal_ratio: float
    cpu_milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BacktestResult:
    """The outcome of a backtest.

    Attributes:
        num_origins: Judged origins.
        horizon_steps: Steps ahead.
        truth: What came, shape ``(num_origins,)``.
        origins: Index of each origin, shape ``(num_origins,)``.
        judged: What each forecaster said, ours first.
        scores: How each did, ours first.
        surge_ratio: Share of the judged points inside surges.
        alarms: Indexes of the intervals after which our trigger left calm, within the judged span.
        alarms_per_30_days: Their rate.
    """

    num_origins: int
    horizon_steps: int
    truth: FloatArray
    origins: np.ndarray[tuple[int], np.dtype[np.int64]]
    judged: tuple[Judged, ...]
    scores: tuple[Score, ...]
    surge_ratio: float
    alarms: tuple[int, ...]
    alarms_per_30_days: float


def run_backtest(
    *,
    signups: FloatArray | None,
    main: DemandSeries,
    target: DemandTarget,
    plan: BacktestPlan,
    cpu_clock: Callable[[], float],
) -> BacktestResult:
    """Backtest our forecaster and baselines on one series.

    Args:
        signups: Sign-ups on the grid of ``main`` where the target is requests; None where unknown.
        main: The target's counts.
        target: What ``main`` counts.
        plan: What to judge.
        cpu_clock: Returns CPU seconds, for the cost.

    Returns:
        The outcome.

    Raises:
        NotEnoughDataError: If fewer than 20 origins can be judged.
    """
    values = main.values
    origins = np.arange(plan.first_origin, values.size - plan.horizon_steps, plan.stride, dtype=np.int64)
    origins = origins[np.isfinite(values[origins + plan.horizon_steps])]
    if origins.size < _MIN_ORIGINS:
        raise NotEnoughDataError(f"only {origins.size} origins can be judged; a backtest needs {_MIN_ORIGINS}")
    truth = values[origins + plan.horizon_steps]
    filled = forward_filled(values)
    ours, in_surge, alarms = _run_ours(signups, main, target, plan, origins, cpu_clock)
    season = max(1, round(_DAY_SECONDS / main.step_seconds))
    names = tuple(dict.fromkeys(("last-value", *plan.baselines)))
    judged = [ours]
    for name in names:
        baseline = make_baseline(name, season_steps=season, step_seconds=main.step_seconds)
        judged.append(_run_baseline(baseline, filled, origins, plan.horizon_steps, cpu_clock))
    surge = in_surge[origins + plan.horizon_steps]
    step_error = float(np.nanmean(np.abs(np.diff(filled[plan.first_origin :]))))
    scores = _score_all(tuple(judged), truth, filled[origins], surge, step_error, plan)
    days = (int(origins[-1]) - plan.first_origin) * main.step_seconds / _DAY_SECONDS
    return BacktestResult(
        num_origins=int(origins.size),
        horizon_steps=plan.horizon_steps,
        truth=truth,
        origins=origins,
        judged=tuple(judged),
        scores=scores,
        surge_ratio=float(np.mean(surge)),
        alarms=alarms,
        alarms_per_30_days=30.0 * len(alarms) / days if days > 0.0 else math.nan,
    )


def forward_filled(values: FloatArray) -> FloatArray:
    """Return the values with every gap replaced by the value before it; zero before the first."""
    positions = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.size)))
    filled: FloatArray = np.nan_to_num(values[positions])
    return filled


def _run_ours(
    signups: FloatArray | None,
    main: DemandSeries,
    target: DemandTarget,
    plan: BacktestPlan,
    origins: np.ndarray[tuple[int], np.dtype[np.int64]],
    cpu_clock: Callable[[], float],
) -> tuple[Judged, np.ndarray[tuple[int], np.dtype[np.bool_]], tuple[int, ...]]:
    forecaster = DemandForecaster(
        key=main.key, start=main.start, step_seconds=main.step_seconds, target=target, settings=plan.settings
    )
    due = {int(origin): row for row, origin in enumerate(origins)}
    quantiles = np.empty((origins.size, len(DENSE_LEVELS)))
    in_surge = np.zeros(main.values.size, dtype=np.bool_)
    alarms: list[int] = []
    was_calm = True
    started = cpu_clock()
    for index in range(main.values.size):
        count = float(main.values[index])
        if target is DemandTarget.REQUESTS:
            forecaster.observe(requests=count, signups=math.nan if signups is None else float(signups[index]))
        else:
            forecaster.observe(signups=count)
        is_calm = forecaster.surge.phase.value == "calm"
        in_surge[index] = not is_calm
        if was_calm and not is_calm and index >= plan.first_origin:
            alarms.append(index)
        was_calm = is_calm
        row = due.get(index)
        if row is not None:
            forecast = forecaster.forecast(num_steps=plan.horizon_steps, levels=DENSE_LEVELS)
            quantiles[row] = forecast.quantiles[:, -1]
    judged = Judged(
        name=MODEL_NAME,
        points=quantiles[:, DENSE_LEVELS.index(0.5)],
        levels=DENSE_LEVELS,
        quantiles=quantiles,
        cpu_seconds=cpu_clock() - started,
    )
    return judged, in_surge, tuple(alarms)


def _run_baseline(
    baseline: Baseline,
    filled: FloatArray,
    origins: np.ndarray[tuple[int], np.dtype[np.int64]],
    horizon_steps: int,
    cpu_clock: Callable[[], float],
) -> Judged:
    points = np.empty(origins.size)
    quantiles = np.full((origins.size, len(NATIVE_LEVELS)), np.nan)
    started = cpu_clock()
    for row, origin in enumerate(origins):
        forecast = baseline.forecast(filled[: origin + 1], horizon_steps)
        points[row] = forecast.point
        if forecast.quantiles is not None:
            quantiles[row] = forecast.quantiles
    has_quantiles = bool(np.isfinite(quantiles).any())
    # A window that a model refuses has no interval of its own; its point stands in.
    complete = np.where(np.isfinite(quantiles), quantiles, points[:, None])
    return Judged(
        name=baseline.name,
        points=points,
        levels=NATIVE_LEVELS if has_quantiles else (),
        quantiles=complete,
        cpu_seconds=cpu_clock() - started,
    )


def _families(judged: Judged, truth: FloatArray) -> list[Family]:
    """Return the capacities a forecaster spans: ours by level, a baseline by its better buffer."""
    if judged.name == MODEL_NAME:
        return [level_family(judged.quantiles, np.asarray(judged.levels))]
    return [factor_family(judged.points, truth=truth), addition_family(judged.points, truth=truth)]


def _score_all(
    judged: tuple[Judged, ...],
    truth: FloatArray,
    last: FloatArray,
    surge: np.ndarray[tuple[int], np.dtype[np.bool_]],
    step_error: float,
    plan: BacktestPlan,
) -> tuple[Score, ...]:
    over = [
        {
            target: min(hindsight_over(family, truth, target) for family in _families(each, truth))
            for target in UNMET_TARGETS
        }
        for each in judged
    ]
    causal = [_causal_over(each, truth, plan) if plan.with_causal else math.nan for each in judged]
    reference = next(row for row, each in enumerate(judged) if each.name == "last-value")
    scores = []
    for row, each in enumerate(judged):
        columns = {level: each.quantiles[:, column] for column, level in enumerate(each.levels)}
        shown = {level: columns[level] for level in NATIVE_LEVELS if level in columns}
        mean = float(np.mean(truth)) or 1.0
        pinball = {level: pinball_loss(truth, column, level) / mean for level, column in shown.items()}
        scores.append(
            Score(
                name=each.name,
                relative_mae=relative_absolute_error(truth, each.points, last),
                mase=float(np.mean(np.abs(truth - each.points))) / step_error if step_error > 0.0 else math.nan,
                pinball=pinball,
                weighted_quantile_loss=2.0 * float(np.mean(list(pinball.values()))) if pinball else math.nan,
                coverage={level: coverage_ratio(truth, column) for level, column in shown.items()},
                coverage_in_surge={
                    level: coverage_ratio(truth[surge], column[surge]) for level, column in shown.items()
                }
                if surge.any()
                else {},
                over=over[row],
                over_causal=causal[row],
                over_ratio={target: _ratio(over[row][target], over[reference][target]) for target in UNMET_TARGETS},
                over_causal_ratio=_ratio(causal[row], causal[reference]),
                cpu_milliseconds=1000.0 * each.cpu_seconds / truth.size,
            )
        )
    return tuple(scores)


def _causal_over(judged: Judged, truth: FloatArray, plan: BacktestPlan) -> float:
    outcomes = [
        over_at(
            causal_curve(
                family,
                truth,
                targets=_SWEPT_TARGETS,
                lag=-(-plan.horizon_steps // plan.stride),
                burn_in=truth.size // 5,
                refit_points=max(10, truth.size // 200),
            ),
            _CAUSAL_TARGET,
        )
        for family in _families(judged, truth)
    ]
    finite = [value for value in outcomes if math.isfinite(value)]
    return min(finite) if finite else math.nan


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0.0 else math.nan
