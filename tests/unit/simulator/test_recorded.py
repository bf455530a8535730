"""Recorded users in a scenario's place: what is scaled, what is cut, what is refused."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import UsageError
from controller.simulator.recorded import FLOOR_RATIO, with_recording
from controller.simulator.scenario import FactKind, Scenario, parse_scenario
from forecasting.types import DemandSeries, SeriesKey
from tests.simulator_samples import small_scenario

START = datetime(2019, 11, 8, 6, tzinfo=UTC)
STEP_SECONDS = 120.0
SCENARIO = small_scenario()
NORMAL_PER_HOUR = 2000.0
"""The first rate of the sample's wave; its run is ten intervals of the recordings below."""


def _series(values: list[float], *, start: datetime = START, step_seconds: float = STEP_SECONDS) -> DemandSeries:
    return DemandSeries(
        key=SeriesKey(), start=start, step_seconds=step_seconds, values=np.asarray(values, dtype=np.float64)
    )


def _recorded(signups: DemandSeries, requests: DemandSeries | None = None, start: datetime | None = None) -> Scenario:
    return with_recording(SCENARIO, signups=signups, requests=requests, start=start, source="wave.csv")


def test_the_median_of_the_recording_becomes_the_normal_rate():
    """A count equal to the median is the scenario's first rate, one of thrice the median thrice that."""
    wave = _recorded(_series([50, 100, 100, 100, 300, 100, 100, 100, 100, 100])).users.wave
    assert [point.signups_per_hour for point in wave[:5]] == [1000.0, 2000.0, 2000.0, 2000.0, 6000.0]


def test_the_median_is_that_of_the_whole_recording():
    """What lies before and after the replayed part counts for the normal level, and is not replayed."""
    signups = _series([10.0] * 21 + [40.0] * 10)
    wave = _recorded(signups, start=START + timedelta(seconds=21 * STEP_SECONDS)).users.wave
    assert len(wave) == 10
    assert {point.signups_per_hour for point in wave} == {4 * NORMAL_PER_HOUR}


def test_a_count_stands_in_the_middle_of_its_interval():
    """A count is of its whole interval, so the corner of the curve lies in its middle."""
    wave = _recorded(_series([100.0] * 10)).users.wave
    assert [point.at_seconds for point in wave] == [(index + 0.5) * STEP_SECONDS for index in range(10)]


def test_gaps_leave_no_corner_and_are_counted():
    """A gap is no zero: it has no corner, does not move the median, and the first fact counts it."""
    scenario = _recorded(_series([100, np.nan, 100, 200, np.nan, 100, 100, 100, 100, 100]))
    assert len(scenario.users.wave) == 8
    assert scenario.users.wave[0].signups_per_hour == NORMAL_PER_HOUR
    assert "2 of 10 intervals of sign-ups missing" in scenario.facts[0].what


def test_a_recording_that_ends_early_says_how_much_is_missing():
    """Intervals after the end of the recording are missing ones."""
    assert "6 of 10 intervals of sign-ups missing" in _recorded(_series([100.0] * 4)).facts[0].what


def test_nothing_falls_below_the_floor():
    """Zero has no logarithm: what is nearly nothing becomes the floor's share of the normal rate."""
    wave = _recorded(_series([100, 0, 1, 3, 100, 100, 100, 100, 100, 100])).users.wave
    floor = FLOOR_RATIO * NORMAL_PER_HOUR
    assert [point.signups_per_hour for point in wave[1:4]] == [floor, floor, pytest.approx(0.03 * NORMAL_PER_HOUR)]


def test_the_run_begins_where_it_is_told_to():
    """The start moves to the chosen time, in UTC whatever its zone; without one it is the recording's."""
    chosen = START + timedelta(seconds=4 * STEP_SECONDS)
    elsewhere = chosen.astimezone(timezone(timedelta(hours=5, minutes=30)))
    signups = _series([float(count) for count in range(100, 120)])
    assert _recorded(signups).start == START
    moved = _recorded(signups, start=elsewhere)
    assert moved.start == chosen
    assert moved.start.utcoffset() == timedelta(0)
    assert moved.users.wave == _recorded(signups, start=chosen).users.wave
    # The fifth count, 104, is the first; the median of 100 to 119 is 109.5.
    assert moved.users.wave[0].signups_per_hour == pytest.approx(104 / 109.5 * NORMAL_PER_HOUR)


def test_without_recorded_load_new_users_ask_as_the_scenario_says():
    """Sign-ups alone leave what users ask for, and the daily curve, as they were."""
    users = _recorded(_series([100.0] * 10)).users
    assert users.requests_per_user_hour == SCENARIO.users.requests_per_user_hour
    assert users.baseline_ratio == ()


def test_recorded_load_silences_new_users():
    """Recorded load holds what new users asked for: it becomes the baseline, and they add nothing of their own."""
    load = _series([500, 1000, 1000, 1000, 4000, 1000, 1000, 1000, 1000, 1000])
    scenario = _recorded(_series([100.0] * 10), load)
    assert set(scenario.users.requests_per_user_hour) == {0.0}
    assert len(scenario.users.requests_per_user_hour) == len(SCENARIO.users.requests_per_user_hour)
    assert [point.ratio for point in scenario.users.baseline_ratio[:5]] == [0.5, 1.0, 1.0, 1.0, 4.0]
    assert "Sign-ups and load as recorded" in scenario.facts[0].what


def test_load_has_a_step_of_its_own():
    """Sign-ups and load need not be recorded at the same distance."""
    scenario = _recorded(_series([100.0] * 10), _series([7.0] * 4, step_seconds=300.0))
    assert [point.at_seconds for point in scenario.users.baseline_ratio] == [150.0, 450.0, 750.0, 1050.0]


def test_what_is_not_of_the_users_stays():
    """Fleet, prices, duration and normal load are the scenario's; only title and facts say what was put in."""
    scenario = _recorded(_series([100.0] * 10))
    for field in ("name", "regions", "tiers", "gpu", "work", "bounds", "duration_seconds", "step_seconds"):
        assert getattr(scenario, field) == getattr(SCENARIO, field)
    assert scenario.users.baseline_requests_per_second == SCENARIO.users.baseline_requests_per_second
    assert scenario.title == "small with recorded users of wave.csv"
    assert (scenario.facts[0].kind, scenario.facts[0].source) == (FactKind.MEASURED, "wave.csv")
    assert scenario.facts[1:] == SCENARIO.facts


@pytest.mark.parametrize("offset_steps", [-30, 10, 30, 9])
def test_a_start_outside_the_recording_is_refused(offset_steps):
    """Fewer than two known values in the run is an error that says what the recording covers."""
    start = START + timedelta(seconds=offset_steps * STEP_SECONDS)
    with pytest.raises(UsageError, match=r"wave\.csv: fewer than 2 known values from .* 2019-11-08T06:00Z") as caught:
        _recorded(_series([100.0] * 10), start=start)
    assert "2019-11-08T06:20Z" in str(caught.value)


@pytest.mark.parametrize("values", [[0.0] * 10, [0.0] * 6 + [50.0] * 4])
def test_a_recording_without_a_normal_level_is_refused(values):
    """A median of zero gives no scale, for sign-ups and for load alike."""
    with pytest.raises(UsageError, match=r"wave\.csv: the median count is 0"):
        _recorded(_series(values))
    with pytest.raises(UsageError, match=r"wave\.csv: the median count is 0"):
        _recorded(_series([100.0] * 10), _series(values))


# Counts are nothing, or at least a millionth: a median that is smaller than any count can be has no meaning.
counts = st.lists(st.just(0.0) | st.floats(1e-6, 1e9) | st.just(np.nan), min_size=2, max_size=40)


@given(counts, counts | st.none(), st.floats(1e-3, 1e3))
def test_any_recording_is_refused_or_makes_a_valid_scenario(signups, load, factor):
    """What is not refused passes every check of a scenario file, and its unit does not matter: only its shape does."""
    requests = None if load is None else _series(load)
    try:
        scenario = _recorded(_series(signups), requests)
        scaled = _recorded(_series([count * factor for count in signups]), requests)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    text = yaml.safe_dump(msgspec.to_builtins(scenario))
    assert parse_scenario(text, place="recorded.yaml") == scenario
    rates = [point.signups_per_hour for point in scenario.users.wave]
    assert min(rates) >= FLOOR_RATIO * NORMAL_PER_HOUR
    assert [point.signups_per_hour for point in scaled.users.wave] == pytest.approx(rates)
