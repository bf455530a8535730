"""Reads one GPU through NVML and turns NVML's units into base units; the only place where that happens.

Milliwatts become watts, millijoules joules, MHz hertz, percent ratios, KiB bytes, nanoseconds seconds. What a GPU or a
driver does not report stays None.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from exporters.errors import DeviceLostError
from exporters.messages import FastReading, MigInstance, ProcessShare, SlowReading
from exporters.nvml.driver import DeviceCalls, FieldSet, pynvml, read_text
from exporters.nvml.profiling import EngineActivity

MAX_PROCESSES = 256
MAX_MIG_INSTANCES = 8
MAX_FANS = 8

_ALL_LINKS = 0xFFFFFFFF
_NONE = 0
_FAST_FIELDS = (
    ("memory_temperature", 82, _NONE),
    ("power_average", 185, _NONE),
    ("power_instant", 186, _NONE),
    ("sw_power_cap", 74, _NONE),
    ("sync_boost", 76, _NONE),
    ("sw_thermal", 269, _NONE),
    ("hw_thermal", 270, _NONE),
    ("hw_power_brake", 271, _NONE),
    ("pcie_replays", 94, _NONE),
    ("pcie_transmit", 197, _NONE),
    ("pcie_receive", 198, _NONE),
    ("nvlink_transmit", 138, _ALL_LINKS),
    ("nvlink_receive", 139, _ALL_LINKS),
)
_SLOW_FIELDS = (
    ("limit_shutdown", 193, _NONE),
    ("limit_slowdown", 194, _NONE),
    ("limit_memory_max", 195, _NONE),
    ("limit_gpu_max", 196, _NONE),
    ("ecc_corrected", 3, _NONE),
    ("ecc_uncorrected", 4, _NONE),
    ("ecc_corrected_lifetime", 5, _NONE),
    ("ecc_uncorrected_lifetime", 6, _NONE),
    ("retired_corrected", 29, _NONE),
    ("retired_uncorrected", 30, _NONE),
    ("nvlink_crc_flit", 38, _NONE),
    ("nvlink_crc_data", 45, _NONE),
    ("nvlink_replay", 52, _NONE),
    ("nvlink_recovery", 59, _NONE),
)
_THROTTLE_FIELDS = ("sw_power_cap", "sync_boost", "sw_thermal", "hw_thermal", "hw_power_brake")
_CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
_THRESHOLDS = {"shutdown": 0, "slowdown": 1, "memory_max": 2, "gpu_max": 3}
_CORE_SENSOR = 0


def watts_from_milliwatts(value: float) -> float:
    """Return watts."""
    return value / 1000.0


def ratio_from_percent(value: float) -> float:
    """Return a ratio."""
    return value / 100.0


def hertz_from_megahertz(value: float) -> float:
    """Return hertz."""
    return value * 1e6


def _scaled(fields: Mapping[str, float], names: Mapping[str, str], factor: float) -> dict[str, float]:
    return {ours: fields[field] * factor for field, ours in names.items() if field in fields}


def _optional_watts(value: float | None) -> float | None:
    return None if value is None else watts_from_milliwatts(value)


class NvmlDeviceReader:
    """Reads one GPU; used by one thread."""

    def __init__(self, uuid: str, calls: DeviceCalls, event_set: object | None) -> None:
        """Read the GPU of ``calls`` under the name ``uuid``; its XIDs go to ``event_set``, if there is one."""
        self._event_set = event_set
        self._uuid = uuid
        self._calls = calls
        self._fast = FieldSet(_FAST_FIELDS)
        self._slow = FieldSet(_SLOW_FIELDS)
        self._activity = EngineActivity(calls)
        self._process_samples_since = 0

    def read_fast(self) -> FastReading:
        """Return what changes within seconds.

        The time is taken before the first call, so that a reading is never younger than it says.

        Raises:
            DeviceLostError: If the GPU is gone, or answers nothing that matters.
            DriverGoneError: If the driver is gone.
        """
        get = self._calls.get
        self._calls.num_passes += 1
        taken_at_monotonic, taken_at_unix = time.monotonic(), time.time()
        temperature = get("nvmlDeviceGetTemperatureV", float, _CORE_SENSOR)
        if temperature is None:
            temperature = get("nvmlDeviceGetTemperature", float, _CORE_SENSOR)
        margin = get("nvmlDeviceGetMarginTemperature", float)
        fields = self._fast.read(self._calls)
        power = get("nvmlDeviceGetPowerUsage", watts_from_milliwatts)
        if temperature is None and power is None:
            raise DeviceLostError("neither temperature nor power can be read", "unreadable")
        rates = get("nvmlDeviceGetUtilizationRates", lambda rates: (rates.gpu / 100.0, rates.memory / 100.0))
        total, used, reserved = self._memory()
        return FastReading(
            uuid=self._uuid,
            taken_at_monotonic=taken_at_monotonic,
            taken_at_unix=taken_at_unix,
            temperature_celsius=temperature,
            memory_temperature_celsius=fields.get("memory_temperature"),
            margin_celsius=margin,
            power_watts=power,
            power_average_watts=_optional_watts(fields.get("power_average")),
            power_instant_watts=_optional_watts(fields.get("power_instant")),
            energy_joules=get("nvmlDeviceGetTotalEnergyConsumption", lambda millijoules: millijoules / 1000.0),
            utilization_ratio=None if rates is None else rates[0],
            memory_utilization_ratio=None if rates is None else rates[1],
            encoder_utilization_ratio=get("nvmlDeviceGetEncoderUtilization", lambda pair: pair[0] / 100.0),
            decoder_utilization_ratio=get("nvmlDeviceGetDecoderUtilization", lambda pair: pair[0] / 100.0),
            memory_used_bytes=used,
            memory_total_bytes=total,
            memory_reserved_bytes=reserved,
            performance_state=get("nvmlDeviceGetPerformanceState", int),
            clocks_hertz=self._clocks("nvmlDeviceGetClockInfo"),
            throttle_bits=self._throttle_bits(),
            throttled_seconds={name: fields[name] / 1e9 for name in _THROTTLE_FIELDS if name in fields},
            nvlink_bytes=_scaled(fields, {"nvlink_transmit": "transmit", "nvlink_receive": "receive"}, 1024.0),
            pcie_bytes=_scaled(fields, {"pcie_transmit": "transmit", "pcie_receive": "receive"}, 1.0),
            pcie_replays=fields.get("pcie_replays"),
            engine_ratios=self._activity.read(),
        )

    def _memory(self) -> tuple[float | None, float | None, float | None]:
        """Return total, used and reserved bytes; version 1 of the call counts the reserved part as used."""
        second = self._calls.get(
            "nvmlDeviceGetMemoryInfo",
            lambda info: (float(info.total), float(info.used), float(info.reserved)),
            pynvml.nvmlMemory_v2,
        )
        if second is not None:
            return second
        first = self._calls.get("nvmlDeviceGetMemoryInfo", lambda info: (float(info.total), float(info.used)))
        return (None, None, None) if first is None else (first[0], first[1], None)

    def _clocks(self, name: str) -> dict[str, float]:
        read = {clock: self._calls.get(name, hertz_from_megahertz, number) for clock, number in _CLOCKS.items()}
        return {clock: hertz for clock, hertz in read.items() if hertz is not None}

    def _throttle_bits(self) -> int | None:
        bits = self._calls.get("nvmlDeviceGetCurrentClocksEventReasons", int)
        # Drivers before 535 know the call under its old name only.
        return bits if bits is not None else self._calls.get("nvmlDeviceGetCurrentClocksThrottleReasons", int)

    def read_slow(self) -> SlowReading:
        """Return what changes rarely.

        Raises:
            DeviceLostError: If the GPU is gone.
            DriverGoneError: If the driver is gone.
        """
        get = self._calls.get
        if self._event_set is not None:
            # Here and not when the source opens, so that a call that hangs is this GPU's and nobody else's.
            wanted = pynvml.nvmlEventTypeXidCriticalError
            get("nvmlDeviceRegisterEvents", lambda _: True, wanted, self._event_set)
            self._event_set = None
        fields = self._slow.read(self._calls)
        offsets = {name: fields[f"limit_{name}"] for name in _THRESHOLDS if f"limit_{name}" in fields}
        remapped = get("nvmlDeviceGetRemappedRows", lambda rows: tuple(int(value) for value in rows))
        mig_enabled = get("nvmlDeviceGetMigMode", lambda modes: bool(modes[0]))
        return SlowReading(
            uuid=self._uuid,
            limit_offsets_celsius=offsets,
            thresholds_celsius=self._thresholds(),
            power_limit_watts=get("nvmlDeviceGetEnforcedPowerLimit", watts_from_milliwatts),
            power_limit_range_watts=self._power_limit_range(),
            clocks_max_hertz=self._clocks("nvmlDeviceGetMaxClockInfo"),
            ecc_errors={name[4:]: value for name, value in fields.items() if name.startswith("ecc_")},
            remapped_rows={} if remapped is None else {"correctable": remapped[0], "uncorrectable": remapped[1]},
            row_remap_pending=None if remapped is None else bool(remapped[2]),
            row_remap_failed=None if remapped is None else bool(remapped[3]),
            retired_pages={name[8:]: value for name, value in fields.items() if name.startswith("retired_")},
            fan_ratios=self._fans(),
            pcie_generation=get("nvmlDeviceGetCurrPcieLinkGeneration", int),
            pcie_lanes=get("nvmlDeviceGetCurrPcieLinkWidth", int),
            nvlink_errors={name[7:]: value for name, value in fields.items() if name.startswith("nvlink_")},
            mig_enabled=mig_enabled,
            mig_instances=self._mig_instances() if mig_enabled else (),
            processes=self._processes(),
        )

    def _thresholds(self) -> dict[str, float]:
        read = {
            name: self._calls.get("nvmlDeviceGetTemperatureThreshold", float, number)
            for name, number in _THRESHOLDS.items()
        }
        return {name: celsius for name, celsius in read.items() if celsius is not None and celsius > 0.0}

    def _power_limit_range(self) -> dict[str, float]:
        bounds = self._calls.get(
            "nvmlDeviceGetPowerManagementLimitConstraints",
            lambda pair: {"min": watts_from_milliwatts(pair[0]), "max": watts_from_milliwatts(pair[1])},
        )
        default = self._calls.get("nvmlDeviceGetPowerManagementDefaultLimit", watts_from_milliwatts)
        return {**(bounds or {}), **({} if default is None else {"default": default})}

    def _fans(self) -> tuple[float, ...]:
        num_fans = self._calls.get("nvmlDeviceGetNumFans", int) or 0
        speeds = (
            self._calls.get("nvmlDeviceGetFanSpeed_v2", ratio_from_percent, fan)
            for fan in range(min(num_fans, MAX_FANS))
        )
        return tuple(speed for speed in speeds if speed is not None)

    def _mig_instances(self) -> tuple[MigInstance, ...]:
        found: list[MigInstance] = []
        for index in range(MAX_MIG_INSTANCES):
            handle = self._calls.get("nvmlDeviceGetMigDeviceHandleByIndex", lambda handle: handle, index)
            if handle is None:
                continue
            calls = DeviceCalls(self._calls.tracker, handle)
            uuid = calls.get("nvmlDeviceGetUUID", read_text)
            gpu_instance = calls.get("nvmlDeviceGetGpuInstanceId", int)
            compute_instance = calls.get("nvmlDeviceGetComputeInstanceId", int)
            if uuid is None or gpu_instance is None or compute_instance is None:
                continue
            memory = calls.get("nvmlDeviceGetMemoryInfo", lambda info: (float(info.used), float(info.total)))
            found.append(
                MigInstance(
                    uuid=uuid,
                    profile=calls.get("nvmlDeviceGetAttributes_v2", _mig_profile) or "unknown",
                    gpu_instance=gpu_instance,
                    compute_instance=compute_instance,
                    memory_used_bytes=None if memory is None else memory[0],
                    memory_total_bytes=None if memory is None else memory[1],
                )
            )
        return tuple(found)

    def _processes(self) -> tuple[ProcessShare, ...] | None:
        """Return the compute processes with their share of the multiprocessors since the last slow pass."""
        pids = self._calls.get(
            "nvmlDeviceGetComputeRunningProcesses", lambda rows: [int(row.pid) for row in rows[:MAX_PROCESSES]]
        )
        if pids is None:
            return None
        shares = self._calls.get("nvmlDeviceGetProcessUtilization", self._newest_shares, self._process_samples_since)
        return tuple(
            ProcessShare(pid=pid, compute_ratio=None if shares is None else shares.get(pid, 0.0)) for pid in pids
        )

    def _newest_shares(self, samples: list[Any]) -> dict[int, float]:
        newest: dict[int, tuple[int, float]] = {}
        for sample in samples[: 16 * MAX_PROCESSES]:
            if int(sample.timeStamp) >= newest.get(int(sample.pid), (0, 0.0))[0]:
                newest[int(sample.pid)] = (int(sample.timeStamp), ratio_from_percent(min(int(sample.smUtil), 100)))
            self._process_samples_since = max(self._process_samples_since, int(sample.timeStamp))
        return {pid: share for pid, (_, share) in newest.items()}


def _mig_profile(attributes: Any) -> str:
    """Return NVIDIA's name of a MIG profile, such as ``1g.10gb``, from slice count and memory in MiB."""
    return f"{int(attributes.gpuInstanceSliceCount)}g.{round(int(attributes.memorySizeMB) / 1024)}gb"
