"""How the thermal model fares on random GPUs that it was never shown, beside persistence.

    python benchmarks/thermal_stress.py [--gpus 48] [--minutes 40] [--seed 1]

Every row is a kind of GPU, cooling, load or sensor fault of ``thermal_plants``; later power is known, as for the
recorded logs. Errors are of forecasts from every scrape after two minutes, at most every 20 s, against the sensor's own
reading. ``worse`` counts the GPUs whose error at a minute is more than 0.1 K above persistence. Floor: no kind worse as
a whole, and 90 % intervals hold 0.80 to 0.95 of the readings at a minute.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from thermal_plants import PlantKind, PlantRun, simulate

from forecasting.thermal import FleetThermalModel
from forecasting.types import FloatArray

HORIZONS_SECONDS = (60.0, 300.0, 600.0)
BURN_SECONDS = 120.0
STRIDE_SECONDS = 20.0

KINDS = (
    PlantKind(name="air, 1 s", scrape_seconds=1.0),
    PlantKind(name="air, 5 s"),
    PlantKind(name="air, 15 s", scrape_seconds=15.0),
    PlantKind(name="air, 30 s", scrape_seconds=30.0),
    PlantKind(name="air, 60 s", scrape_seconds=60.0),
    PlantKind(name="liquid, 5 s", liquid=True),
    PlantKind(name="liquid, 30 s", liquid=True, scrape_seconds=30.0),
    PlantKind(name="air shifts", air_steps=True, scrape_seconds=10.0),
    PlantKind(name="fan fails", fan_steps=True, scrape_seconds=10.0),
    PlantKind(name="jitter and gaps", scrape_seconds=15.0, jitter_ratio=0.3, missing_ratio=0.1),
    PlantKind(name="repeated readings", scrape_seconds=5.0, repeated_ratio=0.2),
    PlantKind(name="power in 25 W", scrape_seconds=5.0, power_step_watts=25.0),
    PlantKind(name="instant power, 15 s", scrape_seconds=15.0, instant_power=True, wander_ratio=0.08),
    PlantKind(name="instant power, 60 s", scrape_seconds=60.0, instant_power=True, wander_ratio=0.08),
    PlantKind(name="power stuck 5 min", scrape_seconds=5.0, stuck_seconds=300.0),
    PlantKind(
        name="everything",
        air_steps=True,
        fan_steps=True,
        scrape_seconds=20.0,
        jitter_ratio=0.2,
        missing_ratio=0.05,
        repeated_ratio=0.1,
        power_step_watts=25.0,
        instant_power=True,
        wander_ratio=0.08,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StressScore:
    """Errors of one kind at one horizon.

    Attributes:
        model_celsius: Root mean square error per GPU, shape ``(num_gpus,)``.
        persistence_celsius: The same for the last reading, same shape.
        coverage: Share of readings inside the 90 % interval, same shape.
        bias_celsius: Mean error, same shape.
    """

    model_celsius: FloatArray
    persistence_celsius: FloatArray
    coverage: FloatArray
    bias_celsius: FloatArray


def score_run(run: PlantRun) -> dict[float, StressScore]:
    """Feed a run to the model and score its forecasts.

    Args:
        run: The readings.

    Returns:
        By horizon.
    """
    num_gpus, num = run.power_watts.shape
    model = FleetThermalModel(
        gpus=run.gpus, power_limit_watts=run.power_limit_watts, limit_celsius=np.full(num_gpus, np.nan)
    )
    rows: dict[float, list[FloatArray]] = {horizon: [] for horizon in HORIZONS_SECONDS}
    last, next_origin = np.full(num_gpus, np.nan), BURN_SECONDS
    for index, now in enumerate(run.seconds):
        reading = run.temperature_celsius[:, index]
        model.observe(now_seconds=float(now), temperature_celsius=reading, power_watts=run.power_watts[:, index])
        last = np.where(np.isfinite(reading), reading, last)
        # One scrape beyond the longest horizon: where scrapes are uneven, none falls on the horizon itself.
        stop = min(int(np.searchsorted(run.seconds, now + HORIZONS_SECONDS[-1], side="right")) + 1, num)
        if now < next_origin or stop <= index + 1:
            continue
        next_origin = float(now) + STRIDE_SECONDS
        ahead = run.seconds[index + 1 : stop] - now
        path = run.later_power_watts[:, index + 1 : stop]
        quantiles = model.forecast(horizons_seconds=ahead, power_watts=path).temperature_celsius
        for horizon in HORIZONS_SECONDS:
            step = int(np.searchsorted(ahead, horizon - 1e-6))
            if step < ahead.size:
                actual = run.temperature_celsius[:, index + 1 + step]
                rows[horizon].append(np.vstack([quantiles[:, :, step], actual[None], last[None]]))
    return {horizon: _score(np.stack(found)) for horizon, found in rows.items() if found}


def _score(table: FloatArray) -> StressScore:
    """Return the errors of rows of lower, median, upper, actual, last; shape ``(num_origins, 5, num_gpus)``."""
    lower, median, upper, actual, last = np.moveaxis(table, 1, 0)
    known = np.isfinite(actual) & np.isfinite(last)
    inside = np.where(known, (lower <= actual) & (actual <= upper), np.nan)
    return StressScore(
        model_celsius=np.sqrt(np.nanmean(np.where(known, median - actual, np.nan) ** 2, axis=0)),
        persistence_celsius=np.sqrt(np.nanmean(np.where(known, last - actual, np.nan) ** 2, axis=0)),
        coverage=np.nanmean(inside, axis=0),
        bias_celsius=np.nanmean(np.where(known, median - actual, np.nan), axis=0),
    )


def line(name: str, scores: dict[float, StressScore]) -> str:
    """Return one row of the table."""
    cells = []
    for score in scores.values():
        model = np.sqrt(np.mean(score.model_celsius**2))
        persistence = np.sqrt(np.mean(score.persistence_celsius**2))
        cells.append(f"{model:6.2f} {persistence:6.2f} {score.coverage.mean():6.3f}")
    first = scores[HORIZONS_SECONDS[0]]
    worse = int(np.sum(first.model_celsius > first.persistence_celsius + 0.1))
    return f"  {name:22}" + "  |".join(cells) + f"  | worse {worse}/{first.coverage.size}"


def main() -> int:
    """Print one row per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=48)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    print("  RMSE of the model and of persistence in K, coverage of 90 %: at 60 s | 300 s | 600 s")
    for number, kind in enumerate(KINDS):
        run = simulate(
            kind, num_gpus=options.gpus, duration_seconds=60.0 * options.minutes, seed=1000 * options.seed + number
        )
        print(line(kind.name, score_run(run)), flush=True)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
