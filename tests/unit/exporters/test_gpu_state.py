"""What is believed of one GPU: margin on every generation, throttled time, staleness, XIDs."""

from __future__ import annotations

import pytest

from exporters.gpu_state import GpuState
from exporters.margin import absolute_limits_celsius, thermal_margin_celsius
from exporters.messages import XidEvent
from tests.exporter_samples import UUID, fast_reading, fleet_of, identity, slow_reading


def test_margin_of_the_driver_is_taken() -> None:
    """A T.Limit board's own margin is the margin."""
    margin = thermal_margin_celsius(
        temperature_celsius=52.0, memory_temperature_celsius=40.0, driver_margin_celsius=35.0, thresholds_celsius={}
    )
    assert margin == 35.0


@pytest.mark.parametrize(
    ("memory", "expected"), [(50.0, 23.0), (90.0, 5.0), (None, 23.0)], ids=["core", "memory", "no memory sensor"]
)
def test_legacy_margin_is_the_least_of_core_and_memory(memory: float | None, expected: float) -> None:
    """On older boards the margin ends at gpu_max or memory_max, whichever is nearer."""
    margin = thermal_margin_celsius(
        temperature_celsius=62.0,
        memory_temperature_celsius=memory,
        driver_margin_celsius=None,
        thresholds_celsius={"shutdown": 92.0, "slowdown": 89.0, "gpu_max": 85.0, "memory_max": 95.0},
    )
    assert margin == expected


def test_nothing_known_means_no_margin() -> None:
    """Without a limit there is no margin, and it is not zero."""
    margin = thermal_margin_celsius(
        temperature_celsius=62.0, memory_temperature_celsius=None, driver_margin_celsius=None, thresholds_celsius={}
    )
    assert margin is None


def test_signed_offsets_give_absolute_limits() -> None:
    """Slowdown at offset -2 lies two degrees above the first intervention, shutdown at -8 eight."""
    limits = absolute_limits_celsius(
        temperature_celsius=52.0,
        driver_margin_celsius=35.0,
        limit_offsets_celsius={"shutdown": -8.0, "slowdown": -2.0, "gpu_max": 0.0, "memory_max": 0.0},
        thresholds_celsius={},
    )
    assert limits == {"shutdown": 95.0, "slowdown": 89.0, "gpu_max": 87.0}


def test_limits_do_not_flicker_with_whole_degrees() -> None:
    """Temperature and margin read one after the other differ by one now and then; the limit stays."""
    gpu = GpuState(identity())
    gpu.apply_slow(slow_reading())
    for second in range(20):
        gpu.apply_fast(
            fast_reading(100.0 + second, temperature_celsius=52.0, margin_celsius=36.0 if second == 7 else 35.0)
        )
        assert gpu.limits_celsius["gpu_max"] == 87.0


def test_throttled_time_is_counted_where_the_hardware_does_not() -> None:
    """Without hardware counters the time between readings with the bit set is counted."""
    gpu = GpuState(identity())
    for second in range(4):
        gpu.apply_fast(fast_reading(100.0 + second, throttle_bits=0x40, throttled_seconds={}))
    assert gpu.throttled_seconds["hw_thermal"] == pytest.approx(3.0)
    assert gpu.throttled_seconds["sw_thermal"] == 0.0


def test_a_gap_is_not_throttled_time() -> None:
    """What happened in a long gap is unknown and counts for nothing."""
    gpu = GpuState(identity())
    gpu.apply_fast(fast_reading(100.0, throttle_bits=0x40, throttled_seconds={}))
    gpu.apply_fast(fast_reading(200.0, throttle_bits=0x40, throttled_seconds={}))
    assert gpu.throttled_seconds["hw_thermal"] == 0.0


def test_hardware_counter_wins_over_counting() -> None:
    """A reason that the hardware counts is never counted by us."""
    gpu = GpuState(identity())
    for second in range(3):
        gpu.apply_fast(fast_reading(100.0 + second, throttle_bits=0x44, throttled_seconds={"sw_power_cap": 12.5}))
    assert gpu.throttled_seconds["sw_power_cap"] == 12.5


def test_older_reading_is_ignored() -> None:
    """A collector on its way out cannot turn the clock back."""
    gpu = GpuState(identity())
    gpu.apply_fast(fast_reading(101.0, temperature_celsius=60.0))
    gpu.apply_fast(fast_reading(100.0, temperature_celsius=50.0))
    assert gpu.fast is not None
    assert gpu.fast.temperature_celsius == 60.0


def test_old_reading_makes_the_gpu_stale() -> None:
    """A GPU that was not read for too long is down, and says why."""
    fleet = fleet_of()
    fleet.expire(104.4, 3.5)
    assert fleet.gpus[UUID].is_up
    fleet.expire(104.6, 3.5)
    assert fleet.gpus[UUID].reason == "stale"


def test_xids_count_and_remember_the_last() -> None:
    """Each event counts, and distinct numbers are bounded."""
    gpu = GpuState(identity())
    for number in range(200):
        gpu.apply_xid(XidEvent(uuid=UUID, xid=500 + number, at_unix=float(number)))
    gpu.apply_xid(XidEvent(uuid=UUID, xid=79, at_unix=1000.0))
    assert gpu.xids[79] == (1, 1000.0)
    assert len(gpu.xids) <= 65
    assert sum(count for count, _ in gpu.xids.values()) == 201
    assert gpu.last_xid == 79
