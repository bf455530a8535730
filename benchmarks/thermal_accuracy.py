"""How well temperature is forecast on recorded GPU logs, beside persistence, predict_linear and ARX.

    python benchmarks/thermal_accuracy.py [--step 5] [--power mean|last] [--prior class|fleet|own] [--skip-threshold]

Every model sees the samples in order and forecasts from each of them, never seeing a later temperature. "known" gives
it the power that the log goes on to show, "persist" what it holds as persisting power (the baselines: the mean of the
last 30 s). Errors are pooled over all forecasts of a set. The recorded logs are not part of the project: the folder is
named by MELTGUARD_DATA, else ../shared/data beside the repository. ``fleet`` starts each GPU from the gains of the
*other* GPUs of its set (leave one out), ``own`` from the other runs of the same GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from thermal_peers import arx_forecasts, persistence_forecasts, predict_linear_forecasts
from thermal_recorded import BURN_SECONDS, RecordedRun, data_folder, feed, load_runs, new_model
from thermal_threshold import THRESHOLD_NOTES, ThresholdTrace, print_threshold, threshold_traces

from forecasting.thermal import ThermalSettings
from forecasting.thermal.persistence import persisting_power_watts
from forecasting.thermal.priors import median_gains
from forecasting.types import FloatArray

HORIZONS_SECONDS = (30.0, 60.0, 300.0, 600.0)
STRIDE_SECONDS = 5.0
LEVELS = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Forecasts of one run at one horizon.

    Attributes:
        horizon_seconds: Horizon.
        origins: Index of the sample that each forecast was made from, shape ``(num_origins,)``.
        lower: 0.05 quantile, shape ``(num_origins, num_gpus)``; NaN for models without intervals.
        median: Same shape.
        upper: 0.95 quantile, same shape.
        actual: What was read, same shape.
    """

    horizon_seconds: float
    origins: NDArray[np.intp]
    lower: FloatArray
    median: FloatArray
    upper: FloatArray
    actual: FloatArray


def horizons_of(run: RecordedRun) -> list[tuple[float, int]]:
    """Return the horizons that a run can be scored at, with their number of steps."""
    pairs = [(horizon, round(horizon / run.step_seconds)) for horizon in HORIZONS_SECONDS]
    return [(horizon, steps) for horizon, steps in pairs if horizon >= run.step_seconds]


def origins_of(run: RecordedRun) -> NDArray[np.intp]:
    """Return the samples that forecasts are made from: after a minute, every five seconds."""
    first = int(max(BURN_SECONDS, 3.0 * run.step_seconds) / run.step_seconds)
    last = run.num_samples - horizons_of(run)[0][1]
    return np.arange(first, last, max(1, int(STRIDE_SECONDS / run.step_seconds)))


def model_forecasts(run: RecordedRun, *, known: bool, prior: FloatArray | None) -> list[Scored]:
    """Run our model over a run.

    Args:
        run: The run.
        known: Whether the later power is given.
        prior: Plateau gains to start from, shape ``(num_gpus, num_tc)``; None is the class prior.

    Returns:
        Scores per horizon.
    """
    model = new_model(run, prior)
    origins = set(origins_of(run).tolist())
    rows: dict[float, list[tuple[int, FloatArray]]] = {horizon: [] for horizon, _ in horizons_of(run)}
    longest = max(steps for _, steps in horizons_of(run))
    for index in range(run.num_samples):
        feed(model, run, index)
        if index not in origins:
            continue
        num_steps = min(longest, run.num_samples - 1 - index)
        path = run.power_watts[:, index + 1 : index + 1 + num_steps]
        if not known:
            seconds = run.step_seconds * np.arange(index + 1, dtype=np.float64)
            persisting = np.array([persisting_power_watts(seconds, row[: index + 1]) for row in run.power_watts])
            path = np.repeat(persisting[:, None], num_steps, axis=1)
        edges = run.step_seconds * np.arange(1, num_steps + 1, dtype=np.float64)
        quantiles = model.forecast(horizons_seconds=edges, power_watts=path, levels=LEVELS).temperature_celsius
        for horizon, steps in horizons_of(run):
            if steps <= num_steps:
                rows[horizon].append((index, quantiles[:, :, steps - 1]))
    return [_scored(run, horizon, steps, rows[horizon]) for horizon, steps in horizons_of(run) if rows[horizon]]


def _scored(run: RecordedRun, horizon: float, steps: int, rows: list[tuple[int, FloatArray]]) -> Scored:
    """Return the forecasts of one horizon beside what was read."""
    origins = np.array([index for index, _ in rows])
    quantiles = np.stack([values for _, values in rows])
    return Scored(
        horizon_seconds=horizon,
        origins=origins,
        lower=quantiles[:, 0],
        median=quantiles[:, 1],
        upper=quantiles[:, 2],
        actual=run.temperature_celsius[:, origins + steps].T,
    )


def peer_forecasts(
    run: RecordedRun, peer: Callable[[RecordedRun, NDArray[np.intp], int, bool], FloatArray], *, known: bool
) -> list[Scored]:
    """Run a baseline over a run; it has no intervals."""
    scored = []
    for horizon, steps in horizons_of(run):
        origins = origins_of(run)
        origins = origins[origins + steps < run.num_samples]
        if origins.size:
            median = peer(run, origins, steps, known)
            nothing = np.full(median.shape, np.nan)
            actual = run.temperature_celsius[:, origins + steps].T
            scored.append(
                Scored(
                    horizon_seconds=horizon, origins=origins, lower=nothing, median=median, upper=nothing, actual=actual
                )
            )
    return scored


def priors_for(runs: list[RecordedRun], kind: str) -> dict[str, FloatArray | None]:
    """Return the prior of every run.

    Args:
        runs: All runs of one set.
        kind: ``class``, ``fleet`` (other GPUs of the set) or ``own`` (other runs of the same GPU).

    Returns:
        By run name, gains of shape ``(num_gpus, num_tc)`` with NaN rows where there is no history; None: class prior.
    """
    if kind == "class":
        return {run.name: None for run in runs}
    learned: list[tuple[str, str, FloatArray]] = []
    for run in runs:
        model = new_model(run, None)
        for index in range(run.num_samples):
            feed(model, run, index)
        learned += [(run.name, gpu, model.plateau_gains_celsius[row].copy()) for row, gpu in enumerate(run.gpus)]
    priors: dict[str, FloatArray | None] = {}
    for run in runs:
        rows = []
        for gpu in run.gpus:
            if kind == "own":
                chosen = [gains for name, other, gains in learned if other == gpu and name != run.name]
            else:
                chosen = [gains for _, other, gains in learned if other != gpu]
            num_gains = len(ThermalSettings().time_constants_seconds)
            rows.append(median_gains(np.array(chosen)) if chosen else np.full(num_gains, np.nan))
        priors[run.name] = np.array(rows)
    return priors


def print_errors(name: str, models: dict[str, list[Scored]]) -> None:
    """Print root mean square errors, and coverage where a model has intervals, pooled over runs."""
    print(f"  {name}")
    for model, scores in models.items():
        cells = []
        for horizon in HORIZONS_SECONDS:
            chosen = [score for score in scores if score.horizon_seconds == horizon]
            if not chosen:
                cells.append("          -    ")
                continue
            error = np.concatenate([(score.median - score.actual).ravel() for score in chosen])
            cell = f"{np.sqrt(np.mean(error**2)):7.2f} K"
            inside = np.concatenate(
                [((score.lower <= score.actual) & (score.actual <= score.upper)).ravel() for score in chosen]
            )
            has_interval = np.isfinite(chosen[0].lower).any()
            cells.append(cell + (f" {inside.mean():5.3f}" if has_interval else "      "))
        print(f"    {model:24}" + " ".join(cells))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=float, default=5.0, help="seconds per sample; a coarser log keeps its own")
    parser.add_argument("--power", choices=("mean", "last"), default="mean", help="mean of a step, or its last reading")
    parser.add_argument("--prior", choices=("class", "fleet", "own"), default="class")
    parser.add_argument("--skip-threshold", action="store_true")
    options = parser.parse_args()
    runs = load_runs(step_seconds=options.step, power=options.power)
    if not runs:
        print(f"no recorded logs in {data_folder()}; set MELTGUARD_DATA", file=sys.stderr)
        return 1
    started = time.perf_counter()
    traces: list[ThresholdTrace] = []
    for dataset in sorted({run.dataset for run in runs}):
        chosen = [run for run in runs if run.dataset == dataset]
        priors = priors_for(chosen, options.prior)
        for known in (True, False):
            models = {
                f"meltguard ({options.prior})": [
                    score for run in chosen for score in model_forecasts(run, known=known, prior=priors[run.name])
                ]
            }
            for name, peer in (
                ("persistence", persistence_forecasts),
                ("predict_linear 5 min", predict_linear_forecasts),
                ("ARX(1), ridge", arx_forecasts),
            ):
                models[name] = [score for run in chosen for score in peer_forecasts(run, peer, known=known)]
            title = f"{dataset}, power {'known' if known else 'persists'}, step {chosen[0].step_seconds:g} s"
            horizons = "  ".join(f"{horizon:g} s".rjust(13) for horizon in HORIZONS_SECONDS)
            print_errors(f"{title}\n    {'RMSE, coverage of 90 %':24}{horizons}", models)
        if not options.skip_threshold:
            print(f"  time to threshold, {dataset}, power known")
            traces += (found := [trace for run in chosen for trace in threshold_traces(run, priors[run.name])])
            print_threshold(found)
    if traces:
        print("  time to threshold, all sets, power known")
        print_threshold(traces)
        print(THRESHOLD_NOTES)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
