"""How the benchmark counts crossings that were called in time, on traces made by hand."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def threshold(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The scoring of the benchmark, which is a script beside the project and not part of it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("thermal_threshold")


def _score(threshold: ModuleType, above: list[int], predicted: list[float], *, step: float, several: int) -> Any:
    """Return the score of one trace whose forecasts are the same at every level."""
    trace = threshold.ThresholdTrace(
        step_seconds=step,
        above=np.array(above, dtype=np.bool_),
        predicted_seconds=np.tile(predicted, (len(threshold.LEVELS), 1)),
    )
    total = threshold.ThresholdScore()
    threshold.score_trace(trace, total, level=0, num_per_reading=several)
    return total


def test_two_agreeing_readings_flag_nothing_and_three_do(threshold: ModuleType) -> None:
    """With one forecast per reading, three readings in a row must predict the crossing before it."""
    never = np.inf
    two = _score(threshold, [0, 0, 0, 0, 1], [never, never, 120.0, 60.0, never], step=60.0, several=1)
    three = _score(threshold, [0, 0, 0, 0, 1], [never, 180.0, 120.0, 60.0, never], step=60.0, several=1)
    assert (two.crossings, two.possible, two.flagged) == (1, 1, 0)
    assert (three.crossings, three.flagged, three.leads_seconds) == (1, 1, [60.0])
    assert three.errors_seconds == [0.0]


def test_forecasts_between_readings_come_nearer_to_the_crossing(threshold: ModuleType) -> None:
    """Six forecasts from one reading a minute before the crossing flag it from the third on, each without error."""
    total = _score(threshold, [0, 0, 1], [np.inf, 60.0, np.inf], step=60.0, several=6)
    assert (total.crossings, total.possible, total.flagged) == (1, 1, 1)
    assert total.leads_seconds == [40.0]
    assert total.errors_seconds == [0.0] * 4


def test_a_forecast_from_above_the_limit_does_not_count(threshold: ModuleType) -> None:
    """What was predicted while the GPU was above its limit neither flags a later crossing nor is a false alarm."""
    total = _score(threshold, [1, 1, 1, 0, 1], [0.0, 0.0, 0.0, np.inf, np.inf], step=60.0, several=1)
    assert (total.crossings, total.flagged, total.false_alarms) == (1, 0, 0)


def test_alarms_are_false_only_where_nothing_follows_in_ten_minutes(threshold: ModuleType) -> None:
    """Quiet readings start after a minute, end ten minutes before a crossing, and are counted once each."""
    above, predicted = [0] * 20 + [1], [np.inf] * 3 + [500.0] * 4 + [np.inf] * 14
    total = _score(threshold, above, predicted, step=60.0, several=1)
    assert (total.quiet, total.false_alarms) == (9, 2)


def test_a_far_crossing_of_one_reading_is_no_alarm(threshold: ModuleType) -> None:
    """Forecasts between readings do not stand in for readings while there is time to wait for them."""
    above, predicted = [0] * 20, [np.inf] * 3 + [500.0] + [np.inf] * 16
    total = _score(threshold, above, predicted, step=60.0, several=6)
    assert (total.quiet, total.false_alarms) == (18, 0)
