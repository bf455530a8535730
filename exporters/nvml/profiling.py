"""Activity of engines (SM, tensor pipe, memory interface) through NVML's GPM counters, Hopper and newer.

Used by ``exporters.nvml.device``. GPM needs no privileges and no profiler; activity is what two samples differ by, so
the first reading has none. GPUs without it answer once that they have none, and are left alone.
"""

from __future__ import annotations

import time
from typing import Any

from exporters.nvml.driver import DeviceCalls, pynvml

# NVML's metric ids; values are percent.
METRICS = {"graphics": 1, "sm": 2, "sm_occupancy": 3, "tensor": 5, "dram": 10}
LEAST_INTERVAL_SECONDS = 0.9
"""Samples closer together say little; while a GPU is read faster, the last ratios stand for this long."""


class EngineActivity:
    """Reads the engines of one GPU; owns two of the driver's sample buffers."""

    def __init__(self, calls: DeviceCalls) -> None:
        """Read through ``calls``; whether the GPU can is asked at the first reading."""
        self._calls = calls
        self._is_supported: bool | None = None
        self._before: Any = None
        self._spare: Any = None
        self._sampled_at = 0.0
        self._ratios: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """Return the share of time that each engine was busy since the last sample; empty where it is not known.

        Raises:
            DeviceLostError: If the GPU is gone.
            DriverGoneError: If the driver is gone.
        """
        if self._is_supported is None:
            answer = self._calls.get("nvmlGpmQueryDeviceSupport", lambda support: bool(support.isSupportedDevice))
            self._is_supported = bool(answer)
        now = time.monotonic()
        if not self._is_supported or now - self._sampled_at < LEAST_INTERVAL_SECONDS:
            return self._ratios
        self._sampled_at = now
        buffer = self._spare if self._spare is not None else self._allocate()
        if buffer is None:
            return {}
        sample = self._calls.get("nvmlGpmSampleGet", lambda filled: filled, buffer)
        if sample is None:
            self._spare, self._ratios = buffer, {}
            return {}
        before, self._before = self._before, sample
        self._ratios = {} if before is None else self._between(before, sample)
        self._spare = before
        return self._ratios

    def _allocate(self) -> Any:
        return self._calls.run("gpm-alloc", "nvmlGpmSampleAlloc", lambda: pynvml.nvmlGpmSampleAlloc())

    def _between(self, first: Any, second: Any) -> dict[str, float]:
        request = pynvml.c_nvmlGpmMetricsGet_t()
        request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(METRICS)
        request.sample1, request.sample2 = first, second
        for position, number in enumerate(METRICS.values()):
            request.metrics[position].metricId = number
        if self._calls.run("gpm-metrics", "nvmlGpmMetricsGet", lambda: pynvml.nvmlGpmMetricsGet(request)) is None:
            return {}
        return {
            name: request.metrics[position].value / 100.0
            for position, name in enumerate(METRICS)
            if request.metrics[position].nvmlReturn == 0
        }
