"""Implausible samples are dropped, counted and never replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.plausibility import FastGate, Rejection, Slope, SlopeGate
from tests.exporter_samples import fast_reading


@pytest.mark.parametrize("celsius", [0.0, -1.0, 345.0, 82505.0, 644245923.0, float("nan"), float("inf")])
def test_impossible_temperatures_are_dropped_and_counted(celsius: float) -> None:
    """Numbers that real drivers have returned for unknown never pass."""
    gate = FastGate()
    admitted = gate.admit(fast_reading(temperature_celsius=celsius))
    assert admitted.temperature_celsius is None
    assert admitted.power_watts == 627.4
    assert gate.num_rejected == {("temperature_celsius", Rejection.RANGE): 1}


def test_healthy_reading_passes_unchanged() -> None:
    """Nothing is taken from a plausible reading."""
    gate = FastGate()
    reading = fast_reading()
    assert gate.admit(reading) == reading
    assert gate.num_rejected == {}


def test_impossible_jump_is_dropped_and_the_next_good_one_passes() -> None:
    """A jump that physics forbids is dropped; the reading after it is judged against the last good one."""
    gate = FastGate()
    gate.admit(fast_reading(100.0, temperature_celsius=52.0))
    assert gate.admit(fast_reading(101.0, temperature_celsius=112.0)).temperature_celsius is None
    assert gate.admit(fast_reading(102.0, temperature_celsius=53.0)).temperature_celsius == 53.0
    assert gate.num_rejected == {("temperature_celsius", Rejection.SLOPE): 1}


def test_lasting_jump_is_believed_after_three_readings() -> None:
    """A level that persists is the truth: the old one was wrong, or the gap was long."""
    gate = FastGate()
    gate.admit(fast_reading(100.0, temperature_celsius=30.0))
    seen = [gate.admit(fast_reading(100.0 + n, temperature_celsius=90.0)).temperature_celsius for n in range(1, 5)]
    assert seen[0] is None
    assert seen[-1] == 90.0


def test_measured_cooling_passes() -> None:
    """25 degrees in 3 seconds after load removal, as measured on an H100-class board, is plausible."""
    gate = FastGate()
    for second, celsius in enumerate([75.0, 66.0, 58.0, 50.0]):
        assert gate.admit(fast_reading(100.0 + second, temperature_celsius=celsius)).temperature_celsius == celsius


def test_reset_counter_is_believed_after_a_driver_reload() -> None:
    """A counter that starts anew is dropped at first, then followed."""
    gate = FastGate()
    gate.admit(fast_reading(100.0, energy_joules=5e6))
    seen = [gate.admit(fast_reading(100.0 + n, energy_joules=600.0 * n)).energy_joules for n in range(1, 5)]
    assert seen == [None, None, 1800.0, 2400.0]


def test_more_memory_used_than_there_is_makes_no_sense() -> None:
    """Used memory above the total is dropped."""
    gate = FastGate()
    admitted = gate.admit(fast_reading(memory_used_bytes=200_000.0 * 2**20))
    assert admitted.memory_used_bytes is None
    assert admitted.memory_total_bytes is not None


def test_one_bad_entry_of_a_table_costs_only_itself() -> None:
    """A sentinel among the clocks leaves the other clocks."""
    admitted = FastGate().admit(fast_reading(clocks_hertz={"sm": 1.98e9, "memory": 4294967295e6}))
    assert admitted.clocks_hertz == {"sm": 1.98e9}


@given(st.lists(st.floats(min_value=-200, max_value=300, allow_nan=False), min_size=1, max_size=40))
def test_accepted_values_follow_each_other_or_were_confirmed(values: list[float]) -> None:
    """Two accepted neighbours differ by what the slope allows, unless three rejected ones agreed before."""
    gate = SlopeGate(Slope(step=20.0, rise_per_second=15.0, fall_per_second=15.0))
    accepted: float | None = None
    for second, value in enumerate(values):
        rejected_before = gate._num_agreeing
        if gate.accepts(float(second), value):
            if accepted is not None and rejected_before < 2:
                assert abs(value - accepted) <= 20.0 + 15.0 * (second + 1)
            accepted = value
