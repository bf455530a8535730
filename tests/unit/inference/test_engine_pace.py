"""Bounds, pauses, and how long a wait will be."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.outlook import Load, Pace, outlook, with_later_arrivals
from inference.engine.pace import ArrivalMeter, SpeedMeter, StepCurve, allowance_of, curve_through, pause_seconds
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
    """After enough steps at half the speed the capacity is half, and one freak step moves it by a quarter at most."""
    meter = SpeedMeter()
    meter.start(curve_through(0.003, 0.018, 16))
    assert meter.capacity(16) == pytest.approx(16 / 0.018)
    meter.add_step(16, 100.0)
    assert meter.capacity(16) > 0.75 * 16 / 0.018
    for _ in range(400):
        meter.add_step(16, 0.036)
    assert meter.capacity(16) == pytest.approx(16 / 0.036, rel=0.01)


def test_throughput_counts_time_with_work_only() -> None:
    """Tokens per second are those of stretches with work."""
    meter = SpeedMeter()
    assert meter.tokens_per_second == 0.0
    for _ in range(100):
        meter.add_tokens(16, 0.02)
    assert meter.tokens_per_second == pytest.approx(800.0)


def test_arrivals_are_counted_by_weight_and_forgotten() -> None:
    """Only heavier work counts, at its rate, and fades when it stops."""
    meter = ArrivalMeter()
    for second in range(600):
        meter.add(1.0, 64, float(second))
        meter.add(0.0, 640, float(second))
    assert meter.heavier(1.0, 600.0) == []
    [(weight, rate)] = meter.heavier(0.0, 600.0)
    assert weight == 1.0
    assert rate == pytest.approx(64.0, rel=0.05)
    assert meter.heavier(0.0, 1200.0)[0][1] < 0.1


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


def test_waits_are_longer_by_heavier_work_that_will_come() -> None:
    """Heavier arrivals at half of the speed double the wait; within a head start of a second they add only that."""
    assert with_later_arrivals(10.0, head_starts=[(1e9, 500.0)], tokens_per_second=1000.0) == pytest.approx(
        20.0, rel=0.01
    )
    assert with_later_arrivals(10.0, head_starts=[(1.0, 500.0)], tokens_per_second=1000.0) == pytest.approx(10.5)
    assert with_later_arrivals(0.0, head_starts=[(1e9, 500.0)], tokens_per_second=1000.0) == 0.0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(2, 8))
def test_more_ahead_is_never_a_shorter_wait(steps: list[int], num_rows: int) -> None:
    """Taking an image out of the queue ahead never makes the last one wait longer."""
    loads = [_load(number, count) for number, count in enumerate(steps)]
    last = _load(1000, 5)
    with_all = outlook([], loads, _pace(num_rows), [last])[last.key]
    without_first = outlook([], loads[1:], _pace(num_rows), [last])[last.key]
    # A step with fewer rows is shorter, never longer, so only the order of ends matters.
    assert without_first.starts_after_seconds <= with_all.starts_after_seconds + 1e-9
