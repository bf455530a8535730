"""Readings of imagined GPUs for tests of the exporter."""

from __future__ import annotations

from exporters.fleet import Fleet
from exporters.messages import DeviceIdentity, FastReading, Hello, ProcessShare, SlowReading

UUID = "GPU-00000000-0000-4000-8000-000000000000"


def identity(index: int = 0) -> DeviceIdentity:
    """Return the GPU ``index``."""
    return DeviceIdentity(
        uuid=f"GPU-{index:08x}-0000-4000-8000-000000000000",
        index=index,
        model="NVIDIA H200",
        pci_bus_id=f"00000000:{index + 1:02X}:00.0",
        minor=index,
    )


def fast_reading(at: float = 100.0, *, uuid: str = UUID, **changes: object) -> FastReading:
    """Return a healthy reading at monotonic time ``at``, changed as told."""
    values: dict[str, object] = {
        "uuid": uuid,
        "taken_at_monotonic": at,
        "taken_at_unix": 1_750_000_000.0 + at,
        "temperature_celsius": 52.0,
        "memory_temperature_celsius": 40.0,
        "margin_celsius": 35.0,
        "power_watts": 627.4,
        "power_average_watts": 627.4,
        "power_instant_watts": 630.0,
        "energy_joules": 1000.0 + 627.4 * (at - 100.0),
        "utilization_ratio": 0.97,
        "memory_utilization_ratio": 0.4,
        "encoder_utilization_ratio": 0.0,
        "decoder_utilization_ratio": 0.0,
        "memory_used_bytes": 40_000.0 * 2**20,
        "memory_total_bytes": 143_771.0 * 2**20,
        "memory_reserved_bytes": 600.0 * 2**20,
        "performance_state": 0,
        "clocks_hertz": {"graphics": 1.98e9, "sm": 1.98e9, "memory": 3.201e9, "video": 1.545e9},
        "throttle_bits": 4,
        "throttled_seconds": {"sw_power_cap": 12.5, "sw_thermal": 0.0, "hw_thermal": 0.0},
        "nvlink_bytes": {"transmit": 1e9 * at, "receive": 2e9 * at},
        "pcie_bytes": {"transmit": 1e6 * at, "receive": 2e6 * at},
        "pcie_replays": 3.0,
        "engine_ratios": {"graphics": 0.95, "sm": 0.9, "sm_occupancy": 0.5, "tensor": 0.4, "dram": 0.3},
    }
    return FastReading(**{**values, **changes})  # type: ignore[arg-type]


def slow_reading(*, uuid: str = UUID, **changes: object) -> SlowReading:
    """Return the slow reading of a T.Limit board, changed as told."""
    values: dict[str, object] = {
        "uuid": uuid,
        "limit_offsets_celsius": {"shutdown": -8.0, "slowdown": -2.0, "gpu_max": 0.0},
        "power_limit_watts": 700.0,
        "power_limit_range_watts": {"min": 200.0, "max": 700.0, "default": 700.0},
        "clocks_max_hertz": {"sm": 1.98e9, "memory": 3.201e9},
        "ecc_errors": {"corrected": 1.0, "uncorrected": 0.0, "corrected_lifetime": 9.0, "uncorrected_lifetime": 0.0},
        "remapped_rows": {"correctable": 1.0, "uncorrectable": 0.0},
        "row_remap_pending": False,
        "row_remap_failed": False,
        "retired_pages": {},
        "fan_ratios": (0.5,),
        "pcie_generation": 5,
        "pcie_lanes": 16,
        "nvlink_errors": {"crc_flit": 0.0, "crc_data": 0.0, "replay": 2.0, "recovery": 0.0},
        "mig_enabled": False,
        "processes": (ProcessShare(pid=41, compute_ratio=0.6),),
    }
    return SlowReading(**{**values, **changes})  # type: ignore[arg-type]


def fleet_of(num_gpus: int = 1) -> Fleet:
    """Return healthy GPUs that were read at 100 and 101 on the monotonic clock."""
    fleet = Fleet()
    devices = tuple(identity(index) for index in range(num_gpus))
    fleet.apply(Hello(driver_version="580.95.05", devices=devices))
    for device in devices:
        fleet.apply(slow_reading(uuid=device.uuid))
        fleet.apply(fast_reading(100.0, uuid=device.uuid))
        fleet.apply(fast_reading(101.0, uuid=device.uuid))
    return fleet
