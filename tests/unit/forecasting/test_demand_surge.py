"""The surge trigger is early, seldom wrong, and never moved by a single reading."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np

from forecasting.demand import ForecastSettings
from forecasting.demand.surge import SurgeTrigger
from forecasting.types import FloatArray, SurgePhase

START = datetime(2025, 1, 1, tzinfo=UTC)


def make_trigger(step_seconds: float = 3600.0) -> SurgeTrigger:
    """Return a fresh trigger."""
    return SurgeTrigger(start=START, step_seconds=step_seconds, settings=ForecastSettings())


def quiet(num_hours: int, *, seed: int = 3) -> FloatArray:
    """Return hourly counts with a daily wave and heavy noise."""
    rng = np.random.default_rng(seed)
    wave = 60.0 * (1.0 + 0.4 * np.sin(2.0 * np.pi * np.arange(num_hours) / 24.0))
    counts: FloatArray = rng.negative_binomial(8, 8.0 / (8.0 + wave)).astype(np.float64)
    return counts


def alarms(trigger: SurgeTrigger, counts: FloatArray, *, first: int = 0) -> list[int]:
    """Feed counts as sign-ups and return the hours at which calm ended."""
    found, was_calm = [], trigger.is_calm
    for offset, count in enumerate(counts):
        trigger.observe(first + offset, leading=float(count), lagging=math.nan)
        if was_calm and not trigger.is_calm:
            found.append(first + offset)
        was_calm = trigger.is_calm
    return found


def test_a_quiet_half_year_keeps_the_budget_of_false_alarms() -> None:
    """One alarm in thirty days is the budget; half a year may have six, and the first month is learning."""
    trigger = make_trigger()
    assert len(alarms(trigger, quiet(24 * 180))) <= 6


def test_a_wave_is_called_within_hours_and_ends() -> None:
    """Sign-ups that climb to twelvefold within six hours are called by then; afterwards calm returns."""
    trigger = make_trigger()
    alarms(trigger, quiet(24 * 60))
    factor = np.concatenate([np.linspace(2.0, 12.0, 6), np.full(12, 12.0), np.linspace(12.0, 1.0, 12), np.ones(72)])
    counts = quiet(factor.size, seed=4) * factor
    found = alarms(trigger, counts, first=24 * 60)
    assert found
    assert found[0] < 24 * 60 + 6
    assert trigger.is_calm


def test_no_single_reading_is_a_surge() -> None:
    """One reading a thousand times the usual is a glitch until another confirms it."""
    trigger = make_trigger()
    alarms(trigger, quiet(24 * 60))
    trigger.observe(24 * 60, leading=60_000.0, lagging=math.nan)
    assert trigger.is_calm


def test_two_high_readings_in_a_row_are_a_surge_with_growth() -> None:
    """The second reading confirms the first, and the doubling time is that of the signal."""
    trigger = make_trigger()
    alarms(trigger, quiet(24 * 60))
    for offset, count in enumerate((600.0, 1200.0)):
        trigger.observe(24 * 60 + offset, leading=count, lagging=math.nan)
    state = trigger.state
    assert state.phase in {SurgePhase.ONSET, SurgePhase.SURGE}
    assert state.probability > 0.5
    assert state.doubling_seconds is not None
    assert state.doubling_seconds < 4 * 3600.0


def test_a_surge_in_the_first_hour_of_minutes_is_called() -> None:
    """Without any day of history the prior threshold still calls a tenfold rise."""
    trigger = make_trigger(60.0)
    rng = np.random.default_rng(5)
    calm = alarms(trigger, rng.poisson(100.0, 40).astype(np.float64))
    assert not calm
    rise = rng.poisson(100.0 * np.exp(np.arange(30) / 12.0)).astype(np.float64)
    found = alarms(trigger, rise, first=40)
    assert found
    assert found[0] < 40 + 15


def test_gaps_move_nothing() -> None:
    """Missing readings are no evidence for or against."""
    trigger = make_trigger()
    alarms(trigger, quiet(24 * 10))
    before = trigger.state
    for hour in range(24):
        trigger.observe(24 * 10 + hour, leading=math.nan, lagging=math.nan)
    assert trigger.state.phase is before.phase
