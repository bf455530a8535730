"""``--source simulated[:N]``: GPUs that warm up and cool down, for machines without one.

Runs in the collector process behind the same port as NVML. One RC stage per GPU, load that swings slowly; the numbers
resemble an H200 board (assumed, not measured) and serve demonstrations and tests, not conclusions about hardware.
"""

from __future__ import annotations

import math
import time

from exporters.calls import CallTracker
from exporters.messages import DeviceIdentity, FastReading, ProcessShare, SlowReading, XidEvent

IDLE_WATTS = 90.0
FULL_WATTS = 690.0
RESISTANCE_CELSIUS_PER_WATT = 0.062
TIME_CONSTANT_SECONDS = 14.0
INLET_CELSIUS = 27.0
MARGIN_REFERENCE_CELSIUS = 87.0
LOAD_PERIOD_SECONDS = 240.0
MEMORY_BYTES = 141 * 1024.0**3


def load_ratio(index: int, seconds: float) -> float:
    """Return the load of GPU ``index``, 0..1: a slow swing, shifted from GPU to GPU."""
    return 0.5 - 0.5 * math.cos(2.0 * math.pi * (seconds / LOAD_PERIOD_SECONDS + index / 8.0))


def energy_joules(index: int, seconds: float) -> float:
    """Return the energy that GPU ``index`` used in ``seconds``: the integral of its power, so that it never falls."""
    angle = 2.0 * math.pi * (seconds / LOAD_PERIOD_SECONDS + index / 8.0)
    start = 2.0 * math.pi * index / 8.0
    loaded_seconds = 0.5 * seconds - LOAD_PERIOD_SECONDS / (4.0 * math.pi) * (math.sin(angle) - math.sin(start))
    return IDLE_WATTS * seconds + (FULL_WATTS - IDLE_WATTS) * loaded_seconds


class SimulatedReader:
    """One simulated GPU."""

    def __init__(self, device: DeviceIdentity, began: float) -> None:
        """Start at the plateau of the present load; ``began`` is on the monotonic clock."""
        self._device = device
        self._began = began
        self._last = began
        self._celsius = INLET_CELSIUS + RESISTANCE_CELSIUS_PER_WATT * self._watts(began)

    def _watts(self, now: float) -> float:
        return IDLE_WATTS + (FULL_WATTS - IDLE_WATTS) * load_ratio(self._device.index, now - self._began)

    def read_fast(self) -> FastReading:
        """Advance to now and return the reading. T' = (inlet + R P - T) / tau, exact for constant power."""
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        watts = self._watts(now)
        plateau = INLET_CELSIUS + RESISTANCE_CELSIUS_PER_WATT * watts
        self._celsius += (1.0 - math.exp(-elapsed / TIME_CONSTANT_SECONDS)) * (plateau - self._celsius)
        load = load_ratio(self._device.index, now - self._began)
        core = math.floor(self._celsius)
        return FastReading(
            uuid=self._device.uuid,
            taken_at_monotonic=now,
            taken_at_unix=time.time(),
            temperature_celsius=float(core),
            memory_temperature_celsius=float(core + 4),
            margin_celsius=MARGIN_REFERENCE_CELSIUS - core,
            power_watts=round(watts, 3),
            power_average_watts=round(watts, 3),
            power_instant_watts=round(watts, 3),
            energy_joules=round(energy_joules(self._device.index, now - self._began), 3),
            utilization_ratio=round(load, 2),
            memory_utilization_ratio=round(load / 2.0, 2),
            encoder_utilization_ratio=0.0,
            decoder_utilization_ratio=0.0,
            memory_used_bytes=MEMORY_BYTES * 0.6,
            memory_total_bytes=MEMORY_BYTES,
            memory_reserved_bytes=MEMORY_BYTES * 0.004,
            performance_state=0,
            clocks_hertz={"graphics": 1.98e9, "sm": 1.98e9, "memory": 3.201e9, "video": 1.545e9},
            throttle_bits=0,
            throttled_seconds={"sw_power_cap": 0.0, "sw_thermal": 0.0, "hw_thermal": 0.0, "hw_power_brake": 0.0},
        )

    def read_slow(self) -> SlowReading:
        """Return the limits of the simulated board."""
        return SlowReading(
            uuid=self._device.uuid,
            limit_offsets_celsius={"shutdown": -8.0, "slowdown": -2.0, "gpu_max": 0.0},
            power_limit_watts=700.0,
            power_limit_range_watts={"min": 200.0, "max": 700.0, "default": 700.0},
            clocks_max_hertz={"graphics": 1.98e9, "sm": 1.98e9, "memory": 3.201e9, "video": 1.545e9},
            ecc_errors={"corrected": 0.0, "uncorrected": 0.0},
            remapped_rows={"correctable": 0.0, "uncorrectable": 0.0},
            row_remap_pending=False,
            row_remap_failed=False,
            mig_enabled=False,
            processes=(ProcessShare(pid=1, compute_ratio=1.0),),
        )


class SimulatedSource:
    """N simulated GPUs."""

    driver_version = "simulated"

    def __init__(self, num_gpus: int) -> None:
        """Simulate ``num_gpus``."""
        self._num_gpus = num_gpus
        # Every collector simulates the same course of load: the time since the host started, not since the process did.
        self._began = 0.0

    def open(self, tracker: CallTracker) -> tuple[DeviceIdentity, ...]:
        """Return the GPUs."""
        del tracker
        return tuple(
            DeviceIdentity(
                uuid=f"GPU-51a70000-0000-4000-8000-{index:012d}",
                index=index,
                model="Simulated H200",
                pci_bus_id=f"00000000:{index + 1:02X}:00.0",
                minor=index,
            )
            for index in range(self._num_gpus)
        )

    def reader(self, device: DeviceIdentity, tracker: CallTracker) -> SimulatedReader:
        """Return the reader of ``device``."""
        del tracker
        return SimulatedReader(device, self._began)

    def wait_for_events(self, timeout_seconds: float) -> list[XidEvent]:
        """Wait; nothing ever happens."""
        time.sleep(timeout_seconds)
        return []

    def topology(self) -> str:
        """Return the constant number of GPUs."""
        return str(self._num_gpus)
