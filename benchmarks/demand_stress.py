"""Demand that the forecaster was not made for: how it fares against last value on awkward synthetic series.

    python benchmarks/demand_stress.py [--only spikes,drift] [--seed 1]

Each series is drawn from a seed and judged as a backtest from the command line judges it (one default configuration,
the first fifth warms up, at most 600 origins, half an hour ahead at five minutes and three hours ahead at an hour).
Printed per series: over-provisioned capacity relative to last value, buffers in hindsight and causal, coverage of
P90/P95/P99, pinball loss at the P90 relative to that of last value with its own causal residuals, and the error of the
median. A dash means that last value over-provisions nothing, so that there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from forecasting.backtest.metrics import pinball_loss
from forecasting.backtest.rolling import BacktestPlan, BacktestResult, run_backtest
from forecasting.types import DemandSeries, DemandTarget, FloatArray, SeriesKey

START = datetime(2025, 1, 6, tzinfo=UTC)
FIVE_MINUTES = 300.0
HOUR = 3600.0
MAX_ORIGINS = 600
WINDOW = 300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StressSeries:
    """One awkward series.

    Attributes:
        name: Short name.
        step_seconds: Length of an interval.
        values: Counts, shape ``(num_points,)``; NaN is missing.
    """

    name: str
    step_seconds: float
    values: FloatArray

    @property
    def horizon_steps(self) -> int:
        """Half an hour at short steps, three steps at hours."""
        return max(3, round(1800.0 / self.step_seconds))


def daily(num_points: int, *, step_seconds: float, depth: float = 0.6, shift_hours: float = 0.0) -> FloatArray:
    """Return a wave of the day around one."""
    hours = np.arange(num_points) * step_seconds / 3600.0 - shift_hours
    wave: FloatArray = 1.0 + depth * np.sin(2.0 * math.pi * hours / 24.0)
    return wave


def noisy(rate: FloatArray, rng: np.random.Generator, *, shape: float = 20.0) -> FloatArray:
    """Return counts that vary more than Poisson's do: negative binomial of the given shape."""
    counts: FloatArray = rng.poisson(rng.gamma(shape, 1.0, rate.size) / shape * rate).astype(np.float64)
    return counts


def _fine(values: FloatArray) -> tuple[float, FloatArray]:
    return FIVE_MINUTES, values


def _hourly(values: FloatArray) -> tuple[float, FloatArray]:
    return HOUR, values


def _base(rng: np.random.Generator, scale: float = 1.0) -> tuple[float, FloatArray]:
    return _fine(scale * noisy(300.0 * daily(2880, step_seconds=FIVE_MINUTES), rng))


def _zero_inflated(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return _fine(np.where(rng.random(2880) < 0.8, 0.0, rng.poisson(20.0, 2880).astype(np.float64)))


def _weekly_only(rng: np.random.Generator) -> tuple[float, FloatArray]:
    day = (np.arange(24 * 84) // 24) % 7
    return _hourly(noisy(np.where(day < 5, 500.0, 120.0), rng))


def _drift(rng: np.random.Generator, end: float) -> tuple[float, FloatArray]:
    rate = 200.0 * daily(2880, step_seconds=FIVE_MINUTES) * np.exp(np.linspace(0.0, math.log(end), 2880))
    return _fine(noisy(rate, rng))


def _level_shifts(rng: np.random.Generator, factor: float) -> tuple[float, FloatArray]:
    level = np.where((np.arange(2880) // 480) % 2 == 0, 1.0, factor)
    return _fine(noisy(400.0 * level * daily(2880, step_seconds=FIVE_MINUTES, depth=0.3), rng))


def _office_hours(rng: np.random.Generator) -> tuple[float, FloatArray]:
    hour = (np.arange(2880) * 5 // 60) % 24
    return _fine(np.where((hour >= 8) & (hour < 18), noisy(np.full(2880, 400.0), rng), 0.0))


def _telegraph(rng: np.random.Generator) -> tuple[float, FloatArray]:
    is_on = np.cumsum(rng.random(2880) < 0.02) % 2 == 0
    return _fine(np.where(is_on, noisy(np.full(2880, 300.0), rng), 0.0))


def _summer_time(rng: np.random.Generator) -> tuple[float, FloatArray]:
    hours = 24 * 70
    before, after = daily(hours, step_seconds=HOUR), daily(hours, step_seconds=HOUR, shift_hours=-1.0)
    return _hourly(noisy(1000.0 * np.where(np.arange(hours) < 24 * 42, before, after), rng, shape=200.0))


def _missing_weeks(rng: np.random.Generator) -> tuple[float, FloatArray]:
    values = noisy(1000.0 * daily(24 * 84, step_seconds=HOUR), rng)
    for first in (24 * 28, 24 * 56):
        values[first : first + 24 * 7] = np.nan
    values[rng.random(values.size) < 0.05] = np.nan
    return _hourly(values)


def _spikes(rng: np.random.Generator) -> tuple[float, FloatArray]:
    values = noisy(300.0 * daily(2880, step_seconds=FIVE_MINUTES), rng)
    return _fine(values * np.where(rng.random(values.size) < 0.005, 50.0, 1.0))


def _constant(rng: np.random.Generator) -> tuple[float, FloatArray]:
    del rng
    return _fine(np.full(1440, 42.0))


def _steps(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return _fine(np.repeat(rng.integers(1, 20, 30), 96).astype(np.float64) * 10.0)


def _random_walk(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return _fine(500.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, 2880))))


def _heavy_tail(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return _fine(100.0 * rng.pareto(1.8, 2880))


def _hourly_jobs(rng: np.random.Generator) -> tuple[float, FloatArray]:
    jobs = np.where(np.arange(2880) % 12 == 0, 600.0, 0.0)
    return _fine(noisy(60.0 + jobs, rng))


def _sparse(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return _fine(rng.poisson(0.4, 2880).astype(np.float64))


def _ramp(rng: np.random.Generator) -> tuple[float, FloatArray]:
    del rng
    return _fine(np.linspace(100.0, 3000.0, 1440))


def _clean_wave(rng: np.random.Generator) -> tuple[float, FloatArray]:
    del rng
    return _fine(1000.0 * daily(2880, step_seconds=FIVE_MINUTES))


def _flash_crowds(rng: np.random.Generator) -> tuple[float, FloatArray]:
    crowd = np.zeros(2880)
    for first in rng.integers(0, 2860, 12):
        ages = np.arange(2880 - first)
        crowd[first:] += rng.uniform(3.0, 15.0) * np.minimum(ages / 4.0, 1.0) * np.exp(-ages / 18.0)
    return _fine(noisy(200.0 * (daily(2880, step_seconds=FIVE_MINUTES) + crowd), rng))


def _short(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return _fine(noisy(300.0 * daily(150, step_seconds=FIVE_MINUTES), rng))


def _capped(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return _fine(np.minimum(noisy(300.0 * daily(2880, step_seconds=FIVE_MINUTES), rng), 350.0))


def _one_minute(rng: np.random.Generator) -> tuple[float, FloatArray]:
    return 60.0, noisy(50.0 * daily(4320, step_seconds=60.0), rng)


STRESS: dict[str, Callable[[np.random.Generator], tuple[float, FloatArray]]] = {
    "base": _base,
    "scale-1e-3": lambda rng: _base(rng, 1e-3),
    "scale-1e6": lambda rng: _base(rng, 1e6),
    "zero-inflated": _zero_inflated,
    "weekly-only": _weekly_only,
    "drift-up": lambda rng: _drift(rng, 12.0),
    "drift-down": lambda rng: _drift(rng, 1.0 / 12.0),
    "shifts-down": lambda rng: _level_shifts(rng, 0.1),
    "shifts-up": lambda rng: _level_shifts(rng, 4.0),
    "office-hours": _office_hours,
    "telegraph": _telegraph,
    "summer-time": _summer_time,
    "missing-weeks": _missing_weeks,
    "spikes": _spikes,
    "constant": _constant,
    "steps": _steps,
    "random-walk": _random_walk,
    "heavy-tail": _heavy_tail,
    "hourly-jobs": _hourly_jobs,
    "sparse": _sparse,
    "ramp": _ramp,
    "clean-wave": _clean_wave,
    "flash-crowds": _flash_crowds,
    "short": _short,
    "capped": _capped,
    "one-minute": _one_minute,
}


def make_series(name: str, *, seed: int) -> StressSeries:
    """Return a series of the set."""
    step_seconds, values = STRESS[name](np.random.default_rng(seed))
    return StressSeries(name=name, step_seconds=step_seconds, values=values)


def judge(series: StressSeries) -> BacktestResult:
    """Backtest one series as the command line does."""
    first = series.values.size // 5
    return run_backtest(
        signups=None,
        main=DemandSeries(key=SeriesKey(), start=START, step_seconds=series.step_seconds, values=series.values),
        target=DemandTarget.REQUESTS,
        plan=BacktestPlan(
            horizon_steps=series.horizon_steps,
            first_origin=first,
            stride=max(1, -(-(series.values.size - first - series.horizon_steps) // MAX_ORIGINS)),
        ),
        cpu_clock=time.process_time,
    )


def last_value_pinball(result: BacktestResult) -> float:
    """Return the pinball loss at the P90 of last value with the P90 of its own last errors, fitted causally."""
    last = next(each for each in result.judged if each.name == "last-value").points
    errors = result.truth - last
    known = -(-result.horizon_steps // max(1, int(result.origins[1] - result.origins[0])))
    buffers = np.zeros(errors.size)
    for row in range(errors.size):
        window = errors[max(0, row - known - WINDOW) : max(0, row - known)]
        buffers[row] = np.quantile(window, 0.9) if window.size else 0.0
    return pinball_loss(result.truth, last + buffers, 0.9)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="The demand forecast on awkward series.")
    parser.add_argument("--only", default="", help="names, comma separated")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(STRESS)
    for name in wanted:
        result = judge(make_series(name, seed=options.seed))
        ours = result.scores[0]
        mean = float(np.mean(result.truth)) or 1.0
        reference = last_value_pinball(result) / mean
        coverage = "/".join(f"{100 * ours.coverage[level]:5.1f}" for level in (0.9, 0.95, 0.99))
        print(
            f"{name:14s} {result.num_origins:4d} over/last @1 {_shown(ours.over_ratio[0.01])}"
            f" @2 {_shown(ours.over_ratio[0.02])} @5 {_shown(ours.over_ratio[0.05])}"
            f" causal@2 {_shown(ours.over_causal_ratio)}  P90/95/99 {coverage}"
            f"  pinball90/last {_shown(ours.pinball[0.9] / reference if reference > 0.0 else math.nan)}"
            f"  relMAE {_shown(ours.relative_mae)}  surge {100 * result.surge_ratio:4.1f} %"
            f" alarms/30d {result.alarms_per_30_days:5.1f}",
            flush=True,
        )


def _shown(value: float) -> str:
    return f"{value:6.3f}" if math.isfinite(value) else "     -"


if __name__ == "__main__":
    main()
