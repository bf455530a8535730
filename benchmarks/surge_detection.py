"""How early a surge is called, and how often wrongly: waves injected into recorded quiet sign-ups.

    python benchmarks/surge_detection.py [--num-waves 300]

The recorded wave of November 2019 (its shape, at three sizes and three speeds) multiplies the sign-ups at random quiet
times of the recorded series from 2020 on. Our trigger runs as shipped, with its causal threshold, on sign-ups and
requests, and on sign-ups alone. Beside it an EWMA (gain 0.3) of residuals against the median of the same hour in the
28 days before, whose threshold is fitted in hindsight to the very number of alarms that ours raised, which favours it.
"""

from __future__ import annotations

import argparse
import copy
import math
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from recorded_series import load_mastodon

from forecasting.demand import ForecastSettings
from forecasting.demand.surge import SurgeTrigger
from forecasting.types import FloatArray

QUIET_FROM = datetime(2020, 1, 1, tzinfo=UTC)
SETTLED_FROM = datetime(2020, 5, 1, tzinfo=UTC)
WAVE_FROM = datetime(2019, 11, 7, 9, tzinfo=UTC)
WAVE_HOURS = 48
REFRACTORY_HOURS = 72
SIZES = (0.5, 1.0, 2.0)
SPEEDS = (1, 2, 4)
NOT_FOUND = WAVE_HOURS + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """Hourly sign-ups and requests."""

    start: datetime
    signups: FloatArray
    requests: FloatArray

    def index_of(self, time: datetime) -> int:
        """Return the interval that starts at a time."""
        return round((time - self.start).total_seconds() / 3600.0)


def recorded_wave(recording: Recording) -> FloatArray:
    """Return the recorded wave as a factor over the fortnight before it, shape ``(48,)``, at least one."""
    first = recording.index_of(WAVE_FROM)
    usual = float(np.nanmedian(recording.signups[first - 24 * 14 : first]))
    factor = np.nan_to_num(recording.signups[first : first + WAVE_HOURS] / usual, nan=1.0)
    return np.maximum(factor, 1.0)


def shaped(wave: FloatArray, *, size: float, speed: int) -> FloatArray:
    """Return the wave at another size and speed; after its end it stays at its last value."""
    times = np.minimum(np.arange(WAVE_HOURS) * speed, WAVE_HOURS - 1)
    return 1.0 + (wave[times] - 1.0) * size


class Ewma:
    """The baseline detector, as an array over all hours."""

    def __init__(self, signups: FloatArray) -> None:
        """Compute residuals and their exponential average causally."""
        logs = np.log1p(np.maximum(signups, 0.0))
        positions = np.maximum.accumulate(np.where(np.isnan(logs), 0, np.arange(logs.size)))
        logs = logs[positions]
        lagged = np.full((28, logs.size), np.nan)
        for day in range(1, 29):
            lagged[day - 1, 24 * day :] = logs[: -24 * day]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # The first day has no day before it.
            self.usual = np.nanmedian(lagged, axis=0)
        residual = logs - self.usual
        self.spread = np.full(logs.size, np.inf)
        for hour in range(24 * 8, logs.size):
            window = residual[max(24, hour - 24 * 28) : hour]
            self.spread[hour] = max(1.4826 * float(np.median(np.abs(window - np.median(window)))), 0.05)
        self.average = np.zeros(logs.size)
        level = 0.0
        for hour in range(logs.size):
            level = self._next(level, residual[hour] / self.spread[hour])
            self.average[hour] = level

    @staticmethod
    def _next(level: float, deviation: float) -> float:
        bounded = min(max(deviation, -6.0), 6.0) if math.isfinite(deviation) else 0.0
        return level + 0.3 * (bounded - level)

    def num_alarms(self, threshold: float, first: int) -> int:
        """Return how often the average rises above a threshold, with a pause of 72 hours."""
        last, alarms = -REFRACTORY_HOURS - 1, 0
        for hour in np.flatnonzero(self.average > threshold):
            if hour >= first:
                alarms += int(hour - last > REFRACTORY_HOURS)
                last = int(hour)
        return alarms

    def threshold_for(self, num_alarms: int, first: int) -> float:
        """Return the threshold that raises at most so many alarms, fitted in hindsight."""
        low, high = 0.05, 6.0
        for _ in range(40):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.num_alarms(middle, first) > num_alarms else (low, middle)
        return high

    def delay(self, hour: int, signups: FloatArray, threshold: float) -> int:
        """Return the hours until an injected wave is called; 49 where it is not."""
        level = float(self.average[hour - 1])
        for step, count in enumerate(signups):
            deviation = (math.log1p(count) - self.usual[hour + step]) / self.spread[hour + step]
            level = self._next(level, deviation if math.isfinite(count) else 0.0)
            if level > threshold:
                return step + 1
        return NOT_FOUND


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnRun:
    """Our trigger over the recording."""

    snapshots: dict[int, SurgeTrigger]
    alarms: list[int]


def run_own(recording: Recording, hours: set[int], *, with_requests: bool) -> OwnRun:
    """Run our trigger as shipped and keep its state at the hours of injection."""
    trigger = SurgeTrigger(start=recording.start, step_seconds=3600.0, settings=ForecastSettings())
    snapshots: dict[int, SurgeTrigger] = {}
    alarms: list[int] = []
    last_raised = -REFRACTORY_HOURS - 1
    for hour in range(recording.signups.size):
        if hour in hours and trigger.is_calm:
            snapshots[hour] = copy.deepcopy(trigger)
        requests = float(recording.requests[hour]) if with_requests else math.nan
        trigger.observe(hour, leading=float(recording.signups[hour]), lagging=requests)
        if not trigger.is_calm:
            if hour - last_raised > REFRACTORY_HOURS:
                alarms.append(hour)
            last_raised = hour
    return OwnRun(snapshots=snapshots, alarms=alarms)


def own_delay(snapshot: SurgeTrigger, recording: Recording, hour: int, signups: FloatArray, with_requests: bool) -> int:
    """Return the hours until an injected wave is called; 49 where it is not."""
    trigger = copy.deepcopy(snapshot)
    for step, count in enumerate(signups):
        requests = float(recording.requests[hour + step]) if with_requests else math.nan
        trigger.observe(hour + step, leading=float(count), lagging=requests)
        if not trigger.is_calm:
            return step + 1
    return NOT_FOUND


def compare(recording: Recording, *, num_waves: int, with_requests: bool, seed: int) -> None:
    """Print alarms and delays of both detectors."""
    first = recording.index_of(QUIET_FROM)
    rng = np.random.default_rng(seed)
    candidates = np.arange(recording.index_of(SETTLED_FROM), recording.signups.size - WAVE_HOURS)
    hours = {int(hour) for hour in rng.choice(candidates, size=num_waves, replace=False)}
    own = run_own(recording, hours, with_requests=with_requests)
    days = (recording.signups.size - first) / 24.0
    own_alarms = sum(hour >= first for hour in own.alarms)
    ewma = Ewma(recording.signups)
    threshold = ewma.threshold_for(own_alarms, first)
    ewma_alarms = ewma.num_alarms(threshold, first)
    print(
        f"\n{'sign-ups and requests' if with_requests else 'sign-ups alone'}: over {days:.0f} days ours raises"
        f" {own_alarms} alarms ({30 * own_alarms / days:.2f} per 30 days, threshold causal);"
        f" EWMA {ewma_alarms} ({30 * ewma_alarms / days:.2f}, threshold {threshold:.2f} in hindsight)"
    )
    wave = recorded_wave(recording)
    every_own: list[int] = []
    every_ewma: list[int] = []
    for size in SIZES:
        for speed in SPEEDS:
            factor = shaped(wave, size=size, speed=speed)
            ours, theirs = [], []
            for hour, snapshot in own.snapshots.items():
                if ewma.average[hour - 1] > threshold:
                    continue  # Both detectors must be calm when the wave begins.
                raised = recording.signups[hour : hour + WAVE_HOURS] * factor
                ours.append(own_delay(snapshot, recording, hour, raised, with_requests))
                theirs.append(ewma.delay(hour, raised, threshold))
            every_own += ours
            every_ewma += theirs
            print(
                f"  peak x{factor.max():4.1f} speed {speed}: {len(ours)} waves, delay median {np.median(ours):.0f} h"
                f" (mean {np.mean(ours):.2f}, missed {ours.count(NOT_FOUND)}); EWMA {np.median(theirs):.0f} h"
                f" (mean {np.mean(theirs):.2f}, missed {theirs.count(NOT_FOUND)})",
                flush=True,
            )
    print(
        f"  all {len(every_own)}: median {np.median(every_own):.0f} h, mean {np.mean(every_own):.2f} h;"
        f" EWMA {np.median(every_ewma):.0f} h, mean {np.mean(every_ewma):.2f} h"
    )
    near = [hour for hour in own.alarms if abs(hour - recording.index_of(datetime(2019, 11, 8, tzinfo=UTC))) < 24 * 7]
    print("  alarms within a week of 8 November 2019:", [_time_text(recording, hour) for hour in near])
    theirs_near = [
        hour
        for hour in np.flatnonzero(ewma.average > threshold)
        if abs(hour - recording.index_of(datetime(2019, 11, 8, tzinfo=UTC))) < 24 * 7
    ]
    print("  EWMA first above its threshold there:", [_time_text(recording, int(hour)) for hour in theirs_near[:1]])


def _time_text(recording: Recording, hour: int) -> str:
    return (recording.start + timedelta(hours=hour + 1)).strftime("%Y-%m-%d %H:%M")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Delay of surge detection at matched false alarms.")
    parser.add_argument("--num-waves", type=int, default=300, help="times of injection, each with nine waves")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start, signups, requests = load_mastodon()
    recording = Recording(start=start, signups=signups, requests=requests)
    for with_requests in (True, False):
        compare(recording, num_waves=options.num_waves, with_requests=with_requests, seed=options.seed)


if __name__ == "__main__":
    main()
