"""What the demand forecast is worth: over-provisioned capacity, coverage and pinball loss on recorded series.

    python benchmarks/demand_accuracy.py [--baselines last-value,auto-ets] [--series goog] [--thin 4] [--extra]

Runs the shipped default configuration over each series, causally, and prints per series and in the geometric mean the
over-provisioned capacity relative to last value at the same unmet demand, with buffers fitted in hindsight and
causally, and an interval from resampling whole days. Needs the recorded data (MELTGUARD_DATA). Ours is read by quantile
level; point baselines get the better of a constant factor and a constant addition.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from recorded_series import HEADLINE, RecordedSeries, aapl

from forecasting.backtest.metrics import addition_family, factor_family, hindsight_over, level_family
from forecasting.backtest.rolling import BacktestPlan, BacktestResult, run_backtest
from forecasting.types import DemandSeries, DemandTarget, FloatArray, SeriesKey

NUM_RESAMPLES = 100
UNMET = 0.02


def run_series(series: RecordedSeries, baselines: tuple[str, ...], thin: int) -> BacktestResult:
    """Backtest one recorded series."""
    return run_backtest(
        signups=series.signups,
        main=DemandSeries(
            key=SeriesKey(), start=series.start, step_seconds=series.step_seconds, values=series.requests
        ),
        target=DemandTarget.REQUESTS,
        plan=BacktestPlan(
            horizon_steps=series.horizon_steps,
            first_origin=series.first_origin,
            stride=series.stride * thin,
            baselines=baselines,
        ),
        cpu_clock=time.process_time,
    )


def day_interval(result: BacktestResult, step_seconds: float, *, seed: int = 0) -> tuple[float, float]:
    """Return the 5 % and 95 % points of our ratio to last value when whole days are drawn again."""
    rng = np.random.default_rng(seed)
    days = (result.origins * step_seconds // 86400.0).astype(np.int64)
    rows_of_day = [np.flatnonzero(days == day) for day in np.unique(days)]
    ours = result.judged[0]
    last = next(each for each in result.judged if each.name == "last-value")
    ratios = []
    for _ in range(NUM_RESAMPLES):
        rows = np.concatenate([rows_of_day[draw] for draw in rng.integers(0, len(rows_of_day), len(rows_of_day))])
        truth = result.truth[rows]
        own = hindsight_over(level_family(ours.quantiles[rows], np.asarray(ours.levels)), truth, UNMET)
        ratios.append(own / min(_point_over(last.points[rows], truth), math.inf))
    return float(np.quantile(ratios, 0.05)), float(np.quantile(ratios, 0.95))


def _point_over(points: FloatArray, truth: FloatArray) -> float:
    families = (factor_family(points, truth=truth), addition_family(points, truth=truth))
    return max(min(hindsight_over(family, truth, UNMET) for family in families), 1e-12)


def print_series(series: RecordedSeries, result: BacktestResult) -> None:
    """Print one line per forecaster."""
    low, high = day_interval(result, series.step_seconds)
    print(
        f"\n{series.name}: {result.num_origins} origins, {series.horizon_steps} x {series.step_seconds:g} s ahead,"
        f" {result.surge_ratio:.1%} in surges; ours / last value at 2 % unmet:"
        f" 90 % of day resamples {low:.3f}..{high:.3f}"
    )
    for score in result.scores:
        coverage = "/".join(f"{100 * score.coverage.get(level, math.nan):.1f}" for level in (0.9, 0.95, 0.99))
        surge = "/".join(f"{100 * score.coverage_in_surge.get(level, math.nan):.1f}" for level in (0.9, 0.95, 0.99))
        print(
            f"  {score.name:18s} relMAE {score.relative_mae:6.3f}  over/last @1 {score.over_ratio[0.01]:6.3f}"
            f" @2 {score.over_ratio[0.02]:6.3f} @5 {score.over_ratio[0.05]:6.3f}"
            f" causal@2 {score.over_causal_ratio:6.3f}"
            f"  pinball90 {100 * score.pinball.get(0.9, math.nan):6.2f} %  P90/95/99 {coverage}  in surge {surge}"
            f"  {score.cpu_milliseconds:.2f} ms",
            flush=True,
        )


def print_summary(results: list[BacktestResult]) -> None:
    """Print the geometric means over the series, per forecaster."""
    print("\ngeometric mean over", len(results), "series")
    for name in [score.name for score in results[0].scores]:
        scores = [next(score for score in result.scores if score.name == name) for result in results]
        at_two = np.array([score.over_ratio[0.02] for score in scores])
        causal = np.array([score.over_causal_ratio for score in scores])
        pinball = np.array([score.pinball.get(0.9, math.nan) for score in scores])
        print(
            f"  {name:18s} over/last @2 {np.exp(np.mean(np.log(at_two))):.3f} (worst {at_two.max():.3f})"
            f"  causal {np.exp(np.mean(np.log(causal))):.3f} (worst {causal.max():.3f})"
            f"  pinball90 {100 * np.exp(np.mean(np.log(pinball))):.2f} %"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--baselines", default="last-value", help="comma separated")
    parser.add_argument("--series", default="", help="names, comma separated; default: all of the headline")
    parser.add_argument("--thin", type=int, default=1, help="judge every n-th origin only, for slow baselines")
    parser.add_argument("--extra", action="store_true", help="also the series kept out of the headline")
    options = parser.parse_args()
    chosen = [make() for make in (*HEADLINE, *((aapl,) if options.extra else ()))]
    if options.series:
        chosen = [series for series in chosen if series.name in options.series.split(",")]
    results = []
    for series in chosen:
        result = run_series(series, tuple(options.baselines.split(",")), options.thin)
        print_series(series, result)
        results.append(result)
    print_summary(results)


if __name__ == "__main__":
    main()
