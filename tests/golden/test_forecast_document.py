"""The JSON of a forecast is a contract, byte by byte."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forecasting.documents import forecast_json, forecast_text
from forecasting.types import (
    Calibration,
    DemandForecast,
    DemandTarget,
    ModelInfo,
    SeriesKey,
    SurgePhase,
    SurgeState,
)

FOLDER = Path(__file__).parent

FORECAST = DemandForecast(
    key=SeriesKey(region="eu-west", tier="free"),
    target=DemandTarget.REQUESTS,
    issued_at=datetime(2025, 3, 31, 12, tzinfo=UTC),
    step_seconds=300.0,
    levels=(0.05, 0.5, 0.95),
    mean=np.array([120.5, 1234.5678]),
    quantiles=np.array([[80.0, 90.0], [118.0, 1000.0], [200.25, 3000.0]]),
    surge=SurgeState(
        phase=SurgePhase.SURGE,
        probability=0.97,
        since=datetime(2025, 3, 31, 11, 40, tzinfo=UTC),
        growth_per_hour=1.8,
        doubling_seconds=1386.0,
    ),
    model=ModelInfo(name="quantile-pool", fitted_seconds=86400.0, num_points=288),
    calibration=Calibration(nominal=0.9, observed=0.91, num_scored=200),
    gpus_needed=np.array([[1.0, 1.0], [2.0, 13.0], [3.0, 38.0]]),
    reasons=("last value 118 per step",),
    warnings=("2 of 288 intervals are missing",),
)


def test_the_json_is_the_golden_one() -> None:
    """Names, order, number format and time format stay."""
    golden = (FOLDER / "demand_forecast.json").read_text(encoding="utf-8")
    assert forecast_json(FORECAST) + "\n" == golden


def test_the_text_is_the_golden_one() -> None:
    """The table for people stays."""
    golden = (FOLDER / "demand_forecast.txt").read_text(encoding="utf-8")
    assert forecast_text(FORECAST) + "\n" == golden
