"""Forecasts from whole series: runs the incremental forecaster over what was known at ``as_of``.

The command line and scripts call it. Pure.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from forecasting.demand.forecaster import DemandForecaster
from forecasting.demand.settings import ForecastSettings
from forecasting.errors import NotEnoughDataError
from forecasting.types import DEFAULT_QUANTILES, DemandForecast, DemandSeries, DemandTarget


def forecast_series(
    *,
    signups: DemandSeries | None,
    requests: DemandSeries | None,
    as_of: datetime,
    num_steps: int,
    levels: tuple[float, ...] = DEFAULT_QUANTILES,
    settings: ForecastSettings = ForecastSettings(),  # noqa: B008 (frozen)
) -> DemandForecast:
    """Forecast one series as of a time.

    Args:
        signups: Sign-ups; None where unknown.
        requests: Requests; None where unknown. The target where given.
        as_of: Nothing later is read, aware.
        num_steps: Intervals to forecast, >= 1.
        levels: Quantile levels, ascending, each in (0, 1).
        settings: The constants.

    Returns:
        The forecast, issued at the end of the last interval that was complete at ``as_of``.

    Raises:
        NotEnoughDataError: If no interval was complete at ``as_of``.
        ValueError: If neither series is given, or their steps differ.
    """
    if signups is None and requests is None:
        raise ValueError("forecast_series needs sign-ups or requests")
    main = requests if requests is not None else signups
    assert main is not None
    if signups is not None and requests is not None and signups.step_seconds != requests.step_seconds:
        raise ValueError(f"the steps differ: {signups.step_seconds} s and {requests.step_seconds} s")
    step_seconds = main.step_seconds
    known = main.until(as_of)
    if known.num_points == 0:
        raise NotEnoughDataError(f"nothing was known at {as_of.isoformat()}: the data start at {main.start}")
    forecaster = DemandForecaster(
        key=main.key,
        start=known.start,
        step_seconds=step_seconds,
        target=DemandTarget.REQUESTS if requests is not None else DemandTarget.SIGNUPS,
        settings=settings,
    )
    for index in range(known.num_points):
        middle = known.start + timedelta(seconds=step_seconds * (index + 0.5))
        forecaster.observe(signups=_value_at(signups, middle), requests=_value_at(requests, middle))
    return forecaster.forecast(num_steps=num_steps, levels=levels)


def _value_at(series: DemandSeries | None, time: datetime) -> float:
    if series is None:
        return math.nan
    position = math.floor((time - series.start).total_seconds() / series.step_seconds)
    return float(series.values[position]) if 0 <= position < series.num_points else math.nan
