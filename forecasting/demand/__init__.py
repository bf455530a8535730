"""Demand forecasts: sign-ups and requests in, quantiles of the next counts out, with the surge state.

Everything here is pure. Others import the names below and nothing else.
"""

from __future__ import annotations

from forecasting.demand.events import DemandEvent
from forecasting.demand.forecaster import DemandForecaster
from forecasting.demand.replay import aligned_signups, forecast_series, forecast_times
from forecasting.demand.settings import ForecastSettings

__all__ = [
    "DemandEvent",
    "DemandForecaster",
    "ForecastSettings",
    "aligned_signups",
    "forecast_series",
    "forecast_times",
]
