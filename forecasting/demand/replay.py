"""Forecasts from whole series: runs the incremental forecaster over what was known at each time.

The command line and scripts call it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from forecasting.demand.events import DemandEvent
from forecasting.demand.forecaster import DemandForecaster
from forecasting.demand.settings import ForecastSettings
from forecasting.errors import NotEnoughDataError
from forecasting.types import DEFAULT_QUANTILES, DemandForecast, DemandSeries, DemandTarget, FloatArray

_BLOCK_POINTS = 504
"""The history of a forecast starts at a multiple of this many points, so that many forecasts can share one pass and a
forecast does not depend on which others were asked for."""

_MIN_HISTORY_POINTS = 2016
_MAX_HISTORY_POINTS = 20_160
_HISTORY_SECONDS = 14.0 * 86400.0
_MAX_STALE_POINTS = 10_080
"""Intervals after the last observation that are bridged as gaps; beyond, the data say nothing about the present."""


def forecast_series(
    *,
    signups: DemandSeries | None,
    requests: DemandSeries | None,
    as_of: datetime,
    num_steps: int,
    levels: tuple[float, ...] = DEFAULT_QUANTILES,
    settings: ForecastSettings = ForecastSettings(),  # noqa: B008 (frozen)
    events: tuple[DemandEvent, ...] = (),
) -> DemandForecast:
    """Forecast one series as of a time.

    Args:
        signups: Sign-ups; None where unknown.
        requests: Requests; None where unknown. The target where given.
        as_of: Nothing later is read, aware.
        num_steps: Intervals to forecast, >= 1.
        levels: Quantile levels, ascending, each in (0, 1).
        settings: The constants.
        events: Known events.

    Returns:
        The forecast, issued at the end of the last interval that was complete at ``as_of``.

    Raises:
        NotEnoughDataError: If nothing was known at ``as_of``, or nothing recent.
        ValueError: If neither series is given, or their steps differ.
    """
    forecasts = forecast_times(
        signups=signups,
        requests=requests,
        as_of=(as_of,),
        num_steps=num_steps,
        levels=levels,
        settings=settings,
        events=events,
    )
    return forecasts[0]


def forecast_times(
    *,
    signups: DemandSeries | None,
    requests: DemandSeries | None,
    as_of: Sequence[datetime],
    num_steps: int,
    levels: tuple[float, ...] = DEFAULT_QUANTILES,
    settings: ForecastSettings = ForecastSettings(),  # noqa: B008 (frozen)
    events: tuple[DemandEvent, ...] = (),
) -> list[DemandForecast]:
    """Forecast one series as of several times, each as if it were the only one.

    Args:
        signups: Sign-ups; None where unknown.
        requests: Requests; None where unknown. The target where given.
        as_of: Times, aware, in any order.
        num_steps: Intervals to forecast, >= 1.
        levels: Quantile levels, ascending, each in (0, 1).
        settings: The constants.
        events: Known events.

    Returns:
        One forecast per time, in the order of ``as_of``.

    Raises:
        NotEnoughDataError: If nothing was known at one of the times, or nothing recent.
        ValueError: If neither series is given, or their steps differ.
    """
    pair = _Pair(signups=signups, requests=requests)
    wanted = sorted((pair.known_at(time), position) for position, time in enumerate(as_of))
    results: dict[int, DemandForecast] = {}
    forecaster: DemandForecaster | None = None
    first, done = -1, 0
    for known, position in wanted:
        start = _history_start(known, pair.step_seconds)
        if forecaster is None or start != first:
            first = done = start
            forecaster = DemandForecaster(
                key=pair.main.key,
                start=pair.main.start_of(start),
                step_seconds=pair.step_seconds,
                target=pair.target,
                settings=settings,
                events=events,
            )
        for signup_count, request_count in pair.counts(done, known):
            forecaster.observe(signups=signup_count, requests=request_count)
        done = known
        results[position] = pair.with_age(forecaster.forecast(num_steps=num_steps, levels=levels), known)
    return [results[position] for position in range(len(as_of))]


def aligned_signups(signups: DemandSeries | None, main: DemandSeries) -> FloatArray | None:
    """Return sign-ups on the grid of the target, shape of ``main.values``; None where there are none.

    Raises:
        ValueError: If the steps differ.
    """
    if signups is None:
        return None
    pair = _Pair(signups=signups, requests=main)
    return np.array([signup_count for signup_count, _ in pair.counts(0, main.num_points)])


def _history_start(known: int, step_seconds: float) -> int:
    points = min(max(_MIN_HISTORY_POINTS, math.ceil(_HISTORY_SECONDS / step_seconds)), _MAX_HISTORY_POINTS)
    return max(0, (known // _BLOCK_POINTS - math.ceil(points / _BLOCK_POINTS)) * _BLOCK_POINTS)


class _Pair:
    """Sign-ups and requests of one key on the grid of the target."""

    def __init__(self, *, signups: DemandSeries | None, requests: DemandSeries | None) -> None:
        main = requests if requests is not None else signups
        if main is None:
            raise ValueError("forecast_series needs sign-ups or requests")
        if signups is not None and requests is not None and signups.step_seconds != requests.step_seconds:
            raise ValueError(f"the steps differ: {signups.step_seconds} s and {requests.step_seconds} s")
        self.main = main
        self.target = DemandTarget.REQUESTS if requests is not None else DemandTarget.SIGNUPS
        self.step_seconds = main.step_seconds
        self._signups = signups if requests is not None else None
        # A sign-up interval counts once it is wholly over, so a misaligned grid is shifted towards the past.
        self._shift = (
            0
            if self._signups is None
            else math.floor((main.start - self._signups.start).total_seconds() / self.step_seconds + 1e-6)
        )

    def known_at(self, time: datetime) -> int:
        """Return how many intervals are over at ``time``; those after the data are gaps."""
        elapsed = (time - self.main.start).total_seconds()
        num = math.floor((elapsed + 1e-6) / self.step_seconds)
        if num <= 0:
            raise NotEnoughDataError(
                f"nothing was known at {time.isoformat()}: the data start at {self.main.start.isoformat()};"
                " choose a later --as-of"
            )
        if num - self.main.num_points > _MAX_STALE_POINTS:
            raise NotEnoughDataError(
                f"the data end at {self.main.end.isoformat()}, too long before {time.isoformat()};"
                " add newer data or choose an earlier --as-of"
            )
        return num

    def counts(self, first: int, last: int) -> Iterator[tuple[float, float]]:
        """Yield sign-ups and requests of the intervals ``first`` to ``last - 1``."""
        for index in range(first, last):
            main = _at(self.main, index)
            if self.target is DemandTarget.SIGNUPS:
                yield main, math.nan
            else:
                yield (math.nan if self._signups is None else _at(self._signups, index + self._shift)), main

    def with_age(self, forecast: DemandForecast, known: int) -> DemandForecast:
        """Add a warning where the newest observation is old."""
        stale = known - self.main.num_points
        if stale <= 0:
            return forecast
        age = timedelta(seconds=stale * self.step_seconds)
        warning = f"the data end {age} before the forecast, at {self.main.end.isoformat().replace('+00:00', 'Z')}"
        return replace(forecast, warnings=(*forecast.warnings, warning))


def _at(series: DemandSeries, index: int) -> float:
    return float(series.values[index]) if 0 <= index < series.num_points else math.nan
