"""The incremental forecaster keeps its promises on simple series."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from forecasting.demand import DemandForecaster, forecast_series
from forecasting.errors import NotEnoughDataError
from forecasting.types import DemandSeries, DemandTarget, SeriesKey, SurgePhase

START = datetime(2025, 3, 25, tzinfo=UTC)


def make_forecaster(step_seconds: float = 300.0) -> DemandForecaster:
    """Return a forecaster of requests without history."""
    return DemandForecaster(key=SeriesKey(), start=START, step_seconds=step_seconds, target=DemandTarget.REQUESTS)


def test_without_history_the_forecast_says_that_it_says_nothing() -> None:
    """Cold start answers with zeros and a warning, never with an error."""
    forecast = make_forecaster().forecast(num_steps=3)
    assert not forecast.quantiles.any()
    assert "nothing was observed" in forecast.warnings[0]


def test_one_point_gives_a_wide_interval_around_it() -> None:
    """With one observation the P99 allows for the growth that recorded fleets have shown."""
    forecaster = make_forecaster()
    forecaster.observe(requests=100.0)
    forecast = forecaster.forecast(num_steps=2, levels=(0.05, 0.5, 0.99))
    assert forecast.quantiles[1] == pytest.approx(100.0)
    assert (forecast.quantiles[2] >= 185.0).all()
    assert (forecast.quantiles[0] < 80.0).all()


def test_a_constant_series_is_forecast_exactly() -> None:
    """Every quantile of a constant series meets it."""
    forecaster = make_forecaster()
    for _ in range(200):
        forecaster.observe(requests=40.0)
    forecast = forecaster.forecast(num_steps=6)
    assert forecast.quantiles == pytest.approx(40.0, rel=1e-3)
    assert forecast.mean == pytest.approx(40.0, rel=1e-3)


def test_a_daily_wave_is_seen_coming() -> None:
    """After a week of a daily wave the median an hour ahead is nearer than the last value."""
    forecaster = make_forecaster()
    wave = [100.0 + 60.0 * math.sin(2.0 * math.pi * i / 288.0) for i in range(288 * 8)]
    for value in wave[: 288 * 7]:
        forecaster.observe(requests=value)
    forecast = forecaster.forecast(num_steps=12, levels=(0.5,))
    truth = np.asarray(wave[288 * 7 : 288 * 7 + 12])
    assert abs(forecast.quantiles[0, -1] - truth[-1]) < 0.5 * abs(wave[288 * 7 - 1] - truth[-1])


def test_forecasting_does_not_change_the_state() -> None:
    """Two forecasts in a row are equal, and so is what follows."""
    one, two = make_forecaster(), make_forecaster()
    for index in range(100):
        for forecaster in (one, two):
            forecaster.observe(requests=float(index % 7))
        one.forecast(num_steps=5)
    first, second = one.forecast(num_steps=5), two.forecast(num_steps=5)
    assert np.array_equal(first.quantiles, second.quantiles)


def test_missing_is_not_zero() -> None:
    """A gap leaves the level where it was and is reported."""
    forecaster = make_forecaster()
    for _ in range(100):
        forecaster.observe(requests=50.0)
    for _ in range(5):
        forecaster.observe(requests=math.nan)
    forecast = forecaster.forecast(num_steps=1, levels=(0.5,))
    assert forecast.quantiles[0, 0] == pytest.approx(50.0, rel=0.01)
    assert any("5 of 105 intervals are missing" in warning for warning in forecast.warnings)


def test_a_jump_in_sign_ups_is_a_surge() -> None:
    """Sign-ups that multiply while requests stand still raise the surge state, with a doubling time."""
    rng = np.random.default_rng(1)
    forecaster = make_forecaster()
    for value in rng.poisson(70.0, 400):
        forecaster.observe(signups=float(value), requests=1000.0)
    assert forecaster.surge.phase is SurgePhase.CALM
    for value in (140.0, 280.0, 560.0, 1100.0):
        forecaster.observe(signups=value, requests=1000.0)
    assert forecaster.surge.phase in {SurgePhase.ONSET, SurgePhase.SURGE}
    assert forecaster.surge.doubling_seconds is not None


def test_the_floor_of_a_surge_makes_way_for_evidence() -> None:
    """Sign-ups surge and requests do not: the P90 of requests starts wide and narrows with each forecast scored."""
    rng = np.random.default_rng(1)
    forecaster = make_forecaster()
    for value in rng.poisson(70.0, 600):
        forecaster.observe(signups=float(value), requests=float(rng.normal(1000.0, 20.0)))
    upper = []
    for value in rng.poisson(700.0, 160):
        forecaster.observe(signups=float(value), requests=float(rng.normal(1000.0, 20.0)))
        assert len(upper) < 2 or forecaster.surge.phase is not SurgePhase.CALM
        upper.append(float(forecaster.forecast(num_steps=6, levels=(0.9,)).quantiles[0, -1]))
    assert upper[4] > 1400.0
    assert upper[4] > upper[60] > upper[100]
    assert upper[-1] < 1100.0


def test_a_series_forecast_reads_nothing_after_as_of() -> None:
    """Replacing the future by noise leaves the bytes of the forecast as they were."""
    rng = np.random.default_rng(2)
    values = rng.poisson(30.0, 500).astype(np.float64)
    noisy = values.copy()
    noisy[400:] = rng.exponential(1e6, 100)
    as_of = START + timedelta(seconds=300.0 * 400)
    results = [
        forecast_series(
            signups=None,
            requests=DemandSeries(key=SeriesKey(), start=START, step_seconds=300.0, values=series),
            as_of=as_of,
            num_steps=12,
        )
        for series in (values, noisy)
    ]
    assert results[0].quantiles.tobytes() == results[1].quantiles.tobytes()
    assert results[0].issued_at == as_of


def test_a_series_that_starts_after_as_of_has_too_little() -> None:
    """Nothing known is an error with its own type."""
    series = DemandSeries(key=SeriesKey(), start=START, step_seconds=300.0, values=np.ones(10))
    with pytest.raises(NotEnoughDataError):
        forecast_series(signups=None, requests=series, as_of=START, num_steps=1)
