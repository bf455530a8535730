"""In the first surge that a series sees, the upper quantiles cover the climb and let go at the peak."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from forecasting.capacity import CohortKernel
from forecasting.demand import DemandForecaster
from forecasting.types import DemandTarget, FloatArray, SeriesKey, SurgePhase

QUIET_SECONDS = 2.0 * 86400.0
CLIMB_SECONDS = 70.0 * 60.0
PEAK_SECONDS = 45.0 * 60.0
DECAY_SECONDS = 2.0 * 3600.0
HORIZON_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was said half an hour ahead, per origin from the call of the surge on; times from the start of the climb."""

    called_seconds: float
    target_seconds: FloatArray
    truth: FloatArray
    upper: FloatArray


def surge(step_seconds: float, *, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return sign-ups that climb 25-fold within 70 minutes, hold and decay, and the requests that they make."""
    rng = np.random.default_rng(seed)
    times = np.arange(0.0, QUIET_SECONDS + CLIMB_SECONDS + PEAK_SECONDS + DECAY_SECONDS, step_seconds) - QUIET_SECONDS
    knots = np.array([0.0, 1800.0, 3000.0, CLIMB_SECONDS, CLIMB_SECONDS + PEAK_SECONDS, times[-1]])
    rate = np.interp(times, knots, [4000.0, 22000.0, 75000.0, 100000.0, 96000.0, 30000.0]) * step_seconds / 3600.0
    signups = rng.poisson(rate).astype(np.float64)
    kernel = CohortKernel(requests_per_signup=7.0, first_session_ratio=0.5, first_session_seconds=900.0)
    ages = np.arange(0.0, 86400.0 + step_seconds, step_seconds)
    per_step = np.diff(kernel.used_ratio(ages)) * kernel.requests_per_signup
    requests = rng.poisson(np.convolve(signups, per_step)[: times.size] + 40.0 * step_seconds)
    return signups, requests.astype(np.float64)


def outcome(step_seconds: float, *, seed: int) -> Outcome:
    """Run the forecaster over the surge."""
    signups, requests = surge(step_seconds, seed=seed)
    forecaster = DemandForecaster(
        key=SeriesKey(),
        start=datetime(2025, 3, 29, tzinfo=UTC),
        step_seconds=step_seconds,
        target=DemandTarget.REQUESTS,
    )
    ahead = round(HORIZON_SECONDS / step_seconds)
    first = round(QUIET_SECONDS / step_seconds)
    rows: list[tuple[float, float, float]] = []
    for index in range(requests.size - ahead):
        forecaster.observe(signups=float(signups[index]), requests=float(requests[index]))
        if index >= first and (rows or forecaster.surge.phase is not SurgePhase.CALM):
            upper = float(forecaster.forecast(num_steps=ahead, levels=(0.9,)).quantiles[0, -1])
            rows.append(((index + 1 + ahead - first) * step_seconds, float(requests[index + ahead]), upper))
    target, truth, upper_quantile = np.asarray(rows).T
    return Outcome(
        called_seconds=float(target[0]) - HORIZON_SECONDS, target_seconds=target, truth=truth, upper=upper_quantile
    )


@pytest.mark.parametrize("step_seconds", [60.0, 300.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_upper_quantile_covers_the_climb_and_lets_go_at_the_peak(step_seconds: float, seed: int) -> None:
    """Once called, P90 at +30 min covers 85 % of the climb, and never asks for twice what the peak turned out to be."""
    said = outcome(step_seconds, seed=seed)
    assert said.called_seconds <= 1200.0
    climb = said.target_seconds <= CLIMB_SECONDS
    assert np.mean(said.truth[climb] <= said.upper[climb]) >= 0.85
    assert said.upper.max() <= 2.0 * said.truth.max()
    peak = np.abs(said.target_seconds - CLIMB_SECONDS - 0.5 * PEAK_SECONDS) <= 0.5 * PEAK_SECONDS
    assert np.mean(said.upper[peak] / said.truth[peak]) <= 2.0
