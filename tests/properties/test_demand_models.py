"""Every demand model passes the conformance suite, on its examples and on drawn series."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.checks import ConformanceError, check_model, check_series
from forecasting.demand import DemandForecaster, ForecastSettings
from forecasting.types import DemandForecast, DemandTarget, SeriesKey

START = datetime(2025, 1, 1, tzinfo=UTC)
COUNTS = st.one_of(
    st.just(math.nan),
    st.floats(0.0, 1e12, allow_nan=False, allow_subnormal=False),
    st.integers(0, 100).map(float),
)


def make_forecaster(step_seconds: float = 300.0, settings: ForecastSettings = ForecastSettings()) -> DemandForecaster:  # noqa: B008
    """Return a fresh forecaster of requests."""
    return DemandForecaster(
        key=SeriesKey(), start=START, step_seconds=step_seconds, target=DemandTarget.REQUESTS, settings=settings
    )


@pytest.mark.parametrize("step_seconds", [10.0, 300.0, 86400.0])
def test_the_forecaster_passes_the_suite_at_every_step(step_seconds: float) -> None:
    """Seconds or days between counts: the laws are the same."""
    check_model(lambda: make_forecaster(step_seconds))


def test_one_season_and_few_horizons_pass_the_suite() -> None:
    """Other settings keep the laws."""
    settings = ForecastSettings(season_seconds=(43200.0,), scored_horizons=(1, 4))
    check_model(lambda: make_forecaster(settings=settings))


@settings(max_examples=25, deadline=None)
@given(values=st.lists(COUNTS, max_size=60))
def test_any_series_keeps_the_laws(values: list[float]) -> None:
    """Whatever is observed, quantiles are finite, ordered, reproducible and blind to the future."""
    check_series(make_forecaster, values)


class CheatingModel(DemandForecaster):
    """Observes twice while it forecasts, which the suite must notice."""

    def forecast(self, *, num_steps: int, levels: tuple[float, ...] = (0.5,)) -> DemandForecast:
        """Forecast, and change the state."""
        result = super().forecast(num_steps=num_steps, levels=levels)
        self.observe(requests=1.0)
        return result


def test_the_suite_notices_a_model_that_breaks_a_law() -> None:
    """A check that cannot fail checks nothing."""
    with pytest.raises(ConformanceError, match="must not change the state"):
        check_series(
            lambda: CheatingModel(key=SeriesKey(), start=START, step_seconds=60.0, target=DemandTarget.REQUESTS),
            [5.0, 6.0, 9.0, 50.0],
        )
