"""The small parts of the demand model, each by its rule."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from forecasting.capacity import CohortKernel
from forecasting.demand import DemandEvent, ForecastSettings
from forecasting.demand.calibration import ANCHOR_LEVELS, LevelCorrection
from forecasting.demand.cohorts import SignupCohorts, exponential_kernel
from forecasting.demand.events import factor_between, parse_event
from forecasting.demand.gate import IngestGate
from forecasting.demand.levels import Levels, ValueRing
from forecasting.demand.residuals import ResidualHistograms
from forecasting.demand.seasonal import SeasonalShape
from forecasting.demand.stack import OnlineRidge
from forecasting.errors import InputError

SETTINGS = ForecastSettings()


def test_histograms_know_the_quantiles_of_what_was_added() -> None:
    """Ten thousand normal residuals give their quantiles within a bin."""
    rng = np.random.default_rng(1)
    histograms = ResidualHistograms(shape=(1,), num_bins=96, memory=1e6)
    for value in rng.normal(0.0, 1.0, 10_000):
        histograms.add(np.array([value]), np.array([True]))
    assert histograms.quantiles(np.array([0.1, 0.5, 0.9, 0.99]))[:, 0] == pytest.approx(
        [-1.28, 0.0, 1.28, 2.33], abs=0.15
    )


def test_histograms_forget_and_leave_out_what_is_absent() -> None:
    """Old residuals fade, and an absent residual is no zero."""
    histograms = ResidualHistograms(shape=(2,), num_bins=96, memory=20.0)
    for value in (5.0,) * 200 + (-3.0,) * 200:
        histograms.add(np.array([value, value]), np.array([True, False]))
    median = histograms.quantiles(np.array([0.5]))[0]
    assert median[0] == pytest.approx(-3.0, rel=0.2)
    assert median[1] == pytest.approx(0.0)


def test_histograms_never_run_over() -> None:
    """However many residuals fall into one bin, it keeps outweighing another that gets a third as many."""
    histograms = ResidualHistograms(shape=(1,), num_bins=96, memory=8000.0)
    for number in range(40_000):
        histograms.add(np.array([-1.0 if number % 4 == 0 else 1.0]), np.array([True]))
        if number % 500 == 499:
            assert histograms.quantiles(np.array([0.5]))[0, 0] == pytest.approx(1.0, rel=0.2)


def test_histograms_halve_what_is_a_half_life_old() -> None:
    """After one half-life without old residuals they weigh as much as new ones of half their number."""
    histograms = ResidualHistograms(shape=(1,), num_bins=96, memory=1000.0)
    for value, repeat in ((-1.0, 693), (1.0, 693)):
        for _ in range(repeat):
            histograms.add(np.array([value]), np.array([True]))
    low, high = histograms.quantiles(np.array([0.31, 0.36]))[:, 0]
    assert low == pytest.approx(-1.0, rel=0.2)
    assert high == pytest.approx(1.0, rel=0.2)


def test_few_residuals_are_read_further_out() -> None:
    """With n residuals the P90 is the conformal rank, beyond the sample's own P90."""
    few = ResidualHistograms(shape=(1,), num_bins=960, memory=1e9)
    many = ResidualHistograms(shape=(1,), num_bins=960, memory=1e9)
    for repeat in range(100):
        for value in np.linspace(0.0, 1.0, 11):
            many.add(np.array([value]), np.array([True]))
            if repeat == 0:
                few.add(np.array([value]), np.array([True]))
    level = np.array([0.8])
    assert few.quantiles(level)[0, 0] > many.quantiles(level)[0, 0] + 0.02


def test_ridge_starts_at_its_prior_and_learns_the_truth() -> None:
    """Without data it says what the prior says; with data it finds the weights."""
    ridge = OnlineRidge(prior=np.array([1.0, 0.0]), num_horizons=1, memory=1000.0, prior_steps=5.0)
    assert ridge.predict(np.array([[3.0, 7.0]])) == pytest.approx([3.0])
    rng = np.random.default_rng(2)
    for _ in range(800):
        features = rng.normal(size=(1, 2))
        ridge.learn(features, features @ np.array([0.25, -2.0]))
    assert ridge.weights[0] == pytest.approx([0.25, -2.0], abs=0.02)


def test_a_season_is_learned_and_its_level_moves_apart_from_it() -> None:
    """After a few days the shape knows noon from midnight, and a doubled level doubles the forecast."""
    shape = SeasonalShape(season_seconds=86400.0, step_seconds=3600.0, max_slots=24, memory=5.0, fast_gain=0.5)
    for hour in range(24 * 10):
        shape.observe(hour * 3600.0, 10.0 if hour % 24 < 12 else 30.0, gain=max(1 / 24, 1 / (hour + 1)))
    times = np.array([250.0, 258.0]) * 3600.0
    ahead = shape.forecast(times)
    assert 2.0 < ahead[1] / ahead[0] < 4.0
    for hour in range(240, 246):
        shape.observe(hour * 3600.0, 20.0, gain=1 / 24)
    assert shape.forecast(times) == pytest.approx(2.0 * ahead, rel=0.2)


def test_growth_is_seen_and_damped() -> None:
    """A series that doubles each step grows on in the trend, but not for ever."""
    levels = Levels(SETTINGS)
    for step in range(12):
        levels.observe(2.0**step)
    near, far, farther = levels.trend(np.array([1.0, 60.0, 600.0]))
    assert levels.growth > 0.3
    assert near > levels.fast
    assert farther == pytest.approx(far, rel=0.01)


def test_the_ring_answers_outside_itself_with_a_gap() -> None:
    """What was never pushed, or long ago, is missing."""
    ring = ValueRing(3)
    for value in (1.0, 2.0, 3.0, 4.0):
        ring.push(value)
    assert ring.back(np.array([0, 2])) == pytest.approx([4.0, 2.0])
    assert np.isnan(ring.back(np.array([3, -1]))).all()


def test_exponentials_stand_for_the_kernel() -> None:
    """Four exponentials make as many requests as the kernel, about as early."""
    kernel = CohortKernel()
    weights, decay = exponential_kernel(kernel, step_seconds=300.0)
    ages = np.arange(int(kernel.memory_seconds / 300.0), dtype=np.float64)
    curve = np.cumsum(weights @ decay[:, None] ** ages)
    assert curve[-1] == pytest.approx(kernel.requests_per_signup, rel=0.1)
    truth = kernel.requests_per_signup * kernel.used_ratio(np.asarray((ages + 1.0) * 300.0, dtype=np.float64))
    assert np.max(np.abs(curve - truth)) < 0.12 * kernel.requests_per_signup


def test_cohorts_lead_requests_when_sign_ups_multiply() -> None:
    """Sign-ups up tenfold make the expert expect more requests than there are; steady ones do not."""
    steady, rising = (SignupCohorts(step_seconds=300.0, settings=SETTINGS) for _ in range(2))
    for step in range(4000):
        steady.observe(50.0)
        rising.observe(50.0 if step < 3994 else 500.0)
    assert steady.forecast(1000.0) == pytest.approx(1000.0, rel=0.05)
    assert (rising.forecast(1000.0)[2:] > 1050.0).all()
    assert np.isnan(SignupCohorts(step_seconds=300.0, settings=SETTINGS).forecast(10.0)).all()


def test_corrections_bring_coverage_home() -> None:
    """A forecaster whose P90 covers only half gets a higher level to read, up to a bound."""
    correction = LevelCorrection(SETTINGS)
    for index, count in enumerate(np.random.default_rng(4).integers(0, 2, 4000)):
        correction.score(index, float(count))
        if correction.is_due(index):
            correction.remember(index, np.full((ANCHOR_LEVELS.size, 7), 0.5), in_surge=False)
    levels = correction.levels(np.array([0.5, 0.9]), in_surge=False)
    assert (levels[1] > 0.95).all()
    assert correction.levels(np.array([0.9]), in_surge=True) == pytest.approx(0.9)
    assert correction.report().num_scored > 900


def test_the_gate_holds_one_spike_and_lets_two_pass() -> None:
    """A reading far above the record waits for the next one."""
    gate = IngestGate()
    for index in range(50):
        assert gate.admit(index, 100.0, is_corroborated=False) == pytest.approx(100.0)
    assert math.isnan(gate.admit(50, 989_838.0, is_corroborated=False))
    assert gate.is_holding
    assert gate.admit(51, 100.0, is_corroborated=False) == pytest.approx(100.0)
    assert math.isnan(gate.admit(52, 50_000.0, is_corroborated=False))
    assert gate.admit(53, 40_000.0, is_corroborated=False) == pytest.approx(40_000.0)
    assert gate.num_faults == 2


def test_the_gate_trusts_two_signals_at_once() -> None:
    """A jump that the other signal shares is a surge and passes at once."""
    gate = IngestGate()
    for index in range(50):
        gate.admit(index, 100.0, is_corroborated=False)
    assert gate.admit(50, 5000.0, is_corroborated=True) == pytest.approx(5000.0)


def test_the_gate_takes_a_sudden_zero_for_a_fault_until_it_stays() -> None:
    """A steady series that reads nothing once is missing; twice it is nothing."""
    gate = IngestGate()
    for index in range(50):
        gate.admit(index, 100.0, is_corroborated=False)
    assert math.isnan(gate.admit(50, 0.0, is_corroborated=False))
    assert gate.admit(51, 0.0, is_corroborated=False) == pytest.approx(0.0)
    assert math.isnan(gate.admit(52, -5.0, is_corroborated=False))


def test_an_event_counts_by_its_share_of_an_interval() -> None:
    """Half an interval at threefold is twofold over the whole."""
    event = parse_event("2025-03-25T10:00Z,2025-03-25T11:00Z,launch,3")
    assert event == DemandEvent(
        start=datetime(2025, 3, 25, 10, tzinfo=UTC),
        end=datetime(2025, 3, 25, 11, tzinfo=UTC),
        name="launch",
        factor=3.0,
    )
    begin = event.start.timestamp()
    assert factor_between((event,), begin - 600.0, begin + 600.0) == pytest.approx(2.0)
    assert factor_between((event,), begin - 600.0, begin) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", "a,b,c", "2025-01-02,2025-01-01,x,2", "2025-01-01,2025-01-02,x,0", "0,1,x,many"])
def test_a_wrong_event_is_refused(text: str) -> None:
    """The message starts with the option."""
    with pytest.raises(InputError, match="^--event"):
        parse_event(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"season_seconds": ()},
        {"season_seconds": (10.0, 5.0)},
        {"scored_horizons": (2, 3)},
        {"fast_gain": 0.0},
        {"num_bins": 0},
        {"loss_memory": 0.5},
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object]) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        ForecastSettings(**changes)  # type: ignore[arg-type]
