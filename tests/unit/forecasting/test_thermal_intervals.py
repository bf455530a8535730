"""The conformal update of interval widths, on its own: it must move coverage towards its target from both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecasting.thermal.intervals import IntervalCalibration, Snapshot
from forecasting.thermal.settings import ThermalSettings

NUM_GPUS = 40
SETTINGS = replace(ThermalSettings(), calibration_horizons_seconds=(60.0,))


def _snapshot(claimed_deviation: float) -> Snapshot:
    """Return models that forecast 50 celsius for ever and claim the same standard deviation."""
    num_gains = len(SETTINGS.time_constants_seconds)
    return Snapshot(
        parameters=np.vstack([np.full(NUM_GPUS, 50.0), np.zeros((num_gains, NUM_GPUS))]),
        offset=np.zeros(NUM_GPUS),
        rise=np.zeros(NUM_GPUS),
        base_variance=np.full(NUM_GPUS, claimed_deviation**2),
        relative_deviation=np.zeros(NUM_GPUS),
    )


def _run(
    calibration: IntervalCalibration, *, claimed: float, actual: float, first: int, num_samples: int, seed: int = 0
) -> None:
    """Let readings scatter by ``actual`` around what was forecast, once per spacing."""
    random = np.random.default_rng(seed)
    for index in range(first, first + num_samples):
        calibration.observe(
            now_seconds=index * SETTINGS.calibration_spacing_seconds,
            filtered=np.zeros((len(SETTINGS.time_constants_seconds), NUM_GPUS)),
            temperature=50.0 + random.normal(0.0, actual, NUM_GPUS),
            usable=np.ones(NUM_GPUS, dtype=np.bool_),
            snapshot=_snapshot(claimed),
        )


@pytest.mark.parametrize(("actual", "sign"), [(3.0, 1.0), (0.3, -1.0)])
def test_misses_widen_and_hits_narrow(actual: float, sign: float) -> None:
    """Errors three times the claim widen every GPU's interval; errors of a third narrow it."""
    calibration = IntervalCalibration(num_gpus=NUM_GPUS, settings=SETTINGS)
    before = calibration.factor(60.0, slice(None)).copy()
    _run(calibration, claimed=1.0, actual=actual, first=0, num_samples=60)
    change = calibration.factor(60.0, slice(None)) - before
    assert (sign * change > 0.0).all()


@pytest.mark.parametrize("actual", [0.5, 1.0, 3.0])
def test_coverage_ends_at_its_target_whatever_the_model_claims(actual: float) -> None:
    """After enough scored forecasts 90 % intervals hold 87 to 93 % of readings, for a model that claims 1 K."""
    calibration = IntervalCalibration(num_gpus=NUM_GPUS, settings=SETTINGS)
    _run(calibration, claimed=1.0, actual=actual, first=0, num_samples=120)
    scored, missed = calibration.num_scored.sum(), calibration.num_missed.sum()
    _run(calibration, claimed=1.0, actual=actual, first=120, num_samples=120, seed=1)
    coverage = 1.0 - (calibration.num_missed.sum() - missed) / (calibration.num_scored.sum() - scored)
    assert 0.87 <= coverage <= 0.93


def test_one_miss_moves_more_than_one_hit_by_nine_to_one() -> None:
    """The steps balance exactly at one miss in ten: up by 0.9 of the rate, down by 0.1 of it."""
    steps = []
    for error in (100.0, 0.0):
        calibration = IntervalCalibration(num_gpus=NUM_GPUS, settings=SETTINGS)
        start = float(np.log(calibration.factor(60.0, slice(0, 1))[0]))
        _run(calibration, claimed=1.0, actual=0.0, first=0, num_samples=3)
        filtered = np.zeros((len(SETTINGS.time_constants_seconds), NUM_GPUS))
        calibration.observe(
            now_seconds=3 * SETTINGS.calibration_spacing_seconds,
            filtered=filtered,
            temperature=np.full(NUM_GPUS, 50.0 + error),
            usable=np.ones(NUM_GPUS, dtype=np.bool_),
            snapshot=_snapshot(1.0),
        )
        assert calibration.num_scored.sum() == NUM_GPUS
        steps.append(float(np.log(calibration.factor(60.0, slice(0, 1))[0])) - start)
    assert steps[0] / steps[1] == pytest.approx(-9.0)


def test_readings_that_may_not_be_believed_move_nothing() -> None:
    """A GPU whose readings are unusable keeps its factor and is not counted."""
    calibration = IntervalCalibration(num_gpus=NUM_GPUS, settings=SETTINGS)
    before = calibration.factor(60.0, slice(None)).copy()
    for index in range(20):
        calibration.observe(
            now_seconds=index * SETTINGS.calibration_spacing_seconds,
            filtered=np.zeros((len(SETTINGS.time_constants_seconds), NUM_GPUS)),
            temperature=np.full(NUM_GPUS, 500.0),
            usable=np.zeros(NUM_GPUS, dtype=np.bool_),
            snapshot=_snapshot(1.0),
        )
    np.testing.assert_array_equal(calibration.factor(60.0, slice(None)), before)
    assert calibration.num_scored.sum() == 0
