"""Bounds, pauses, and how long a wait will be."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.outlook import Load, Pace, outlook
from inference.engine.pace import SpeedMeter, StepCurve, allowance_of, curve_through, pause_seconds
from inference.engine.ports import WorkBound

ratios = st.floats(0.0, 1.0)
CURVE = StepCurve(base_seconds=0.002, row_seconds=0.001)
UNBOUND = WorkBound()


@given(ratios, ratios, st.integers(2, 256), st.integers(0, 256))
def test_work_never_exceeds_the_bound(occupancy: float, duty: float, num_rows: int, num_busy: int) -> None:
    """Busy rows times duty stay within the occupancy, steps within the duty, and zero of either stops all."""
    bound = WorkBound(occupancy_ratio=occupancy, duty_ratio=duty)
    allowed = allowance_of(bound, num_rows=num_rows, num_busy=num_busy)
    assert 0.0 <= allowed.duty_ratio <= duty
    assert num_busy * allowed.duty_ratio <= occupancy * num_rows * (1 + 1e-9)
    assert 0 <= allowed.num_rows <= num_rows
    if occupancy == 0.0 or duty == 0.0:
        assert (allowed.num_rows, allowed.duty_ratio) == (0, 0.0)
    if num_busy <= occupancy * num_rows:
        assert allowed.duty_ratio == duty or occupancy == 0.0


def test_free_slots_go_before_the_steps_slow_down() -> None:
    """Half of the slots, half of them busy: no new image, and no step is slower; with all busy, half of the time."""
    half = WorkBound(occupancy_ratio=0.5)
    assert allowance_of(half, num_rows=16, num_busy=8).num_rows == 8
    assert allowance_of(half, num_rows=16, num_busy=8).duty_ratio == 1.0
    assert allowance_of(half, num_rows=16, num_busy=16).duty_ratio == 0.5


def test_a_share_of_one_slot_still_draws() -> None:
    """A bound below two slots lets a guided image start and runs it slowly enough."""
    allowed = allowance_of(WorkBound(occupancy_ratio=0.01), num_rows=16, num_busy=2)
    assert allowed.num_rows == 2
    assert allowed.duty_ratio == pytest.approx(0.08)


@given(st.floats(1e-4, 1.0), st.floats(0.01, 1.0))
def test_pauses_keep_the_duty(step_seconds: float, duty: float) -> None:
    """A step and its pause together give the duty; at zero the pause has no end."""
    assert step_seconds / (step_seconds + pause_seconds(step_seconds, duty)) == pytest.approx(duty)
    assert pause_seconds(step_seconds, 0.0) == math.inf


def test_speed_follows_a_clock_that_slows_down() -> None:
    """A minute at half the speed halves the capacity, at whatever length of step; one freak moves it by a third."""
    for scale in (0.1, 1.0, 10.0):
        meter = SpeedMeter()
        meter.start(curve_through(0.003 * scale, 0.018 * scale, 16))
        assert meter.capacity(16) == pytest.approx(16 / (0.018 * scale))
        meter.add_step(16, 1_000.0)
        assert meter.capacity(16) > 0.67 * 16 / (0.018 * scale)
        for _ in range(int(60.0 / (0.036 * scale))):
            meter.add_step(16, 0.036 * scale)
        assert meter.capacity(16) == pytest.approx(16 / (0.036 * scale), rel=0.01)


def test_speed_is_the_mean_of_seconds_not_of_the_last_steps() -> None:
    """A tenth of a second at ten times the length, as when another thread has the processor, is no new speed."""
    meter = SpeedMeter()
    meter.start(curve_through(0.001, 0.002, 16))
    for _ in range(5):
        meter.add_step(16, 0.02)
    assert meter.capacity(16) == pytest.approx(16 / 0.002, rel=0.05)


def test_throughput_counts_time_with_work_only() -> None:
    """Tokens per second are those of stretches with work."""
    meter = SpeedMeter()
    assert meter.tokens_per_second == 0.0
    for _ in range(100):
        meter.add_tokens(16, 0.02)
    assert meter.tokens_per_second == pytest.approx(800.0)


def _load(number: int, steps: int, tier: str = "free", rows: int = 1) -> Load:
    return Load(key=(float(number), number, 0), tier=tier, num_rows=rows, num_steps=steps)


def _pace(num_rows: int = 2, bound: WorkBound = UNBOUND, **reserved: int) -> Pace:
    return Pace(curve=CURVE, bound=bound, num_rows=num_rows, reserved_by_tier=reserved)


def test_outlook_by_hand() -> None:
    """Two rows, three images: the third starts when the shorter of the first two ends."""
    found = outlook([_load(0, 10)], [_load(1, 4), _load(2, 4)], _pace())
    two_rows = CURVE.seconds(2)
    assert found[(1.0, 1, 0)].starts_after_seconds == 0.0
    assert found[(2.0, 2, 0)].starts_after_seconds == pytest.approx(4 * two_rows)
    assert found[(2.0, 2, 0)].ends_after_seconds == pytest.approx(8 * two_rows)


def test_nothing_ends_under_a_bound_of_zero() -> None:
    """While the guard allows nothing, every wait is infinite, and finite again at half of the time twice as long."""
    load = _load(1, 4)
    assert (
        outlook([_load(0, 4)], [load], _pace(1 + 1, WorkBound(duty_ratio=0.0)))[load.key].starts_after_seconds
        == math.inf
    )
    whole = outlook([_load(0, 4), _load(2, 8)], [load], _pace())[load.key].starts_after_seconds
    half = outlook([_load(0, 4), _load(2, 8)], [load], _pace(bound=WorkBound(duty_ratio=0.5)))[load.key]
    assert half.starts_after_seconds == pytest.approx(2 * whole)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(2, 8))
def test_more_ahead_is_never_a_shorter_wait(steps: list[int], num_rows: int) -> None:
    """Taking an image out of the queue ahead never makes the last one wait longer."""
    loads = [_load(number, count) for number, count in enumerate(steps)]
    last = _load(1000, 5)
    with_all = outlook([], loads, _pace(num_rows), [last])[last.key]
    without_first = outlook([], loads[1:], _pace(num_rows), [last])[last.key]
    # A step with fewer rows is shorter, never longer, so only the order of ends matters.
    assert without_first.starts_after_seconds <= with_all.starts_after_seconds + 1e-9
