"""Turns the state of the fleet into samples under our own names. Pure.

Called by ``exporters.snapshot`` once per collection. A GPU that is down keeps its identity, its reason, its XIDs
and its rejected samples, and loses everything that would be a reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporters import metric_names as names
from exporters.exposition import Sample
from exporters.fleet import Fleet
from exporters.gpu_state import THROTTLE_BITS, UP, GpuState
from exporters.messages import FastReading, SlowReading
from exporters.metric_names import Metric
from exporters.window import Statistics
from exporters.xids import classify

Labels = tuple[str, ...]

_FAST: tuple[tuple[Metric, str], ...] = (
    (names.GPU_TEMPERATURE, "temperature_celsius"),
    (names.GPU_MEMORY_TEMPERATURE, "memory_temperature_celsius"),
    (names.GPU_POWER, "power_watts"),
    (names.GPU_POWER_AVERAGE, "power_average_watts"),
    (names.GPU_POWER_INSTANT, "power_instant_watts"),
    (names.GPU_ENERGY, "energy_joules"),
    (names.GPU_UTILIZATION, "utilization_ratio"),
    (names.GPU_MEMORY_UTILIZATION, "memory_utilization_ratio"),
    (names.GPU_ENCODER_UTILIZATION, "encoder_utilization_ratio"),
    (names.GPU_DECODER_UTILIZATION, "decoder_utilization_ratio"),
    (names.GPU_MEMORY_USED, "memory_used_bytes"),
    (names.GPU_MEMORY_TOTAL, "memory_total_bytes"),
    (names.GPU_MEMORY_RESERVED, "memory_reserved_bytes"),
    (names.GPU_PERFORMANCE_STATE, "performance_state"),
    (names.GPU_PCIE_REPLAYS, "pcie_replays"),
)
_FAST_BY_LABEL: tuple[tuple[Metric, str], ...] = (
    (names.GPU_CLOCK, "clocks_hertz"),
    (names.GPU_NVLINK_BYTES, "nvlink_bytes"),
    (names.GPU_PCIE_BYTES, "pcie_bytes"),
    (names.GPU_ENGINE_UTILIZATION, "engine_ratios"),
)
_SLOW: tuple[tuple[Metric, str], ...] = (
    (names.GPU_POWER_LIMIT, "power_limit_watts"),
    (names.GPU_ROW_REMAP_PENDING, "row_remap_pending"),
    (names.GPU_ROW_REMAP_FAILED, "row_remap_failed"),
    (names.GPU_PCIE_GENERATION, "pcie_generation"),
    (names.GPU_PCIE_WIDTH, "pcie_lanes"),
    (names.GPU_MIG_ENABLED, "mig_enabled"),
)
_SLOW_BY_LABEL: tuple[tuple[Metric, str], ...] = (
    (names.GPU_POWER_LIMIT_RANGE, "power_limit_range_watts"),
    (names.GPU_CLOCK_MAX, "clocks_max_hertz"),
    (names.GPU_ECC_ERRORS, "ecc_errors"),
    (names.GPU_REMAPPED_ROWS, "remapped_rows"),
    (names.GPU_RETIRED_PAGES, "retired_pages"),
    (names.GPU_NVLINK_ERRORS, "nvlink_errors"),
)


def gpu_labels(gpu: GpuState, node: str) -> Labels:
    """Return the values of ``GPU_LABELS``."""
    return (gpu.identity.uuid, str(gpu.identity.index), node)


def gpu_samples(
    gpu: GpuState, node: str, driver_version: str, now_monotonic: float, window_seconds: float
) -> Iterator[Sample]:
    """Yield all that is known of one GPU.

    Args:
        gpu: The GPU.
        node: Value of the label ``node``.
        driver_version: For the info series.
        now_monotonic: The moment of the rendering, seconds.
        window_seconds: Length of the scrape window.

    Returns:
        Its samples; while it is down, those that are no readings.
    """
    labels = gpu_labels(gpu, node)
    yield from _identity(gpu, labels, driver_version)
    if gpu.is_up and gpu.fast is not None:
        yield from _fast(gpu.fast, labels)
        yield from _heat(gpu, labels)
        yield from _throttling(gpu, gpu.fast, labels)
        yield from _window(gpu, labels, now_monotonic, window_seconds)
        if gpu.slow is not None:
            yield from _slow(gpu.slow, labels)


def reading_times(fleet: Fleet) -> dict[str, tuple[Labels, float]]:
    """Return when each GPU was last read, by UUID without the label node: what the ages on a page count from."""
    return {
        uuid: ((uuid, str(gpu.identity.index)), gpu.fast.taken_at_monotonic)
        for uuid, gpu in fleet.gpus.items()
        if gpu.fast is not None
    }


def _identity(gpu: GpuState, labels: Labels, driver_version: str) -> Iterator[Sample]:
    up = gpu.is_up
    reason = UP if up else gpu.reason
    yield Sample(family=names.GPU_UP, labels=(*labels, reason), value=int(up))
    identity = gpu.identity
    yield Sample(family=names.GPU_INFO, labels=(*labels, identity.model, identity.pci_bus_id, driver_version), value=1)
    for xid, (count, last_unix) in sorted(gpu.xids.items()):
        of_xid = (*labels, str(xid), classify(xid).value)
        yield Sample(family=names.GPU_XID_ERRORS, labels=of_xid, value=count)
        if count:
            yield Sample(family=names.GPU_XID_LAST, labels=of_xid, value=last_unix)
    for (reading, why), count in sorted(gpu.gate.num_rejected.items()):
        yield Sample(family=names.EXPORTER_REJECTED, labels=(*labels, reading, why.value), value=count)


def _table(table: tuple[tuple[Metric, str], ...], source: object, labels: Labels) -> Iterator[Sample]:
    for family, attribute in table:
        value = getattr(source, attribute)
        if value is not None:
            yield Sample(family=family, labels=labels, value=int(value) if isinstance(value, bool) else value)


def _tables_by_label(table: tuple[tuple[Metric, str], ...], source: object, labels: Labels) -> Iterator[Sample]:
    for family, attribute in table:
        values: Mapping[str, float] = getattr(source, attribute)
        for key, value in values.items():
            yield Sample(family=family, labels=(*labels, key), value=value)


def _fast(reading: FastReading, labels: Labels) -> Iterator[Sample]:
    yield from _table(_FAST, reading, labels)
    yield from _tables_by_label(_FAST_BY_LABEL, reading, labels)


def _slow(reading: SlowReading, labels: Labels) -> Iterator[Sample]:
    yield from _table(_SLOW, reading, labels)
    yield from _tables_by_label(_SLOW_BY_LABEL, reading, labels)
    for fan, ratio in enumerate(reading.fan_ratios):
        yield Sample(family=names.GPU_FAN_SPEED, labels=(*labels, str(fan)), value=ratio)
    if reading.processes is not None:
        yield Sample(family=names.GPU_PROCESSES, labels=labels, value=len(reading.processes))
    for instance in reading.mig_instances:
        identity = (
            *labels,
            instance.uuid,
            instance.profile,
            str(instance.gpu_instance),
            str(instance.compute_instance),
        )
        yield Sample(family=names.GPU_MIG_INFO, labels=identity, value=1)
        if instance.memory_used_bytes is not None and instance.memory_total_bytes is not None:
            of_instance = (*labels, instance.uuid)
            yield Sample(family=names.GPU_MIG_MEMORY_USED, labels=of_instance, value=instance.memory_used_bytes)
            yield Sample(family=names.GPU_MIG_MEMORY_TOTAL, labels=of_instance, value=instance.memory_total_bytes)


def _heat(gpu: GpuState, labels: Labels) -> Iterator[Sample]:
    margin = gpu.margin_celsius
    if margin is not None:
        yield Sample(family=names.GPU_THERMAL_MARGIN, labels=labels, value=margin)
    for limit, celsius in gpu.limits_celsius.items():
        yield Sample(family=names.GPU_TEMPERATURE_LIMIT, labels=(*labels, limit), value=celsius)


def _throttling(gpu: GpuState, reading: FastReading, labels: Labels) -> Iterator[Sample]:
    bits = reading.throttle_bits
    for reason, bit in THROTTLE_BITS.items():
        of_reason = (*labels, reason)
        if bits is not None:
            yield Sample(family=names.GPU_THROTTLED, labels=of_reason, value=int(bool(bits & bit)))
        if reason in gpu.throttled_seconds:
            yield Sample(
                family=names.GPU_THROTTLED_SECONDS, labels=of_reason, value=round(gpu.throttled_seconds[reason], 6)
            )


def _window(gpu: GpuState, labels: Labels, now_monotonic: float, window_seconds: float) -> Iterator[Sample]:
    window = gpu.window.statistics(now_monotonic, window_seconds)
    quantities: tuple[tuple[Metric, Statistics | None], ...] = (
        (names.GPU_WINDOW_TEMPERATURE, window.temperature_celsius),
        (names.GPU_WINDOW_MARGIN, window.margin_celsius),
        (names.GPU_WINDOW_POWER, window.power_watts),
        (names.GPU_WINDOW_UTILIZATION, window.utilization_ratio),
    )
    for family, statistics in quantities:
        if statistics is None:
            continue
        yield Sample(family=family, labels=(*labels, "min"), value=statistics.minimum)
        yield Sample(family=family, labels=(*labels, "max"), value=statistics.maximum)
        yield Sample(family=family, labels=(*labels, "mean"), value=round(statistics.mean, 6))


def age_samples(
    fleet: Fleet, times: Mapping[str, tuple[Labels, float]], node: str, now_monotonic: float, window_seconds: float
) -> Iterator[Sample]:
    """Yield what is only known at the moment of the scrape: how old everything is, and what hangs for how long.

    Args:
        fleet: The GPUs.
        times: What ``reading_times`` gave when the page was rendered.
        node: Value of the label ``node``.
        now_monotonic: The moment of the scrape.
        window_seconds: Length of the scrape window.

    Returns:
        Samples of the families on ages, the window and calls that hang.
    """
    ages = {labels: max(now_monotonic - taken_at, 0.0) for labels, taken_at in times.values()}
    if ages:
        yield Sample(family=names.EXPORTER_SNAPSHOT_AGE, labels=(), value=round(min(ages.values()), 4))
    yield Sample(family=names.EXPORTER_WINDOW, labels=(), value=round(window_seconds, 3))
    for labels, age in ages.items():
        yield Sample(family=names.GPU_READING_AGE, labels=(*labels, node), value=round(age, 4))
    for gpu in fleet.gpus.values():
        call = gpu.stuck_call
        if call is not None:
            stuck_seconds = round(max(now_monotonic - call.since_monotonic, 0.0), 3)
            yield Sample(
                family=names.EXPORTER_CALL_STUCK, labels=(*gpu_labels(gpu, node), call.call), value=stuck_seconds
            )
