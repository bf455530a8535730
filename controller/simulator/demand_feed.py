"""Feeds the real demand forecasters with what the simulated users do."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from controller.simulator.events import Misfortunes
from controller.simulator.record import FanRecord
from controller.simulator.scenario import EventKind, Scenario
from controller.simulator.users import Arrivals, UserPopulation
from controller.simulator.world import WorldStep
from controller.types import ForecastSet
from forecasting.demand import DemandForecaster
from forecasting.types import DEFAULT_QUANTILES, DemandTarget, FloatArray, SeriesKey

HISTORY_SECONDS = 86400.0
"""History that the forecasters get before the lead-in: one day, as a new installation would find in Prometheus."""
FAN_HORIZON_SECONDS = 3600.0


def live_through_past(scenario: Scenario, users: UserPopulation) -> tuple[Arrivals, ...]:
    """Let the users live through the day before the lead-in; return what they did in each forecast interval."""
    step_seconds = scenario.forecast_period_seconds
    num_steps = round(HISTORY_SECONDS / step_seconds)
    first_seconds = -scenario.lead_in_seconds - num_steps * step_seconds
    past = []
    for index in range(num_steps):
        seconds = first_seconds + index * step_seconds
        at = scenario.start + timedelta(seconds=seconds)
        past.append(users.step(seconds=seconds, hour_utc=at.hour + at.minute / 60.0, step_seconds=step_seconds))
    return tuple(past)


class DemandFeed:
    """One forecaster a region and tier, and one for the world's sign-ups.

    Args:
        scenario: The scenario.
        past: What the users did in each interval before the lead-in, from :func:`live_through_past`.
        horizon_seconds: How far ahead the planner looks.
    """

    def __init__(self, scenario: Scenario, past: tuple[Arrivals, ...], *, horizon_seconds: float) -> None:
        """Show the forecasters the past."""
        self._scenario = scenario
        self._misfortunes = Misfortunes(scenario)
        self._step_seconds = scenario.forecast_period_seconds
        self._num_steps = int(np.ceil(horizon_seconds / self._step_seconds))
        first_seconds = -scenario.lead_in_seconds - len(past) * self._step_seconds
        start = scenario.start + timedelta(seconds=first_seconds)
        self._forecasters = {
            (row, column): DemandForecaster(
                key=SeriesKey(region=region.name, tier=tier.name),
                start=start,
                step_seconds=self._step_seconds,
                target=DemandTarget.REQUESTS,
            )
            for row, region in enumerate(scenario.regions)
            for column, tier in enumerate(scenario.tiers)
        }
        self._world = DemandForecaster(
            key=SeriesKey(), start=start, step_seconds=self._step_seconds, target=DemandTarget.SIGNUPS
        )
        self._signups = np.zeros(len(scenario.regions))
        self._requests = np.zeros((len(scenario.regions), len(scenario.tiers)))
        self._elapsed_seconds = 0.0
        for arrivals in past:
            self._observe(arrivals.signups, arrivals.first_attempts)
        self.forecasts = self._issue()

    def record(self, step: WorldStep) -> bool:
        """Add one step; return whether an interval was completed and new forecasts were issued."""
        shown, dark = self._counters(step.seconds)
        self._signups += step.signups * shown
        self._requests += np.where(dark[:, None], np.nan, step.first_attempts)
        self._elapsed_seconds += self._scenario.step_seconds
        if self._elapsed_seconds < self._step_seconds - 1e-9:
            return False
        self._observe(self._signups, self._requests)
        self._signups = np.zeros_like(self._signups)
        self._requests = np.zeros_like(self._requests)
        self._elapsed_seconds = 0.0
        self.forecasts = self._issue()
        return True

    def _counters(self, seconds: float) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return the factor on each region's sign-ups as its counter shows them, and whose metrics are out."""
        names = [region.name for region in self._scenario.regions]
        dark = [self._misfortunes.extent(EventKind.METRICS_OUTAGE, name, seconds) is not None for name in names]
        shown = [self._misfortunes.extent(EventKind.COUNTER_GLITCH, name, seconds) for name in names]
        return np.array([1.0 if factor is None else factor for factor in shown]), np.array(dark)

    def signup_fan(self) -> FanRecord:
        """Return the forecast of the world's sign-ups an hour as it stands now."""
        num_steps = int(np.ceil(FAN_HORIZON_SECONDS / self._step_seconds))
        forecast = self._world.forecast(num_steps=num_steps, levels=DEFAULT_QUANTILES)
        per_hour = forecast.quantiles * (3600.0 / self._step_seconds)
        return FanRecord(
            issued_at=forecast.issued_at,
            step_seconds=self._step_seconds,
            levels=forecast.levels,
            quantiles=tuple(tuple(float(value) for value in row) for row in per_hour),
            phase=forecast.surge.phase.value,
        )

    def _observe(self, signups: FloatArray, requests: FloatArray) -> None:
        """Show one completed interval to every forecaster."""
        for (row, column), forecaster in self._forecasters.items():
            leading = float(signups[row]) if self._scenario.tiers[column].follows_signups else float("nan")
            forecaster.observe(signups=leading, requests=float(requests[row, column]))
        # The fleet sees its share of the world; the report speaks of the whole.
        self._world.observe(signups=float(signups.sum()) / self._scenario.users.scale)

    def _issue(self) -> ForecastSet:
        """Return a forecast of every series."""
        return ForecastSet(
            demand=tuple(forecaster.forecast(num_steps=self._num_steps) for forecaster in self._forecasters.values())
        )
