"""Scenarios: from load to watts to degrees, each under its own name."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.errors import InputError
from forecasting.thermal import FleetThermalModel
from forecasting.thermal.scenario import demand_scenarios, forecast_scenarios, full_power_scenario

HORIZONS = np.array([60.0, 600.0])


def _model() -> FleetThermalModel:
    model = FleetThermalModel(gpus=("a", "b"), power_limit_watts=np.full(2, 700.0), limit_celsius=np.full(2, 60.0))
    for index in range(5):
        model.observe(now_seconds=5.0 * index, temperature_celsius=np.full(2, 30.0), power_watts=np.full(2, 100.0))
    return model


def test_load_becomes_watts_between_idle_and_busy() -> None:
    """Half the load is half the way from idle to busy power, and what exceeds capacity heats nothing."""
    scenarios = demand_scenarios(
        busy_ratio={"mean": np.array([0.5, 0.5]), "p90": np.array([0.5, 3.0])},
        idle_watts=np.array([100.0, 80.0]),
        busy_watts=np.array([500.0, 680.0]),
    )
    assert [scenario.name for scenario in scenarios] == ["mean", "p90"]
    assert scenarios[0].power_watts.tolist() == [[300.0, 300.0], [380.0, 380.0]]
    assert scenarios[1].power_watts.tolist() == [[300.0, 500.0], [380.0, 680.0]]


def test_a_hotter_scenario_is_forecast_hotter_and_crosses_sooner() -> None:
    """The P90 of the demand is never cooler than its mean, and full power bounds both."""
    model = _model()
    mean_and_high = demand_scenarios(
        busy_ratio={"mean": np.array([0.4, 0.6]), "p90": np.array([0.6, 1.0])},
        idle_watts=np.full(2, 100.0),
        busy_watts=np.full(2, 650.0),
    )
    scenarios = (*mean_and_high, full_power_scenario(model, num_horizons=2))
    found = forecast_scenarios(model, horizons_seconds=HORIZONS, scenarios=scenarios)
    mean, high, full = (found[name] for name in ("mean", "p90", "full"))
    assert (high.temperature_celsius[1] >= mean.temperature_celsius[1]).all()
    assert (full.temperature_celsius[1] >= high.temperature_celsius[1]).all()
    assert (full.seconds_to_slowdown <= mean.seconds_to_slowdown).all()


def test_scenarios_that_mean_nothing_are_refused() -> None:
    """An unknown load is no load of zero, and two scenarios need two names."""
    with pytest.raises(InputError, match="p90"):
        demand_scenarios(busy_ratio={"p90": np.array([np.nan])}, idle_watts=np.full(2, 1.0), busy_watts=np.full(2, 2.0))
    full = full_power_scenario(_model(), num_horizons=2)
    with pytest.raises(InputError, match="same name"):
        forecast_scenarios(_model(), horizons_seconds=HORIZONS, scenarios=(full, full))
