"""What a telemetry log holds, whatever its format: one series per GPU in base units.

Made by ``io``, read by the command line and by benchmarks. Holds data and reshapes it; reads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecasting.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GpuTelemetry:
    """Readings of one GPU, in time order.

    Attributes:
        gpu: Index or UUID, as the source names it.
        seconds: Unix time of each reading, strictly ascending, shape ``(num_samples,)``.
        temperature_celsius: Core temperature; NaN missing.
        power_watts: NaN missing.
        utilization_ratio: 0..1; NaN missing.
        memory_temperature_celsius: NaN missing.
        throttled: 1 while hardware or driver held the clocks down for heat, 0 not, NaN unknown.
        power_limit_watts: From the source; None if it has none.
        limit_celsius: Slowdown temperature from the source; None if it has none.
        margin_celsius: Degrees left to the first thermal intervention, 0 where software capping starts, NaN missing;
            None if the source exports no margin.
    """

    gpu: str
    seconds: FloatArray
    temperature_celsius: FloatArray
    power_watts: FloatArray
    utilization_ratio: FloatArray
    memory_temperature_celsius: FloatArray
    throttled: FloatArray
    power_limit_watts: float | None = None
    limit_celsius: float | None = None
    margin_celsius: FloatArray | None = None

    @property
    def has_margin(self) -> bool:
        """Whether any reading of the margin is there."""
        return self.margin_celsius is not None and bool(np.isfinite(self.margin_celsius).any())

    @property
    def period_seconds(self) -> float:
        """Median distance between readings; 1 s for a single reading."""
        return float(np.median(np.diff(self.seconds))) if self.seconds.size > 1 else 1.0

    def resampled(self, period_seconds: float) -> GpuTelemetry:
        """Return readings joined into bins of ``period_seconds``: last temperature, mean power.

        Bins that hold nothing do not appear: a gap stays a gap. A bin carries the time of its last reading, so no bin
        knows anything later than its own time.
        """
        if self.seconds.size == 0 or self.period_seconds >= period_seconds:
            return self
        bins = np.floor((self.seconds - self.seconds[0]) / period_seconds + 1e-9).astype(np.int64)
        starts = np.flatnonzero(np.r_[True, np.diff(bins) > 0])
        lasts = np.r_[starts[1:] - 1, bins.size - 1]
        return GpuTelemetry(
            gpu=self.gpu,
            seconds=self.seconds[lasts],
            temperature_celsius=self.temperature_celsius[lasts],
            power_watts=_bin_mean(self.power_watts, starts),
            utilization_ratio=_bin_mean(self.utilization_ratio, starts),
            memory_temperature_celsius=self.memory_temperature_celsius[lasts],
            throttled=np.maximum.reduceat(self.throttled, starts),
            power_limit_watts=self.power_limit_watts,
            limit_celsius=self.limit_celsius,
            margin_celsius=None if self.margin_celsius is None else self.margin_celsius[lasts],
        )

    def mean_power_watts(self, *, start_seconds: float, edges_seconds: FloatArray) -> tuple[FloatArray, bool]:
        """Return the mean power of each stretch between ``edges_seconds`` after ``start_seconds``.

        A reading stands for the time since the one before it. Where the log has ended, the last power goes on.

        Args:
            start_seconds: Unix time at which the first stretch begins.
            edges_seconds: Ends of the stretches, seconds after the start, ascending, shape ``(num_edges,)``.

        Returns:
            Mean powers, shape ``(num_edges,)`` (NaN without any reading), and whether the log covered all of it.
        """
        known = np.isfinite(self.power_watts)
        times, powers = self.seconds[known], self.power_watts[known]
        if times.size == 0:
            return np.full(edges_seconds.shape, np.nan), False
        energy = np.concatenate([[0.0], np.cumsum(powers[1:] * np.diff(times))])
        moments = np.concatenate([[start_seconds], start_seconds + edges_seconds])
        inside = np.interp(moments, times, energy)
        inside += np.maximum(moments - times[-1], 0.0) * powers[-1] - np.maximum(times[0] - moments, 0.0) * powers[0]
        means: FloatArray = np.diff(inside) / np.diff(moments)
        return means, bool(times[-1] >= moments[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryLog:
    """A whole log.

    Attributes:
        source: File name or URL, for messages.
        gpus: One series per GPU, in order of appearance.
        warnings: What the reader should know, in words.
    """

    source: str
    gpus: tuple[GpuTelemetry, ...]
    warnings: tuple[str, ...] = field(default=())


def _bin_mean(values: FloatArray, starts: NDArray[np.intp]) -> FloatArray:
    """Return the mean of the finite values of each bin; NaN where a bin has none."""
    finite = np.isfinite(values)
    total = np.add.reduceat(np.where(finite, values, 0.0), starts)
    count = np.add.reduceat(finite.astype(np.float64), starts)
    mean: FloatArray = np.where(count > 0.0, total / np.maximum(count, 1.0), np.nan)
    return mean
