"""GPUs, coolers and sensors that the model was never shown: no worse than persistence, and honest about it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"

KINDS = ("air, 5 s", "air, 60 s", "liquid, 30 s", "fan fails", "jitter and gaps", "power stuck 5 min", "everything")


@pytest.fixture
def stress(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, which is a script beside the project and not part of it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("thermal_stress")


def _run(stress: ModuleType, name: str, *, num_gpus: int, seed: int) -> Any:
    """Return readings of half an hour of a kind."""
    kind = next(kind for kind in stress.KINDS if kind.name == name)
    return stress.simulate(kind, num_gpus=num_gpus, duration_seconds=1800.0, seed=seed)


@pytest.mark.parametrize("name", KINDS)
def test_random_gpus_are_forecast_better_than_by_persistence(stress: ModuleType, name: str) -> None:
    """With known power no kind is worse than its last reading at a minute, and 90 % intervals hold 80 to 95 %."""
    score = stress.score_run(_run(stress, name, num_gpus=24, seed=11))[60.0]
    model, persistence = (np.sqrt(np.mean(errors**2)) for errors in (score.model_celsius, score.persistence_celsius))
    assert model < persistence
    assert 0.80 <= score.coverage.mean() <= 0.95


def test_the_same_seed_gives_the_same_gpus(stress: ModuleType) -> None:
    """Everything of a run comes from its seed, so that a failure can be seen again."""
    once, again, other = (_run(stress, "everything", num_gpus=2, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(once.temperature_celsius, again.temperature_celsius)
    assert not np.array_equal(once.power_limit_watts, other.power_limit_watts)


def test_sensors_have_the_faults_of_their_kind(stress: ModuleType) -> None:
    """Whole degrees, steps of 25 W, absent readings, and uneven distances are there where the kind says so."""
    run = _run(stress, "everything", num_gpus=8, seed=5)
    read = run.temperature_celsius[np.isfinite(run.temperature_celsius)]
    watts = run.power_watts[np.isfinite(run.power_watts)]
    np.testing.assert_array_equal(read, np.round(read))
    np.testing.assert_array_equal(watts % 25.0, 0.0)
    assert 0.01 < np.isnan(run.temperature_celsius).mean() < 0.12
    assert np.diff(run.seconds).std() > 1.0
    assert np.isfinite(run.later_power_watts).all()


def test_a_stuck_sensor_repeats_itself_and_the_load_goes_on(stress: ModuleType) -> None:
    """Five minutes of one power in the middle, under a true mean that is another."""
    run = _run(stress, "power stuck 5 min", num_gpus=8, seed=5)
    stuck = np.abs(run.seconds - 900.0) < 150.0
    assert (run.power_watts[:, stuck] == run.power_watts[:, stuck][:, :1]).all()
    assert (run.later_power_watts[:, stuck] != run.power_watts[:, stuck]).mean() > 0.9
