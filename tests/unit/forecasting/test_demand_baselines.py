"""Every baseline of the backtest answers, keeps the laws of the conformance suite and says what it lacks."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from forecasting.backtest.baselines import ALL_BASELINES, make_baseline
from forecasting.checks import check_baseline
from forecasting.errors import ForecastingError

NEEDS_STATSFORECAST = {"dynamo-arima", "auto-ets", "auto-theta", "auto-arima", "mstl"}
CAN_RUN_ALL = importlib.util.find_spec("statsforecast") is not None


def test_every_baseline_of_the_backtest_is_known_by_name() -> None:
    """What shipped autoscalers do is there to be compared with."""
    assert {"last-value", "seasonal-naive", "hpa", "predictkube-like", "phpa-linear", "phpa-holt-winters"} <= set(
        ALL_BASELINES
    )
    assert {"crane", "dynamo-constant", "dynamo-kalman", "dynamo-arima", "uc-log"} <= set(ALL_BASELINES)


@pytest.mark.parametrize("name", ALL_BASELINES)
def test_every_baseline_answers_on_a_wave_or_names_the_extra(name: str) -> None:
    """After nine days of a daily wave a forecast three hours ahead is a plausible count."""
    rng = np.random.default_rng(3)
    hours = np.arange(24 * 9)
    history = rng.poisson(200.0 * (1.3 + np.sin(2.0 * np.pi * hours / 24.0))).astype(np.float64)
    baseline = make_baseline(name, season_steps=24, step_seconds=3600.0)
    if name in NEEDS_STATSFORECAST and not CAN_RUN_ALL:
        with pytest.raises(ForecastingError, match="pip install"):
            baseline.forecast(history, 3)
        return
    forecast = baseline.forecast(history, 3)
    assert 0.25 * history.mean() < forecast.point < 4.0 * history.mean()
    if forecast.quantiles is not None:
        assert list(forecast.quantiles) == sorted(forecast.quantiles)


@pytest.mark.parametrize("name", [name for name in ALL_BASELINES if CAN_RUN_ALL or name not in NEEDS_STATSFORECAST])
def test_every_baseline_keeps_the_laws(name: str) -> None:
    """Short, constant, empty, huge and tiny histories give finite counts, twice the same."""
    check_baseline(lambda: make_baseline(name, season_steps=24, step_seconds=3600.0))
