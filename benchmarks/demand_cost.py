"""What a demand forecast costs: CPU per step, memory per series, and the command line from cold, twice.

    python benchmarks/demand_cost.py [--num-series 200]

The first series takes 2,016 points of history before it is measured. The others are there for their memory, nearly all
of which is taken at the start; the trigger keeps up to 8 KiB more per series once 120 days are known. A step is one
observation and one forecast of twelve intervals, full refits counted in because they happen inside the steps.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from forecasting.demand import DemandForecaster
from forecasting.types import DemandTarget, SeriesKey

START = datetime(2025, 1, 1, tzinfo=UTC)
HISTORY_POINTS = 2016
OTHER_POINTS = 8
STEPS = 200
COLD_ROWS = 31_000
COMMAND = """
import sys, typer
from forecasting import cli
app = typer.Typer(add_completion=False)
app.command()(cli.forecast)
app()
"""


def make_series(*, num_points: int, seed: int) -> list[float]:
    """Return a noisy daily wave of counts at five minutes."""
    rng = np.random.default_rng(seed)
    wave = 300.0 * (1.2 + np.sin(2.0 * math.pi * np.arange(num_points) / 288.0))
    return [float(count) for count in rng.poisson(wave)]


def measure_steps(*, num_series: int) -> None:
    """Print CPU per incremental step, and memory of many series at once."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forecasters = []
    started = time.process_time()
    for number in range(num_series):
        forecaster = DemandForecaster(
            key=SeriesKey(region=str(number)), start=START, step_seconds=300.0, target=DemandTarget.REQUESTS
        )
        for count in make_series(num_points=HISTORY_POINTS if number == 0 else OTHER_POINTS, seed=number):
            forecaster.observe(requests=count, signups=count / 10.0)
        forecasters.append(forecaster)
    warm_seconds = time.process_time() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = make_series(num_points=STEPS, seed=99)
    started = time.process_time()
    for count in counts:
        forecasters[0].observe(requests=count, signups=count / 10.0)
        forecasters[0].forecast(num_steps=12)
    per_step = (time.process_time() - started) / STEPS
    print(f"one step (observe and forecast) at {HISTORY_POINTS} points: {1000.0 * per_step:.2f} ms of CPU")
    print(f"series a minute on one core: {60.0 / per_step:,.0f}")
    print(f"memory of {num_series} series: {(after - before) / num_series:.0f} KiB each, {after / 1024:.0f} MiB in all")
    print(f"warm-up of {num_series} series: {warm_seconds:.1f} s of CPU")


def measure_cold() -> None:
    """Print wall time and CPU of a cold forecast from the command line on 31,000 rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counts.csv"
        counts = make_series(num_points=COLD_ROWS, seed=1)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["timestamp", "requests", "signups"])
            for index, count in enumerate(counts):
                writer.writerow([(START + timedelta(minutes=5 * index)).isoformat(), count, count / 10.0])
        arguments = ["--requests", str(path), "--signups", str(path), "--output", "json"]
        # An installed package is compiled; a checkout is compiled by its first run, unless the environment forbids it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        for state in ("with no module compiled yet", "with modules compiled"):
            started = time.perf_counter()
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-c", COMMAND, *arguments], check=True, capture_output=True, env=environment
            )
            wall = time.perf_counter() - started
            later = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = later.ru_utime + later.ru_stime - usage.ru_utime - usage.ru_stime
            print(f"cold forecast on {COLD_ROWS:,} rows, {state}: {wall:.2f} s wall, {cpu:.2f} s of CPU")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="CPU and memory of the demand forecast.")
    parser.add_argument("--num-series", type=int, default=100, help="series that are held at once")
    options = parser.parse_args()
    measure_steps(num_series=options.num_series)
    measure_cold()


if __name__ == "__main__":
    main()
