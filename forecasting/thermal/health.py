"""Which samples may teach the model: missing, impossible, frozen and throttled readings are told apart.

Called by the fleet model for every sample. A reading that cannot be trusted is *unknown*: it never lowers a forecast.
Cases, in the order in which they are decided:

1. power or temperature absent (NaN): missing.
2. power above 1.3 times the limit or negative, temperature outside 0..120 celsius: impossible; five in a row mean a
   broken sensor.
3. power identical to 10 mW for longer than three samples and ten seconds while the GPU is busy: frozen exporter
   (recorded once for 3188 s with plausible values; the longest such run in healthy logs was 1.1 s). Sensors that
   report whole watts repeat themselves honestly, so they need a much longer run.
4. throttled: the reading is true, but power is then a result of temperature; gains do not learn from it.
5. good.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from forecasting.thermal.settings import ThermalSettings
from forecasting.types import FloatArray

BoolArray = NDArray[np.bool_]


class SampleState(IntEnum):
    """What became of the last sample of a GPU."""

    GOOD = 0
    MISSING = 1
    IMPOSSIBLE = 2
    FROZEN = 3
    THROTTLED = 4


class SampleCheck:
    """Judges samples of many GPUs; keeps a few numbers per GPU.

    Args:
        power_limit_watts: Shape ``(num_gpus,)``, finite.
        limit_known: Where that limit is more than a guess, shape ``(num_gpus,)``.
        settings: Bounds.
    """

    def __init__(self, *, power_limit_watts: FloatArray, limit_known: BoolArray, settings: ThermalSettings) -> None:
        """Start without any past."""
        num_gpus = power_limit_watts.size
        self._settings = settings
        self._believable_power_watts = np.where(
            limit_known, settings.maximum_power_ratio * power_limit_watts, settings.largest_power_watts
        )
        self._busy_power_watts = settings.busy_power_ratio * power_limit_watts
        self._power = np.full(num_gpus, np.nan)
        self._run_seconds = np.zeros(num_gpus)
        self._run_samples = np.zeros(num_gpus, dtype=np.int32)
        self._fractional = np.zeros(num_gpus, dtype=np.bool_)
        self._impossible = np.zeros(num_gpus, dtype=np.int32)
        self.state: NDArray[np.int8] = np.full(num_gpus, SampleState.MISSING, dtype=np.int8)

    @property
    def sensor_alert(self) -> BoolArray:
        """True where impossible readings came many times in a row, shape ``(num_gpus,)``."""
        return np.asarray(self._impossible >= self._settings.sensor_alert_samples)

    def judge(
        self,
        *,
        elapsed_seconds: float,
        temperature: FloatArray,
        power_watts: FloatArray,
        utilization_ratio: FloatArray | None,
        throttled: BoolArray | None,
    ) -> None:
        """Decide about one sample of every GPU; the verdict is in ``state``.

        Args:
            elapsed_seconds: Since the last sample; NaN for the first.
            temperature: Celsius, shape ``(num_gpus,)``.
            power_watts: Shape ``(num_gpus,)``.
            utilization_ratio: Shape ``(num_gpus,)``, or None.
            throttled: Shape ``(num_gpus,)``, or None.
        """
        settings = self._settings
        missing = ~(np.isfinite(temperature) & np.isfinite(power_watts))
        with np.errstate(invalid="ignore"):
            impossible = (power_watts < 0.0) | (power_watts > self._believable_power_watts)
            impossible |= temperature < settings.minimum_temperature_celsius
            impossible |= temperature > settings.maximum_temperature_celsius
        self._impossible = np.where(impossible, self._impossible + 1, np.where(missing, self._impossible, 0))
        frozen = self._frozen(elapsed_seconds, power_watts, utilization_ratio)
        state = np.full(temperature.shape, SampleState.GOOD, dtype=np.int8)
        if throttled is not None:
            state[np.asarray(throttled, dtype=np.bool_)] = SampleState.THROTTLED
        state[frozen] = SampleState.FROZEN
        state[missing] = SampleState.MISSING
        state[impossible] = SampleState.IMPOSSIBLE
        self.state = state

    def _frozen(
        self,
        elapsed_seconds: float,
        power_watts: FloatArray,
        utilization_ratio: FloatArray | None,
    ) -> BoolArray:
        """Count runs of identical power and return where they are too long to be true."""
        settings = self._settings
        with np.errstate(invalid="ignore"):
            same = np.abs(power_watts - self._power) < settings.frozen_power_watts
            self._fractional |= np.abs(power_watts - np.round(power_watts)) > settings.frozen_power_watts
        step = elapsed_seconds if np.isfinite(elapsed_seconds) else 0.0
        self._run_seconds = np.where(same, self._run_seconds + step, 0.0)
        self._run_samples = np.where(same, self._run_samples + 1, 0).astype(np.int32)
        self._power = np.where(np.isfinite(power_watts), power_watts, self._power)
        with np.errstate(invalid="ignore"):
            busy = power_watts > self._busy_power_watts
        if utilization_ratio is not None:
            busy = np.where(np.isfinite(utilization_ratio), utilization_ratio > settings.busy_utilization_ratio, busy)
        samples = np.where(self._fractional, settings.frozen_samples, settings.frozen_whole_watt_samples)
        seconds = np.where(self._fractional, settings.frozen_seconds, settings.frozen_whole_watt_seconds)
        frozen: BoolArray = busy & (self._run_samples > samples) & (self._run_seconds > seconds)
        return frozen
