"""Scales, ticks and times."""

from datetime import UTC, datetime

import numpy as np
import pytest

from controller.reporting.scales import TimeScale, ValueScale, count_scale, linear_scale


def test_linear_scale_maps_bottom_and_top_to_the_edges() -> None:
    """The lowest value lies at the bottom edge and the highest at the top edge."""
    scale = ValueScale(low=10.0, high=20.0, height=100.0)
    assert scale.position(np.asarray([10.0, 15.0, 20.0])).tolist() == [100.0, 50.0, 0.0]


def test_values_outside_are_kept_at_the_edge_and_gaps_stay_gaps() -> None:
    """What lies beyond the scale is drawn at its edge; NaN stays NaN."""
    positions = ValueScale(low=0.0, high=1.0, height=10.0).position(np.asarray([-5.0, 7.0, np.nan]))
    assert positions[:2].tolist() == [10.0, 0.0]
    assert np.isnan(positions[2])


def test_log_scale_gives_equal_room_to_equal_factors() -> None:
    """On a logarithmic scale ten times more is the same distance everywhere."""
    scale = ValueScale(low=1.0, high=1000.0, height=300.0, logarithmic=True)
    assert [round(scale.at(value), 6) for value in (1.0, 10.0, 100.0, 1000.0)] == [300.0, 200.0, 100.0, 0.0]


@pytest.mark.parametrize(("values", "is_log"), [([1.0, 29.0], False), ([1.0, 31.0], True), ([0.0, 0.0], False)])
def test_counts_turn_logarithmic_only_over_a_wide_range(values: list[float], is_log: bool) -> None:
    """A count's scale is logarithmic from the given ratio on, and never without positive values."""
    assert count_scale(values, height=100.0, log_from_ratio=30.0).logarithmic is is_log


def test_ticks_are_round_and_inside() -> None:
    """Ticks are multiples of 1, 2, 2.5 or 5 times a power of ten, inside the scale."""
    assert ValueScale(low=58.3, high=97.1, height=1.0).ticks(4) == (60.0, 70.0, 80.0, 90.0)
    assert ValueScale(low=0.0, high=1.1, height=1.0).ticks(2) == (0.0, 1.0)
    assert ValueScale(low=5e3, high=2e6, height=1.0, logarithmic=True).ticks() == (1e4, 1e5, 1e6)


def test_a_constant_series_gets_a_scale_around_it() -> None:
    """A series without spread lies inside its scale, not on an edge."""
    scale = linear_scale([70.0, 70.0], height=100.0)
    assert scale.low < 70.0 < scale.high


def test_time_ticks_are_round_and_the_first_of_a_day_carries_the_date() -> None:
    """Times are labelled at round hours; a label that begins a day names the day."""
    scale = TimeScale(start=datetime(2025, 3, 31, 21, 30, tzinfo=UTC), duration_seconds=4 * 3600.0)
    labels = [label for _, label in scale.ticks(num_wanted=4)]
    assert labels == ["31 Mar 22:00", "23:00", "1 Apr 00:00", "01:00"]


def test_a_year_has_few_time_ticks() -> None:
    """A long run has a bounded number of labels."""
    scale = TimeScale(start=datetime(2025, 1, 1, tzinfo=UTC), duration_seconds=300 * 86400.0)
    assert len(scale.ticks()) <= 12


def test_a_time_that_is_no_number_is_the_start() -> None:
    """A sample without a time neither fails nor moves."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    scale = TimeScale(start=start, duration_seconds=60.0)
    assert scale.time(float("nan")) == start
    assert scale.ratio(float("nan")) == 0.0
