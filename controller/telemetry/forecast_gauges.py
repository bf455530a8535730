"""The forecasts that decisions rest on, as metrics: alerts compare them with what pools may become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Gauge

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
        self._demand = _gauge(names.FORECAST_DEMAND, registry)
        self._gpus = _gauge(names.FORECAST_GPUS_NEEDED, registry)
        self._surge = _gauge(names.FORECAST_SURGE_STATE, registry)
        self._coverage = _gauge(names.FORECAST_COVERAGE, registry)
        self._last_success = _gauge(names.FORECAST_LAST_SUCCESS, registry)

    def publish(self, forecasts: Sequence[DemandForecast], capacity: CapacityModel) -> None:
        """Replace what is published.

        Args:
            forecasts: Of requests, one for each region and tier.
            capacity: Turns requests into GPUs.
        """
        for gauge in (self._demand, self._gpus, self._surge, self._coverage):
            gauge.clear()
        for forecast in forecasts:
            self._publish_one(forecast, capacity)
        if forecasts:
            self._last_success.set(max(forecast.issued_at for forecast in forecasts).timestamp())

    def _publish_one(self, forecast: DemandForecast, capacity: CapacityModel) -> None:
        """Publish one region and tier."""
        place = (forecast.key.region or "", forecast.key.tier or "")
        for phase in SurgePhase:
            self._surge.labels(phase.value, *place).set(1.0 if phase is forecast.surge.phase else 0.0)
        if forecast.calibration.observed is not None:
            self._coverage.labels(*place).set(forecast.calibration.observed)
        for level in PUBLISHED_LEVELS:
            counts = forecast.at_level(level)
            gpus = capacity.gpus_needed(np.asarray(counts), step_seconds=forecast.step_seconds)
            for seconds in PUBLISHED_HORIZONS_SECONDS:
                index = round(seconds / forecast.step_seconds) - 1
                if 0 <= index < forecast.num_steps:
                    self._demand.labels(str(level), str(seconds), *place).set(float(counts[index]))
                    self._gpus.labels(str(level), str(seconds), *place).set(float(gpus[index]))


def _gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    """Register a gauge of the contract."""
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)
