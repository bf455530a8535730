"""Time to threshold away from the conditions that it was measured under first: other scrapes, phases, limits and GPUs.

    python benchmarks/thermal_holdout.py [--gpus 32] [--minutes 90] [--only recorded|simulated] [--below 4 5 6 7 8]

The rule is that of ``thermal_threshold``; later power is known. Recorded logs are thinned to slower scrapes from
several starting points, with the mean power of a step and with its last reading, and the limit lies 4 to 8 K below the
trace's maximum. Simulated GPUs are those of ``thermal_plants`` with whole-degree sensors. Each row says: crossings
flagged of possible of all, quiet readings alarmed, mean error of the told time; at probability one half, first with one
forecast per reading, then with one every ten seconds.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from thermal_plants import PlantKind, simulate
from thermal_recorded import RecordedRun, data_folder, load_runs
from thermal_threshold import (
    DEFAULT_LEVEL,
    LEVELS,
    PLAN_PERIOD_SECONDS,
    ThresholdScore,
    ThresholdTrace,
    score_trace,
    threshold_traces,
)

BELOW_CELSIUS = (4.0, 5.0, 6.0, 7.0, 8.0)

THINNED = ((5.0, 0.0), (5.0, 2.0), (15.0, 0.0), (15.0, 5.0), (15.0, 10.0), (30.0, 0.0), (30.0, 10.0), (30.0, 20.0))
"""Step and phase, seconds."""

SLOW_THINNED = ((60.0, 0.0), (60.0, 15.0), (60.0, 30.0), (60.0, 45.0))

KINDS = tuple(
    PlantKind(
        name=f"{name} {scrape:g} s", liquid=liquid, scrape_seconds=scrape, wander_ratio=wander, instant_power=instant
    )
    for name, liquid, wander, instant in (
        ("air", False, 0.03, False),
        ("air, noisy, instant", False, 0.1, True),
        ("liquid", True, 0.03, False),
    )
    for scrape in (5.0, 15.0, 30.0, 60.0)
)


def row(name: str, traces: list[ThresholdTrace]) -> str:
    """Return a line of the table."""
    cells = []
    for between in (False, True):
        total = ThresholdScore()
        for trace in traces:
            several = max(1, round(trace.step_seconds / PLAN_PERIOD_SECONDS)) if between else 1
            score_trace(trace, total, level=LEVELS.index(DEFAULT_LEVEL), num_per_reading=several)
        share, alarms = total.flagged / max(total.possible, 1), total.false_alarms / max(total.quiet, 1)
        error = np.mean(total.errors_seconds) if total.errors_seconds else np.nan
        cells.append(
            f"{total.flagged:4d}/{total.possible:4d}/{total.crossings:4d} {share:5.0%}  "
            f"{total.false_alarms:4d}/{total.quiet:5d} {alarms:6.2%}  {error:4.0f} s"
        )
    return f"  {name:28}" + "  |  ".join(cells)


def as_run(kind: PlantKind, *, num_gpus: int, duration_seconds: float, seed: int) -> RecordedRun:
    """Return simulated GPUs as a run; power in multiples of each GPU's own limit times 700 W."""
    plant = simulate(kind, num_gpus=num_gpus, duration_seconds=duration_seconds, seed=seed)
    return RecordedRun(
        name=kind.name,
        dataset=kind.name,
        gpus=plant.gpus,
        step_seconds=kind.scrape_seconds,
        power_limit_watts=700.0,
        temperature_celsius=plant.temperature_celsius,
        power_watts=plant.power_watts / plant.power_limit_watts[:, None] * 700.0,
        utilization_ratio=np.full(plant.power_watts.shape, np.nan),
    )


def main() -> int:
    """Print one row per condition and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", choices=("recorded", "simulated"))
    parser.add_argument("--below", type=float, nargs="+", default=BELOW_CELSIUS, help="limits under the maximum, K")
    options = parser.parse_args()
    started = time.perf_counter()
    if options.only != "simulated" and not load_runs(step_seconds=5.0):
        print(f"no recorded logs in {data_folder()}; set MELTGUARD_DATA", file=sys.stderr)
        return 1
    if options.only != "simulated":
        print_recorded(tuple(options.below))
    if options.only != "recorded":
        everything: list[ThresholdTrace] = []
        for number, kind in enumerate(KINDS):
            run = as_run(
                kind,
                num_gpus=options.gpus,
                duration_seconds=60.0 * options.minutes,
                seed=1000 * options.seed + number,
            )
            traces = threshold_traces(run, None)
            print(row(kind.name, traces), flush=True)
            everything += traces
        print(row("all simulated", everything))
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


def print_recorded(limits_below: tuple[float, ...]) -> None:
    """Print the rows of the recorded logs, with limits so far below the maximum (kelvin)."""
    sets: dict[str, list[ThresholdTrace]] = {}
    named: list[ThresholdTrace] = []
    for below in limits_below:
        pooled: list[ThresholdTrace] = []
        for step, phase in (*THINNED, *SLOW_THINNED):
            for power in ("mean", "last"):
                # A log of one reading a minute is the same whatever the step: it counts once.
                first = (step, phase, power) == (5.0, 0.0, "mean")
                runs = [
                    run
                    for run in load_runs(step_seconds=step, power=power, phase_seconds=phase)
                    if first or run.dataset == "H100n"
                ]
                for run in runs:
                    traces = threshold_traces(run, None, below_celsius=below)
                    sets.setdefault(f"{run.dataset} {run.step_seconds:g} s, {power} power", []).extend(traces)
                    sets.setdefault(f"{run.dataset}, maximum - {below:g} K", []).extend(traces)
                    pooled += traces if first else []
        print(row(f"both as named, - {below:g} K", pooled), flush=True)
        named += pooled
    for name in sorted(sets):
        print(row(name, sets[name]))
    print(row("both as named, all limits", named))


if __name__ == "__main__":
    sys.exit(main())
