"""Laws of the thermal model that hold for any input: finite, bounded, ordered, and a batch is its parts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.thermal import FleetThermalModel
from forecasting.thermal.bank import saturate, unsaturate

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=64)
READING = st.one_of(ANY_FLOAT, st.floats(-50.0, 150.0), st.sampled_from([0.0, 45.0, 87.0, 1e308, -1e308]))
POWER = st.one_of(ANY_FLOAT, st.floats(0.0, 900.0), st.sampled_from([0.0, 400.0, 1e300]))
SAMPLE = st.tuples(
    st.one_of(st.floats(1e-3, 100.0), st.floats(100.0, 1e7), st.sampled_from([0.0, -5.0])),
    st.lists(READING, min_size=2, max_size=2),
    st.lists(POWER, min_size=2, max_size=2),
    st.lists(st.one_of(st.just(float("nan")), st.floats(0.0, 1.0)), min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=2, max_size=2),
)


def _model(limits: tuple[float, float]) -> FleetThermalModel:
    return FleetThermalModel(
        gpus=("a", "b"), power_limit_watts=np.array(limits), limit_celsius=np.array([87.0, float("nan")])
    )


@given(
    samples=st.lists(SAMPLE, max_size=40),
    limits=st.sampled_from([(700.0, 700.0), (float("nan"), 75.0), (float("inf"), -1.0)]),
    future=st.lists(POWER, min_size=2, max_size=2),
)
@settings(max_examples=120, deadline=None)
def test_no_input_makes_a_forecast_infinite_or_unordered(
    samples: list[tuple[float, list[float], list[float], list[float], list[bool]]],
    limits: tuple[float, float],
    future: list[float],
) -> None:
    """Whatever is read, temperatures are finite and within physical bounds, quantiles ascend, and gains stay >= 0."""
    model = _model(limits)
    now = 1e9
    for elapsed, temperature, power, utilization, throttled in samples:
        now += elapsed
        model.observe(
            now_seconds=now,
            temperature_celsius=np.array(temperature),
            power_watts=np.array(power),
            utilization_ratio=np.array(utilization),
            throttled=np.array(throttled),
        )
    forecast = model.forecast(horizons_seconds=np.array([1.0, 60.0, 600.0, 1800.0]), power_watts=np.array(future))
    assert np.isfinite(forecast.temperature_celsius).all()
    assert (np.abs(forecast.temperature_celsius) < 2000.0).all()
    assert (np.diff(forecast.temperature_celsius, axis=0) >= 0.0).all()
    assert not np.isnan(forecast.seconds_to_slowdown).any()
    assert (forecast.seconds_to_slowdown[1:] >= forecast.seconds_to_slowdown[:-1]).all()
    assert (model.gains >= 0.0).all()
    for view in (model.gains, model.offset_celsius, model.filtered_power_watts, model.guard_celsius):
        assert np.isfinite(view).all()


@given(seed=st.integers(0, 1000), step=st.sampled_from([0.3, 1.0, 5.0, 15.0, 60.0]))
@settings(max_examples=15, deadline=None)
def test_a_batch_equals_the_one_gpu_form(seed: int, step: float) -> None:
    """Views, forecasts and times to slowdown of a GPU do not depend on its neighbours."""
    random = np.random.default_rng(seed)
    names, limits = ("x", "y", "z"), np.array([700.0, 300.0, 75.0])
    slowdown = np.array([70.0, 60.0, 80.0])
    fleet = FleetThermalModel(gpus=names, power_limit_watts=limits, limit_celsius=slowdown)
    single = FleetThermalModel(gpus=names[1:2], power_limit_watts=limits[1:2], limit_celsius=slowdown[1:2])
    power = 0.5 * limits
    for index in range(150):
        power = np.where(random.random(3) < 0.1, random.uniform(0.1, 1.0, 3) * limits, power)
        temperature = np.round(25.0 + 40.0 * power / limits + random.normal(0.0, 1.0, 3))
        temperature = np.where(random.random(3) < 0.05, np.nan, temperature)
        fleet.observe(now_seconds=index * step, temperature_celsius=temperature, power_watts=power)
        single.observe(now_seconds=index * step, temperature_celsius=temperature[1:2], power_watts=power[1:2])
    horizons = np.array([15.0, 60.0, 600.0])
    together = fleet.forecast(horizons_seconds=horizons, power_watts=limits)
    alone = single.forecast(horizons_seconds=horizons, power_watts=limits[1:2])
    np.testing.assert_allclose(fleet.gains[1], single.gains[0], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(together.temperature_celsius[:, 1], alone.temperature_celsius[:, 0], rtol=1e-7)
    np.testing.assert_allclose(together.seconds_to_slowdown[:, 1], alone.seconds_to_slowdown[:, 0], rtol=1e-6)


@given(
    ratio=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=20).map(sorted),
    saturation=st.floats(0.0, 0.9),
)
def test_saturation_rises_and_can_be_undone(ratio: list[float], saturation: float) -> None:
    """More power never heats less, and the inverse gives back the power."""
    values = np.array(ratio)
    effective = saturate(values, saturation)
    assert (np.diff(effective) >= -1e-12).all()
    np.testing.assert_allclose(unsaturate(effective, saturation), values, atol=1e-9)


@given(low=st.floats(0.0, 300.0), more=st.floats(0.0, 400.0), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_more_power_is_never_forecast_cooler(low: float, more: float, seed: int) -> None:
    """The median rises with the power path, so shedding load can never be forecast to heat."""
    random = np.random.default_rng(seed)
    model = FleetThermalModel(gpus=("g",), power_limit_watts=np.array([700.0]), limit_celsius=np.array([87.0]))
    for index in range(60):
        power = random.uniform(70.0, 690.0, 1)
        model.observe(now_seconds=index * 5.0, temperature_celsius=25.0 + 0.06 * power, power_watts=power)
    horizons = np.array([5.0, 60.0, 900.0])
    cool = model.forecast(horizons_seconds=horizons, power_watts=np.array([low]), levels=(0.5,))
    hot = model.forecast(horizons_seconds=horizons, power_watts=np.array([low + more]), levels=(0.5,))
    assert (hot.temperature_celsius >= cool.temperature_celsius - 1e-9).all()
