"""The fleet model: linear form, batch equality, time to slowdown."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.errors import InputError
from forecasting.thermal import FleetThermalModel
from forecasting.types import FloatArray


def _model(num_gpus: int, first: int = 0) -> FleetThermalModel:
    return FleetThermalModel(
        gpus=tuple(f"GPU-{index}" for index in range(first, first + num_gpus)),
        power_limit_watts=np.full(num_gpus, 700.0),
        limit_celsius=np.full(num_gpus, 87.0),
    )


def _history(num_gpus: int, num_samples: int) -> tuple[FloatArray, FloatArray]:
    """Powers and temperatures of GPUs with two time constants, shapes ``(num_samples, num_gpus)``."""
    random = np.random.default_rng(3)
    power = np.repeat(random.uniform(80.0, 690.0, (num_samples // 12 + 1, num_gpus)), 12, axis=0)[:num_samples]
    fast, slow = power[0].copy(), power[0].copy()
    temperature = np.empty_like(power)
    for index, watts in enumerate(power):
        fast += (watts - fast) * -np.expm1(-5.0 / 4.0)
        slow += (watts - slow) * -np.expm1(-5.0 / 100.0)
        temperature[index] = np.round(25.0 + np.arange(num_gpus) + 0.035 * fast + 0.025 * slow)
    return power, temperature


def test_batch_equals_its_parts() -> None:
    """A GPU has the same forecast alone as inside a fleet."""
    power, temperature = _history(5, 240)
    fleet, alone = _model(5), _model(1, first=3)
    for index in range(240):
        now = 5.0 * index
        fleet.observe(now_seconds=now, temperature_celsius=temperature[index], power_watts=power[index])
        alone.observe(now_seconds=now, temperature_celsius=temperature[index, 3:4], power_watts=power[index, 3:4])
    horizons = np.array([30.0, 60.0, 600.0])
    together = fleet.forecast(horizons_seconds=horizons, power_watts=np.full(5, 650.0))
    single = alone.forecast(horizons_seconds=horizons, power_watts=np.full(1, 650.0))
    np.testing.assert_allclose(together.temperature_celsius[:, 3], single.temperature_celsius[:, 0], rtol=1e-9)
    np.testing.assert_allclose(together.seconds_to_slowdown[:, 3], single.seconds_to_slowdown[:, 0])


def test_learned_plateau_matches_the_true_resistance() -> None:
    """After varied load the plateau at full power is predicted within three degrees, though the truth is linear."""
    power, temperature = _history(3, 480)
    model = _model(3)
    for index in range(480):
        model.observe(now_seconds=5.0 * index, temperature_celsius=temperature[index], power_watts=power[index])
    plateau = model.ambient_celsius + model.thermal_resistance_celsius_per_watt * 700.0
    np.testing.assert_allclose(plateau, 25.0 + np.arange(3) + 0.06 * 700.0, atol=3.0)


def test_views_are_the_linear_form_of_the_forecast() -> None:
    """The linear form is exact now and for a plateau at the limit, and close to the forecast in between."""
    power, temperature = _history(2, 100)
    model = _model(2)
    for index in range(100):
        model.observe(now_seconds=5.0 * index, temperature_celsius=temperature[index], power_watts=power[index])
    resistance = model.gains.sum(axis=1)
    now = model.offset_celsius + (model.gains * model.filtered_power_watts).sum(axis=1)
    soon = model.forecast(horizons_seconds=np.array([1e-6]), power_watts=np.full(2, 500.0))
    np.testing.assert_allclose(soon.temperature_celsius[1, :, 0], now, atol=1e-3)
    at_limit = model.ambient_celsius + model.thermal_resistance_celsius_per_watt * 700.0
    np.testing.assert_allclose(model.offset_celsius + resistance * 700.0, at_limit, atol=1.0)
    keep = np.exp(-30.0 / model.time_constants_seconds)
    relaxed = model.filtered_power_watts * keep + (1.0 - keep) * 500.0
    expected = model.offset_celsius + (model.gains * relaxed).sum(axis=1)
    forecast = model.forecast(horizons_seconds=np.array([30.0]), power_watts=np.full(2, 500.0))
    np.testing.assert_allclose(forecast.temperature_celsius[1, :, 0], expected, atol=2.0)


def test_upper_temperature_crosses_first() -> None:
    """The time quantile of a low level is never later than that of a high level, and a hot GPU is there already."""
    model = _model(2)
    model.observe(now_seconds=0.0, temperature_celsius=np.array([90.0, 80.0]), power_watts=np.array([300.0, 300.0]))
    seconds = model.forecast(
        horizons_seconds=np.array([60.0, 600.0]), power_watts=np.full(2, 690.0)
    ).seconds_to_slowdown
    assert seconds[1, 0] == 0.0
    assert (np.diff(seconds, axis=0) >= 0.0).all()
    assert 0.0 < seconds[1, 1] < 60.0


def test_wrong_shapes_are_named() -> None:
    """A vector of the wrong length is refused with its name."""
    with pytest.raises(InputError, match="temperature_celsius"):
        _model(2).observe(now_seconds=0.0, temperature_celsius=np.zeros(3), power_watts=np.zeros(2))


def _fallen_load(later_watts: float) -> float:
    """Return the median seconds to a limit of 57 after a minute whose load fell before its reading of 56."""
    model = FleetThermalModel(gpus=("g",), power_limit_watts=np.array([700.0]), limit_celsius=np.array([57.0]))
    for index in range(30):
        power = 690.0 if index % 10 < 5 else 400.0
        model.observe(
            now_seconds=60.0 * index, temperature_celsius=np.array([25.0 + 0.06 * power]), power_watts=np.array([power])
        )
    model.observe(now_seconds=1800.0, temperature_celsius=np.array([66.0]), power_watts=np.array([690.0]))
    model.observe(now_seconds=1860.0, temperature_celsius=np.array([56.0]), power_watts=np.array([620.0]))
    forecast = model.forecast(
        horizons_seconds=np.array([60.0, 600.0]), power_watts=np.array([later_watts]), levels=(0.5,)
    )
    return float(forecast.seconds_to_slowdown[0, 0])


def test_a_load_that_fell_between_two_scrapes_is_no_crossing() -> None:
    """The mean power of the scrape says hot, the reading says that it is over: nothing is predicted at low power."""
    assert _fallen_load(400.0) == np.inf


def test_a_reading_below_the_limit_does_not_hide_a_crossing_that_lasts() -> None:
    """The same reading under power that stays high is a crossing at once."""
    assert _fallen_load(690.0) < 60.0
