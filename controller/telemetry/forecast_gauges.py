"""The forecasts that decisions rest on, as metrics: alerts compare them with what pools may become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Gauge

from controller.telemetry.gauge_rows import GaugeRows
from exporters import metric_names as names
from exporters.metric_names import Metric
from forecasting.capacity import CapacityModel
from forecasting.types import DemandForecast, SurgePhase

PUBLISHED_LEVELS = (0.5, 0.9, 0.95)
PUBLISHED_HORIZONS_SECONDS = (300, 900, 1800, 3600)
"""Few of each, since every region and tier has all of them; the label is the number of seconds."""


class ForecastGauges:
    """The forecast families; a series that is no longer forecast disappears.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the families, without any value: a forecast that was never made is absent, not zero."""
        self._demand = _rows(names.FORECAST_DEMAND, registry)
        self._gpus = _rows(names.FORECAST_GPUS_NEEDED, registry)
        self._surge = _rows(names.FORECAST_SURGE_STATE, registry)
        self._coverage = _rows(names.FORECAST_COVERAGE, registry)
        self._last_success = Gauge(
            names.FORECAST_LAST_SUCCESS.name,
            names.FORECAST_LAST_SUCCESS.help,
            names.FORECAST_LAST_SUCCESS.labels,
            registry=registry,
        )
        self._published: dict[str, tuple[tuple[DemandForecast, ...], CapacityModel]] = {}

    def publish(self, policy: str, forecasts: Sequence[DemandForecast], capacity: CapacityModel) -> None:
        """Replace what is published of a policy.

        Args:
            policy: Its name.
            forecasts: Of requests, one for each region and tier.
            capacity: Turns requests into GPUs.
        """
        published = self._published.get(policy)
        # A forecast is made once a minute and decided on every few seconds.
        if published is not None and _is_same(published[0], forecasts) and published[1] == capacity:
            return
        self._published[policy] = tuple(forecasts), capacity
        demand: dict[tuple[str, ...], float] = {}
        gpus: dict[tuple[str, ...], float] = {}
        for forecast in forecasts:
            of_demand, of_gpus = _curves(forecast, capacity)
            demand |= of_demand
            gpus |= of_gpus
        self._demand.replace(policy, demand)
        self._gpus.replace(policy, gpus)
        self._surge.replace(
            policy,
            {
                (phase.value, *_place(forecast)): float(phase is forecast.surge.phase)
                for forecast in forecasts
                for phase in SurgePhase
            },
        )
        self._coverage.replace(
            policy,
            {
                _place(forecast): forecast.calibration.observed
                for forecast in forecasts
                if forecast.calibration.observed is not None
            },
        )
        if forecasts:
            self._last_success.set(max(forecast.issued_at for forecast in forecasts).timestamp())

    def drop(self, policy: str) -> None:
        """Take away what is published of a policy that is gone; the time of the last success stays."""
        self._published.pop(policy, None)
        for rows in (self._demand, self._gpus, self._surge, self._coverage):
            rows.drop(policy)

    def clear(self) -> None:
        """Take away what is published of every policy."""
        for policy in tuple(self._published):
            self.drop(policy)


def _is_same(before: Sequence[DemandForecast], after: Sequence[DemandForecast]) -> bool:
    """Return whether these are the very same forecasts; comparing their content would cost more than publishing it."""
    return len(before) == len(after) and all(old is new for old, new in zip(before, after, strict=True))


def _place(forecast: DemandForecast) -> tuple[str, str]:
    """Return the labels of a forecast's series."""
    return forecast.key.region or "", forecast.key.tier or ""


def _curves(
    forecast: DemandForecast, capacity: CapacityModel
) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """Return the requests and the GPUs that one forecast expects, at the published levels and horizons."""
    demand: dict[tuple[str, ...], float] = {}
    gpus: dict[tuple[str, ...], float] = {}
    place = _place(forecast)
    steps = {seconds: round(seconds / forecast.step_seconds) - 1 for seconds in PUBLISHED_HORIZONS_SECONDS}
    for level in PUBLISHED_LEVELS:
        counts = forecast.at_level(level)
        needed = capacity.gpus_needed(np.asarray(counts), step_seconds=forecast.step_seconds)
        for seconds, index in steps.items():
            if 0 <= index < forecast.num_steps:
                demand[str(level), str(seconds), *place] = float(counts[index])
                gpus[str(level), str(seconds), *place] = float(needed[index])
    return demand, gpus


def _rows(metric: Metric, registry: CollectorRegistry) -> GaugeRows:
    """Register a gauge of the contract whose rows come and go."""
    return GaugeRows(Gauge(metric.name, metric.help, metric.labels, registry=registry))
