"""Paths from arrays."""

import numpy as np

from controller.reporting.plotting import band_path, extremes, line_path, means, spread, stairs


def test_a_line_breaks_at_a_gap() -> None:
    """A missing value ends the stroke; it is never bridged."""
    path = line_path(np.asarray([0.0, 0.5, 0.75, 1.0]), np.asarray([1.0, np.nan, 3.0, 4.0]))
    assert path == "M0.0 1.0M750.0 3.0L1000.0 4.0"


def test_a_single_sample_is_a_point() -> None:
    """One sample still shows: a stroke of no length with a round end."""
    assert line_path(np.asarray([0.5]), np.asarray([2.0])) == "M500.0 2.0L500.0 2.0"
    assert (
        band_path(np.asarray([0.5]), np.asarray([2.0]), np.asarray([1.0]))
        == "M499.0 1.0L500.0 1.0L500.0 2.0L499.0 2.0Z"
    )


def test_nothing_is_drawn_of_nothing() -> None:
    """Empty and all-missing series have no path."""
    assert line_path(np.zeros(0), np.zeros(0)) == ""
    assert band_path(np.asarray([0.1]), np.asarray([np.nan]), np.asarray([1.0])) == ""


def test_thinning_keeps_the_peak() -> None:
    """A single hot sample among thousands survives thinning, at its own time."""
    values = np.zeros(10_000)
    values[1234] = 99.0
    ratios, kept = extremes(np.linspace(0.0, 1.0, 10_000), values, num_buckets=100)
    assert kept.size <= 200
    assert kept.max() == 99.0
    assert ratios[int(kept.argmax())] == np.linspace(0.0, 1.0, 10_000)[1234]


def test_thinned_areas_keep_their_volume() -> None:
    """The mean of a stacked area's buckets is the mean of its samples."""
    values = np.arange(1000.0)[None, :]
    _, kept = means(np.linspace(0.0, 1.0, 1000), values, num_buckets=50)
    assert kept.shape == (1, 50)
    assert kept.mean() == values.mean()


def test_stairs_hold_each_value_back_to_the_sample_before() -> None:
    """A sample stands for the time since the one before it."""
    places, heights = stairs(np.asarray([0.5, 1.0]), np.asarray([3.0, 4.0]))
    assert places.tolist() == [0.0, 0.5, 0.5, 1.0]
    assert heights.tolist() == [3.0, 3.0, 4.0, 4.0]


def test_labels_are_moved_apart_in_order() -> None:
    """Labels keep their order and a gap, and stay inside."""
    placed = spread([50.0, 52.0, 99.0, 0.0], 10.0, 100.0)
    assert placed == (50.0, 60.0, 99.0, 0.0)
    assert spread([99.0, 100.0], 10.0, 100.0) == (90.0, 100.0)
