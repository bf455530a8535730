"""DCGM names, so that existing dashboards and rules work unchanged. Pure.

``legacy`` is what dcgm-exporter published up to 4.8.x: names, types, units (MHz, mJ, percent, MiB) and labels, with the
host under ``Hostname`` as up to 4.8.2. The naming is a table of its own, so that the renamed set of 4.9 becomes a
second table. Types are kept even where they are doubtful (an NVLink rate typed as counter): changing them would break
what this mode exists for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from exporters.exposition import Sample
from exporters.gpu_state import GpuState
from exporters.messages import FastReading, SlowReading
from exporters.xids import describe

MEBIBYTE = 1024.0 * 1024.0
BASE_LABELS = (
    "gpu",
    "UUID",
    "pci_bus_id",
    "device",
    "modelName",
    "Hostname",
    "DCGM_FI_DRIVER_VERSION",
    "container",
    "namespace",
    "pod",
)
ERROR_LABELS = (*BASE_LABELS, "err_code", "err_msg")


@dataclass(frozen=True, slots=True, kw_only=True)
class DcgmField:
    """One DCGM family.

    Attributes:
        name: DCGM's name.
        type: DCGM's type, right or wrong.
        help: One sentence with the unit, which the name does not hold.
        read: Gives the value in DCGM's unit; None leaves the series out.
        labels: Label names in dcgm-exporter's order.
        unit: Never declared: these names do not end in a unit.
    """

    name: str
    type: str
    help: str
    read: Callable[[GpuState, FastReading, SlowReading | None], float | None]
    labels: tuple[str, ...] = BASE_LABELS
    unit: None = None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _whole(value: float | None, factor: float = 1.0) -> int | None:
    return None if value is None else round(value * factor)


def _free(fast: FastReading) -> float | None:
    if fast.memory_total_bytes is None or fast.memory_used_bytes is None:
        return None
    return fast.memory_total_bytes - fast.memory_used_bytes - (fast.memory_reserved_bytes or 0.0)


def _of_slow(slow: SlowReading | None, table: str, key: str) -> int | None:
    if slow is None:
        return None
    values: Mapping[str, float] = getattr(slow, table)
    return _whole(values.get(key))


def _gauge(name: str, text: str, read: Callable[[FastReading], float | None]) -> DcgmField:
    return DcgmField(name=f"DCGM_FI_DEV_{name}", type="gauge", help=text, read=lambda _, fast, __: read(fast))


def _counter(name: str, text: str, read: Callable[[FastReading], float | None]) -> DcgmField:
    return DcgmField(name=f"DCGM_FI_DEV_{name}", type="counter", help=text, read=lambda _, fast, __: read(fast))


def _slow_counter(name: str, text: str, table: str, key: str) -> DcgmField:
    return DcgmField(
        name=f"DCGM_FI_DEV_{name}", type="counter", help=text, read=lambda _, __, slow: _of_slow(slow, table, key)
    )


def _limit(name: str, text: str, limit: str) -> DcgmField:
    return DcgmField(
        name=f"DCGM_FI_DEV_{name}",
        type="gauge",
        help=text,
        read=lambda gpu, _, __: _whole(gpu.limits_celsius.get(limit)),
    )


def _profiling(name: str, text: str, key: str) -> DcgmField:
    return DcgmField(
        name=f"DCGM_FI_PROF_{name}", type="gauge", help=text, read=lambda _, fast, __: fast.engine_ratios.get(key)
    )


def _remap_failed(slow: SlowReading | None) -> int | None:
    return None if slow is None or slow.row_remap_failed is None else int(slow.row_remap_failed)


XID_FIELD = DcgmField(
    name="DCGM_FI_DEV_XID_ERRORS",
    type="gauge",
    help="Number of the last XID, 0 before the first.",
    read=lambda gpu, _, __: gpu.last_xid,
    labels=ERROR_LABELS,
)

LEGACY: tuple[DcgmField, ...] = (
    _gauge("SM_CLOCK", "SM clock (in MHz).", lambda fast: _whole(fast.clocks_hertz.get("sm"), 1e-6)),
    _gauge("MEM_CLOCK", "Memory clock (in MHz).", lambda fast: _whole(fast.clocks_hertz.get("memory"), 1e-6)),
    _gauge("MEMORY_TEMP", "Memory temperature (in C).", lambda fast: _whole(fast.memory_temperature_celsius)),
    _gauge("GPU_TEMP", "GPU temperature (in C).", lambda fast: _whole(fast.temperature_celsius)),
    _gauge("POWER_USAGE", "Power draw (in W).", lambda fast: fast.power_watts),
    _counter("TOTAL_ENERGY_CONSUMPTION", "Energy since boot (in mJ).", lambda fast: _whole(fast.energy_joules, 1e3)),
    _counter("PCIE_REPLAY_COUNTER", "PCIe retries.", lambda fast: _whole(fast.pcie_replays)),
    _gauge("GPU_UTIL", "GPU utilization (in %).", lambda fast: _whole(fast.utilization_ratio, 100.0)),
    _gauge("MEM_COPY_UTIL", "Memory utilization (in %).", lambda fast: _whole(fast.memory_utilization_ratio, 100.0)),
    _gauge("ENC_UTIL", "Encoder utilization (in %).", lambda fast: _whole(fast.encoder_utilization_ratio, 100.0)),
    _gauge("DEC_UTIL", "Decoder utilization (in %).", lambda fast: _whole(fast.decoder_utilization_ratio, 100.0)),
    XID_FIELD,
    _gauge("FB_FREE", "Framebuffer memory free (in MiB).", lambda fast: _whole(_free(fast), 1.0 / MEBIBYTE)),
    _gauge("FB_USED", "Framebuffer memory used (in MiB).", lambda fast: _whole(fast.memory_used_bytes, 1.0 / MEBIBYTE)),
    _gauge(
        "FB_RESERVED",
        "Framebuffer memory reserved (in MiB).",
        lambda fast: _whole(fast.memory_reserved_bytes, 1.0 / MEBIBYTE),
    ),
    DcgmField(
        name="DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        type="counter",
        help="NVLink bandwidth over all lanes (in MB/s).",
        read=lambda gpu, _, __: _whole(_scaled(gpu.nvlink_bytes_per_second, 1e-6)),
    ),
    _slow_counter(
        "UNCORRECTABLE_REMAPPED_ROWS", "Rows remapped for uncorrectable errors.", "remapped_rows", "uncorrectable"
    ),
    _slow_counter("CORRECTABLE_REMAPPED_ROWS", "Rows remapped for correctable errors.", "remapped_rows", "correctable"),
    DcgmField(
        name="DCGM_FI_DEV_ROW_REMAP_FAILURE",
        type="gauge",
        help="Whether a row remap failed.",
        read=lambda _, __, slow: _remap_failed(slow),
    ),
    _slow_counter("ECC_SBE_VOL_TOTAL", "Single-bit errors since driver load.", "ecc_errors", "corrected"),
    _slow_counter("ECC_DBE_VOL_TOTAL", "Double-bit errors since driver load.", "ecc_errors", "uncorrected"),
    _slow_counter("ECC_SBE_AGG_TOTAL", "Single-bit errors, lifetime.", "ecc_errors", "corrected_lifetime"),
    _slow_counter("ECC_DBE_AGG_TOTAL", "Double-bit errors, lifetime.", "ecc_errors", "uncorrected_lifetime"),
    _slow_counter("RETIRED_SBE", "Pages retired for single-bit errors.", "retired_pages", "corrected"),
    _slow_counter("RETIRED_DBE", "Pages retired for double-bit errors.", "retired_pages", "uncorrected"),
    _slow_counter("NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLink flow-control CRC errors.", "nvlink_errors", "crc_flit"),
    _slow_counter("NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "NVLink data CRC errors.", "nvlink_errors", "crc_data"),
    _slow_counter("NVLINK_REPLAY_ERROR_COUNT_TOTAL", "NVLink retries.", "nvlink_errors", "replay"),
    _slow_counter("NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "NVLink recovery errors.", "nvlink_errors", "recovery"),
    _limit("SLOWDOWN_TEMP", "Slowdown temperature (in C).", "slowdown"),
    _limit("SHUTDOWN_TEMP", "Shutdown temperature (in C).", "shutdown"),
    _profiling("GR_ENGINE_ACTIVE", "Ratio of time the graphics engine is active.", "graphics"),
    _profiling("SM_ACTIVE", "Ratio of cycles an SM has a warp assigned.", "sm"),
    _profiling("SM_OCCUPANCY", "Ratio of resident warps to the maximum.", "sm_occupancy"),
    _profiling("PIPE_TENSOR_ACTIVE", "Ratio of cycles the tensor pipe is active.", "tensor"),
    _profiling("DRAM_ACTIVE", "Ratio of cycles the memory interface is active.", "dram"),
    DcgmField(
        name="DCGM_FI_PROF_PCIE_TX_BYTES",
        type="gauge",
        help="PCIe transmit rate (in B/s).",
        read=lambda gpu, _, __: _whole(gpu.pcie_bytes_per_second.get("transmit")),
    ),
    DcgmField(
        name="DCGM_FI_PROF_PCIE_RX_BYTES",
        type="gauge",
        help="PCIe receive rate (in B/s).",
        read=lambda gpu, _, __: _whole(gpu.pcie_bytes_per_second.get("receive")),
    ),
)


def base_label_values(gpu: GpuState, node: str, driver_version: str, pod: tuple[str, str, str]) -> tuple[str, ...]:
    """Return the values of ``BASE_LABELS``.

    Args:
        gpu: The GPU.
        node: Value of ``Hostname``.
        driver_version: Value of ``DCGM_FI_DRIVER_VERSION``.
        pod: Container, namespace and pod; empty when none holds the GPU.

    Returns:
        Values in the order of ``BASE_LABELS``.
    """
    identity = gpu.identity
    device = "" if identity.minor is None else f"nvidia{identity.minor}"
    return (
        str(identity.index),
        identity.uuid,
        identity.pci_bus_id,
        device,
        identity.model,
        node,
        driver_version,
        *pod,
    )


def dcgm_samples(gpu: GpuState, node: str, driver_version: str, pod: tuple[str, str, str] | None) -> Iterator[Sample]:
    """Yield the legacy families of one GPU; nothing while it is down.

    Args:
        gpu: The GPU.
        node: Value of ``Hostname``.
        driver_version: Value of ``DCGM_FI_DRIVER_VERSION``.
        pod: Container, namespace and pod that hold the GPU; None when none does.

    Returns:
        One sample per field that the GPU reports.
    """
    fast = gpu.fast
    if not gpu.is_up or fast is None:
        return
    labels = base_label_values(gpu, node, driver_version, pod or ("", "", ""))
    for dcgm_field in LEGACY:
        value = dcgm_field.read(gpu, fast, gpu.slow)
        if value is None:
            continue
        if dcgm_field is XID_FIELD:
            yield Sample(family=dcgm_field, labels=(*labels, str(value), describe(int(value))), value=value)
        else:
            yield Sample(family=dcgm_field, labels=labels, value=value)
