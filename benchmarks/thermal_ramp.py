"""Slow warming of the room on recorded logs: the model beside the maximum of 15 minutes against a fixed margin.

    python benchmarks/thermal_ramp.py [--step 5]

No log holds a cooling failure, so one is added: from a third of each run on, temperature rises by a constant rate on
top of what was read. The limit lies 3 K above the run's own maximum, which favours a fixed rule. Nobody knows the later
power: the model holds it as persisting and alarms as the operator would, after three forecasts in a row that reach the
limit within ten minutes as likely as not. Caught: an alarm was up at the crossing. False: readings of the same run
without warming, after the first minute, on which an alarm was up.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from thermal_recorded import BURN_SECONDS, RecordedRun, data_folder, feed, load_runs, new_model

from forecasting.thermal.persistence import persisting_power_watts
from forecasting.thermal.rules import ConsecutiveAlarm, MaximumOverTime
from forecasting.types import FloatArray

RATES_CELSIUS_PER_MINUTE = (0.5, 1.0, 2.0)
LIMIT_ABOVE_MAXIMUM_CELSIUS = 3.0
HORIZONS_SECONDS = np.arange(15.0, 601.0, 15.0)
MINUTE_SECONDS = 60.0

Alarm = Callable[[RecordedRun, FloatArray], NDArray[np.bool_]]


def warmed(run: RecordedRun, rate_celsius_per_minute: float) -> RecordedRun:
    """Return the run with the room warming up from a third of it on."""
    seconds = run.step_seconds * np.arange(run.num_samples)
    added = np.maximum(seconds - seconds[-1] / 3.0, 0.0) * rate_celsius_per_minute / MINUTE_SECONDS
    return replace(run, temperature_celsius=np.round(run.temperature_celsius + added))


def simple_rule(margin_celsius: float) -> Alarm:
    """Return the rule of 15 minutes with a margin; alarms have shape ``(num_gpus, num_samples)``."""

    def alarm(run: RecordedRun, limit: FloatArray) -> NDArray[np.bool_]:
        rule = MaximumOverTime(num_gpus=len(run.gpus))
        raised = np.zeros((len(run.gpus), run.num_samples), dtype=np.bool_)
        for index in range(run.num_samples):
            rule.observe(now_seconds=index * run.step_seconds, temperature_celsius=run.temperature_celsius[:, index])
            raised[:, index] = rule.breached(limit, margin_celsius=margin_celsius)
        return raised

    return alarm


def model_alarm(run: RecordedRun, limit: FloatArray) -> NDArray[np.bool_]:
    """Return alarms of the model under persisting power, shape ``(num_gpus, num_samples)``."""
    model, three = new_model(run, None, limit), ConsecutiveAlarm(num_gpus=len(run.gpus))
    raised = np.zeros((len(run.gpus), run.num_samples), dtype=np.bool_)
    seconds = np.arange(0.0, run.step_seconds * (run.num_samples - 0.5), run.step_seconds)
    for index in range(run.num_samples):
        feed(model, run, index)
        past = seconds[: index + 1]
        power = np.array([persisting_power_watts(past, row[: index + 1]) for row in run.power_watts])
        forecast = model.forecast(horizons_seconds=HORIZONS_SECONDS, power_watts=power, levels=(0.5,))
        raised[:, index] = three.observe(np.isfinite(forecast.seconds_to_slowdown[0]))
    return raised


def print_rate(name: str, runs: list[RecordedRun], alarm: Alarm, rate_celsius_per_minute: float) -> None:
    """Print what an alarm caught of the crossings of one rate of warming, and what it raised without."""
    leads: list[float] = []
    crossings = false = quiet = 0
    for run in runs:
        limit = run.temperature_celsius.max(axis=1) + LIMIT_ABOVE_MAXIMUM_CELSIUS
        hot = warmed(run, rate_celsius_per_minute)
        burn = int(BURN_SECONDS / run.step_seconds)
        calm = alarm(run, limit)[:, burn:]
        false, quiet = false + int(calm.sum()), quiet + calm.size
        raised = alarm(hot, limit)
        for row in range(len(run.gpus)):
            above = np.flatnonzero(hot.temperature_celsius[row] >= limit[row])
            if above.size == 0:
                continue
            crossings += 1
            down = np.flatnonzero(~raised[row, : above[0]])
            start = int(down[-1]) + 1 if down.size else 0
            if start < above[0]:
                leads.append(float(above[0] - start) * run.step_seconds)
    share = len(leads) / max(crossings, 1)
    minute = sum(lead >= MINUTE_SECONDS for lead in leads) / max(crossings, 1)
    lead = f"{np.median(leads):4.0f} s" if leads else "   -  "
    print(
        f"    {name:26} {len(leads):3d}/{crossings:<3d} caught ({share:4.0%}), a minute ahead {minute:4.0%}, "
        f"median lead {lead}; false {false}/{quiet} ({false / max(quiet, 1):.2%})"
    )


def main() -> int:
    """Print one table per set and rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=float, default=5.0, help="seconds per sample; a coarser log keeps its own")
    options = parser.parse_args()
    runs = load_runs(step_seconds=options.step)
    if not runs:
        print(f"no recorded logs in {data_folder()}; set MELTGUARD_DATA", file=sys.stderr)
        return 1
    for dataset in sorted({run.dataset for run in runs}):
        chosen = [run for run in runs if run.dataset == dataset]
        for rate in RATES_CELSIUS_PER_MINUTE:
            print(f"  {dataset}, room warming by {rate:g} K a minute")
            for margin in (2.0, 5.0):
                print_rate(f"maximum of 15 min, {margin:g} K", chosen, simple_rule(margin), rate)
            print_rate("model, power persists", chosen, model_alarm, rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
