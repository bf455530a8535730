"""Headroom, sustainable power, drift, siblings, priors, the simple rule and the margin form."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.errors import InputError
from forecasting.thermal import FleetThermalModel
from forecasting.thermal.bank import saturate
from forecasting.thermal.derived import (
    ResistanceBaseline,
    common_mode_celsius,
    headroom_at_limit_celsius,
    hot_outlier,
    inlet_temperature_celsius,
    plateau_celsius,
    sustainable_power_watts,
)
from forecasting.thermal.margin import least_margin, limits_of, margin_quantiles, temperature_from_margin
from forecasting.thermal.priors import GainRecord, PriorSource, choose_prior, median_gains, share_gains
from forecasting.thermal.rules import ConsecutiveAlarm, CrossingAlarm, MaximumOverTime
from forecasting.types import FloatArray, ThermalConfidence

NUM_GPUS = 6


def _fleet(resistance: FloatArray, ambient: FloatArray, *, seconds: float = 1200.0) -> FleetThermalModel:
    """Return a fleet that has seen varied load on GPUs of these parameters."""
    num = resistance.size
    model = FleetThermalModel(
        gpus=tuple(f"g{index}" for index in range(num)),
        power_limit_watts=np.full(num, 700.0),
        limit_celsius=np.full(num, 87.0),
    )
    random = np.random.default_rng(5)
    rise, watts = 400.0 * resistance, np.full(num, 400.0)
    for index in range(int(seconds / 5.0)):
        if index % 10 == 0:
            watts = random.uniform(80.0, 690.0, num)
        power = watts + random.normal(0.0, 2.0, num)
        rise = rise + (resistance * power - rise) * 0.5
        model.observe(now_seconds=5.0 * index, temperature_celsius=np.round(ambient + rise), power_watts=power)
    return model


def test_sustainable_power_keeps_exactly_the_guard() -> None:
    """Held for ever, the sustainable power reaches the limit less the guard, unless the power limit is cooler."""
    model = _fleet(np.array([0.06, 0.12]), np.array([25.0, 25.0]))
    watts = sustainable_power_watts(model)
    rise = model.plateau_gains_celsius.sum(axis=1) * saturate(watts / 700.0, model.settings.saturation)
    assert watts[0] == pytest.approx(700.0)
    assert watts[1] < 600.0
    assert (model.ambient_celsius + rise)[1] == pytest.approx(87.0 - 3.0, abs=1e-6)
    assert headroom_at_limit_celsius(model)[1] < 0.0 < headroom_at_limit_celsius(model)[0]
    np.testing.assert_allclose(headroom_at_limit_celsius(model), 87.0 - plateau_celsius(model))


def test_inlet_and_outlier_separate_one_hot_gpu_from_the_room() -> None:
    """One GPU 20 K above its siblings is an outlier and does not move the inlet estimate; a warm room has none."""
    ambient = np.full(NUM_GPUS, 22.0)
    ambient[1] += 20.0
    model = _fleet(np.full(NUM_GPUS, 0.06), ambient)
    groups = np.zeros(NUM_GPUS, dtype=np.intp)
    assert hot_outlier(model, groups).tolist() == [False, True, False, False, False, False]
    np.testing.assert_allclose(inlet_temperature_celsius(model, groups), 22.0, atol=4.0)
    warm = _fleet(np.full(NUM_GPUS, 0.06), np.full(NUM_GPUS, 35.0))
    assert not hot_outlier(warm, groups).any()


def test_common_mode_is_what_the_rack_shares() -> None:
    """All GPUs of a rack up by 5 K is 5 K of common mode; one of them up by 30 K is none."""
    groups = np.array([0, 0, 0, 1, 1, 1])
    before = np.full(6, 20.0)
    after = np.array([25.0, 25.0, 26.0, 20.0, 50.0, 20.0])
    assert common_mode_celsius(after, before, groups).tolist() == [5.0, 5.0, 5.0, 0.0, 0.0, 0.0]


def test_drift_shows_against_the_past_and_against_siblings() -> None:
    """A resistance that rose by a half since its baseline is significant; its siblings' is not."""
    healthy, groups = np.full(NUM_GPUS, 0.06), np.zeros(NUM_GPUS, dtype=np.intp)
    baseline = ResistanceBaseline(num_gpus=NUM_GPUS)
    baseline.observe(_fleet(healthy, np.full(NUM_GPUS, 22.0)), elapsed_seconds=60.0)
    dusty = healthy.copy()
    dusty[2] *= 1.5
    drift = baseline.drift(_fleet(dusty, np.full(NUM_GPUS, 22.0)), groups)
    assert drift.significant.tolist() == [False, False, True, False, False, False]
    assert drift.against_past_ratio[2] > 0.3
    assert drift.against_siblings_ratio[2] > 0.3
    assert abs(drift.against_siblings_ratio[3]) < 0.1


def test_priors_are_taken_best_first() -> None:
    """Own history beats the slot, the slot beats the fleet, the fleet beats the model, and nothing is the class."""
    own = GainRecord(uuid="u1", slot="3", node="n1", gpu_model="M", plateau_gains_celsius=np.array([1.0, 1.0]))
    slot = GainRecord(uuid="u2", slot="4", node="n1", gpu_model="M", plateau_gains_celsius=np.array([2.0, 2.0]))
    fleet = GainRecord(uuid="u3", slot="5", node="n2", gpu_model="M", plateau_gains_celsius=np.array([3.0, 3.0]))
    records = (own, slot, fleet)

    def wanted(uuid: str, slot: str, node: str, model: str = "M") -> PriorSource:
        record = GainRecord(uuid=uuid, slot=slot, node=node, gpu_model=model, plateau_gains_celsius=np.zeros(2))
        return choose_prior(record, records)[0]

    assert wanted("u1", "3", "n1") is PriorSource.OWN
    assert wanted("new", "4", "n1") is PriorSource.SLOT
    assert wanted("new", "5", "n9") is PriorSource.FLEET
    assert wanted("u1", "9", "n9") is PriorSource.MODEL
    assert wanted("new", "9", "n9", "other") is PriorSource.CLASS


def test_a_moved_gpu_does_not_bring_its_old_slot_along() -> None:
    """Gains belong to a GPU in a slot: the same UUID elsewhere is not its own history."""
    record = GainRecord(uuid="u", slot="0", node="n", gpu_model="", plateau_gains_celsius=np.ones(2))
    moved = GainRecord(uuid="u", slot="5", node="n", gpu_model="", plateau_gains_celsius=np.zeros(2))
    assert choose_prior(moved, (record,)) == (PriorSource.CLASS, None)


def test_siblings_teach_a_gpu_that_never_varied() -> None:
    """Shared gains move an idle GPU towards its siblings' resistance without moving its present temperature."""
    learned = _fleet(np.full(3, 0.09), np.full(3, 25.0))
    idle = FleetThermalModel(gpus=("new",), power_limit_watts=np.array([700.0]), limit_celsius=np.array([87.0]))
    for index in range(20):
        idle.observe(now_seconds=5.0 * index, temperature_celsius=np.array([31.0]), power_watts=np.array([70.0]))
    before = plateau_celsius(idle)[0]
    assert share_gains((learned, idle)) == 1
    assert idle.confidence[0] is ThermalConfidence.FLEET_PRIOR
    assert plateau_celsius(idle)[0] > before + 8.0
    now = idle.forecast(horizons_seconds=np.array([1.0]), power_watts=np.array([70.0]), levels=(0.5,))
    assert now.temperature_celsius[0, 0, 0] == pytest.approx(31.0, abs=0.3)


def test_median_gains_keep_the_median_total() -> None:
    """A typical set of gains has the median plateau, however the bank split it."""
    gains = np.array([[20.0, 0.0], [0.0, 30.0], [25.0, 25.0]])
    assert median_gains(gains).sum() == pytest.approx(30.0)


def test_impossible_priors_are_refused() -> None:
    """A negative gain never becomes a prior."""
    model = _fleet(np.array([0.06]), np.array([25.0]), seconds=10.0)
    with pytest.raises(InputError, match="prior"):
        model.adopt_prior(chosen=np.array([True]), plateau_gains_celsius=np.full((1, 8), -1.0))


def test_maximum_over_time_forgets_after_its_window() -> None:
    """A peak counts for fifteen minutes and not much longer; missing readings are not zeros."""
    rule = MaximumOverTime(num_gpus=1)
    assert np.isnan(rule.maximum_celsius[0])
    rule.observe(now_seconds=0.0, temperature_celsius=np.array([83.0]))
    for minute in range(1, 15):
        rule.observe(now_seconds=60.0 * minute, temperature_celsius=np.array([60.0 if minute % 2 else np.nan]))
        assert rule.maximum_celsius[0] == 83.0
    assert rule.breached(np.array([87.0]))[0]
    for minute in range(15, 18):
        rule.observe(now_seconds=60.0 * minute, temperature_celsius=np.array([60.0]))
    assert rule.maximum_celsius[0] == 60.0
    assert not rule.breached(np.array([87.0]))[0]


def test_alarms_need_three_in_a_row() -> None:
    """Two predictions and a miss start again; the third in a row flags."""
    alarm = ConsecutiveAlarm(num_gpus=1)
    flags = [bool(alarm.observe(np.array([value]))[0]) for value in (True, True, False, True, True, True, True)]
    assert flags == [False, False, False, False, False, True, True]


def _flags(expected_seconds: list[float], *, num_per_reading: int) -> list[bool]:
    """Return what an alarm says to forecasts at a reading a minute; infinite is not predicted."""
    alarm = CrossingAlarm(num_gpus=1)
    return [
        bool(
            alarm.observe(
                predicted=np.array([np.isfinite(expected)]),
                expected_seconds=np.array([expected]),
                new_reading=index % num_per_reading == 0,
                period_seconds=60.0,
            )[0]
        )
        for index, expected in enumerate(expected_seconds)
    ]


def test_a_far_crossing_waits_for_three_readings() -> None:
    """Three forecasts from one reading raise no alarm while two more readings come a period before the crossing."""
    far = [500.0 - 30.0 * index for index in range(7)]
    assert _flags(far, num_per_reading=2) == [False, False, False, False, True, True, True]


def test_a_near_crossing_does_not_wait() -> None:
    """Where no period is left after the awaited readings, three agreeing forecasts of one reading are enough."""
    assert _flags([180.0] * 4, num_per_reading=4) == [False, False, True, True]
    assert _flags([181.0] * 4, num_per_reading=4) == [False] * 4


def test_a_reading_without_a_crossing_starts_the_count_of_readings_again() -> None:
    """Readings agree only in a row: one that sees no crossing in between takes the earlier ones back."""
    seconds = [500.0, 500.0, np.inf, 500.0, 500.0, 500.0]
    assert _flags(seconds, num_per_reading=1) == [False, False, False, False, False, True]


def test_the_margin_form_is_the_temperature_form_turned_round() -> None:
    """Observed as reference minus margin, the low margin quantile is limit minus the high temperature quantile."""
    assert temperature_from_margin(np.array([37.0]), np.array([87.0])).tolist() == [50.0]
    model = _fleet(np.array([0.06]), np.array([25.0]))
    forecast = model.forecast(horizons_seconds=np.array([60.0, 600.0]), power_watts=np.array([690.0]))
    margin = margin_quantiles(forecast, np.array([87.0]))
    np.testing.assert_allclose(margin[0], 87.0 - forecast.temperature_celsius[-1])
    assert (np.diff(margin, axis=0) >= 0.0).all()
    assert least_margin(np.array([5.0, np.nan]), np.array([7.0, 2.0])).tolist() == [5.0, 2.0]


@pytest.mark.parametrize(
    ("name", "celsius"), [("NVIDIA H100 80GB HBM3", 87.0), ("NVIDIA A100-SXM4-80GB", 85.0), ("GeForce GTX 1080", None)]
)
def test_model_limits_are_found_by_name(name: str, celsius: float | None) -> None:
    """A known product has the temperature at which software capping starts; an unknown one has none."""
    limits = limits_of(name)
    assert (limits.maximum_operating_celsius if limits else None) == celsius
