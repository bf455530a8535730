"""Failure handling: what a sample that cannot be trusted does, and what it must not do."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.thermal import FleetThermalModel
from forecasting.thermal.health import SampleState
from forecasting.types import ThermalConfidence

NAN = float("nan")


def _model(limit: float = 87.0) -> FleetThermalModel:
    return FleetThermalModel(gpus=("g",), power_limit_watts=np.array([700.0]), limit_celsius=np.array([limit]))


def _feed(
    model: FleetThermalModel,
    now: float,
    celsius: float,
    watts: float,
    *,
    busy: float | None = None,
    throttled: bool = False,
) -> SampleState:
    model.observe(
        now_seconds=now,
        temperature_celsius=np.array([celsius]),
        power_watts=np.array([watts]),
        utilization_ratio=None if busy is None else np.array([busy]),
        throttled=np.array([throttled]),
    )
    return SampleState(model.sample_state[0])


def _learned() -> FleetThermalModel:
    model = _model()
    random = np.random.default_rng(1)
    watts = 400.0
    for index in range(240):
        watts = float(random.uniform(80.0, 690.0)) if index % 12 == 0 else watts
        _feed(model, index * 5.0, 25.0 + 0.06 * watts, watts + float(random.normal(0.0, 2.0)))
    return model


@pytest.mark.parametrize(
    ("celsius", "watts", "state"),
    [
        (NAN, 400.0, SampleState.MISSING),
        (50.0, NAN, SampleState.MISSING),
        (50.0, 1000.0, SampleState.IMPOSSIBLE),
        (50.0, -1.0, SampleState.IMPOSSIBLE),
        (130.0, 400.0, SampleState.IMPOSSIBLE),
        (-5.0, 400.0, SampleState.IMPOSSIBLE),
        (50.0, 400.0, SampleState.GOOD),
    ],
)
def test_samples_are_told_apart(celsius: float, watts: float, state: SampleState) -> None:
    """Missing and impossible readings are named as such, and a plausible one is good."""
    model = _model()
    _feed(model, 0.0, 48.0, 390.0)
    assert _feed(model, 5.0, celsius, watts) is state


def test_five_impossible_readings_raise_the_sensor_alert() -> None:
    """The alert comes with the fifth impossible reading in a row and goes with the first good one."""
    model = _model()
    for index in range(4):
        _feed(model, float(index), 50.0, 5000.0)
    assert not model.sensor_alert[0]
    _feed(model, 4.0, 50.0, 5000.0)
    assert model.sensor_alert[0]
    _feed(model, 5.0, 50.0, 400.0)
    assert not model.sensor_alert[0]


def test_identical_power_while_busy_is_frozen_and_teaches_nothing() -> None:
    """A frozen exporter is unknown: the offset stays and intervals widen, instead of a cool GPU being believed."""
    model = _learned()
    for index in range(4):
        _feed(model, 1200.0 + 5.0 * index, 40.0, 311.27, busy=1.0)
    assert _feed(model, 1220.0, 40.0, 311.27, busy=1.0) is SampleState.FROZEN
    before = model.ambient_celsius[0]
    narrow = model.forecast(horizons_seconds=np.array([60.0]), power_watts=np.array([311.27])).temperature_celsius
    for index in range(60):
        assert _feed(model, 1225.0 + 5.0 * index, 20.0, 311.27, busy=1.0) is SampleState.FROZEN
    wide = model.forecast(horizons_seconds=np.array([60.0]), power_watts=np.array([311.27])).temperature_celsius
    assert model.ambient_celsius[0] == before
    assert np.ptp(wide) > np.ptp(narrow)


def test_an_idle_gpu_may_repeat_itself() -> None:
    """Identical power without load is an idle GPU, not a frozen exporter."""
    model = _model()
    states = {_feed(model, 5.0 * index, 30.0, 70.25, busy=0.0) for index in range(50)}
    assert states == {SampleState.GOOD}


def test_whole_watts_may_repeat_for_minutes() -> None:
    """A sensor of whole watts repeats itself honestly; only a very long run is frozen."""
    model = _model()
    states = [_feed(model, 60.0 * index, 60.0, 500.0, busy=1.0) for index in range(40)]
    assert states[5] is SampleState.GOOD
    assert states[-1] is SampleState.FROZEN


def test_throttled_samples_freeze_the_gains_and_count_as_slowdown_now() -> None:
    """While the hardware holds power down, gains are not learned and the time to slowdown is zero."""
    model = _learned()
    before = model.plateau_gains_celsius.copy()
    for index in range(40):
        watts = 300.0 if index % 2 else 500.0
        _feed(model, 1200.0 + 5.0 * index, 86.0, watts, throttled=True)
    np.testing.assert_array_equal(model.plateau_gains_celsius, before)
    forecast = model.forecast(horizons_seconds=np.array([60.0]), power_watts=np.array([300.0]))
    assert (forecast.seconds_to_slowdown == 0.0).all()


def test_a_long_gap_keeps_gains_and_forgets_heat() -> None:
    """After a gap of an hour gains are kept and the next reading is taken as a steady state."""
    model = _learned()
    before = model.plateau_gains_celsius.copy()
    _feed(model, 1195.0 + 3600.0, 30.0, 75.0)
    np.testing.assert_array_equal(model.plateau_gains_celsius, before)
    np.testing.assert_allclose(model.filtered_power_watts[0], 75.0)
    forecast = model.forecast(horizons_seconds=np.array([1.0]), power_watts=np.array([75.0]))
    assert forecast.temperature_celsius[1, 0, 0] == pytest.approx(30.0, abs=0.5)


def test_stale_readings_widen_quantiles_but_not_the_time_to_slowdown() -> None:
    """A gap alone widens the fan; it does not bring the slowdown nearer."""
    model = _model(limit=75.0)
    for index in range(60):
        _feed(model, 5.0 * index, 66.0, 600.0 + index % 2)
    horizons, watts = np.array([60.0, 600.0]), np.array([600.0])
    before = model.forecast(horizons_seconds=horizons, power_watts=watts)
    _feed(model, 300.0 + 200.0, NAN, NAN)
    after = model.forecast(horizons_seconds=horizons, power_watts=watts)
    assert np.ptp(after.temperature_celsius[:, 0, 0]) > 1.5 * np.ptp(before.temperature_celsius[:, 0, 0])
    assert after.seconds_to_slowdown[0, 0] >= 0.9 * before.seconds_to_slowdown[0, 0]


def test_constant_load_teaches_the_offset_only() -> None:
    """Without variation confidence stays none, with the wider guard; variation makes it fitted."""
    model = _model()
    for index in range(200):
        _feed(model, 5.0 * index, 55.0, 300.0 + 0.3 * (index % 3))
    assert model.confidence[0] is ThermalConfidence.NONE
    assert model.guard_celsius[0] == 7.0
    assert _learned().confidence[0] is ThermalConfidence.FITTED
    assert _learned().guard_celsius[0] == 3.0


def test_a_gpu_with_an_unknown_limit_may_draw_what_it_likes() -> None:
    """Without a power limit only absurd power is impossible."""
    model = FleetThermalModel(gpus=("g",), power_limit_watts=np.array([NAN]), limit_celsius=np.array([NAN]))
    assert _feed(model, 0.0, 60.0, 1200.0) is SampleState.GOOD
    assert _feed(model, 1.0, 60.0, 50_000.0) is SampleState.IMPOSSIBLE
