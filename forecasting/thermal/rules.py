"""The simple rule that holds its own: the highest temperature of 15 minutes against a fixed margin.

For slow ramps (a cooling failure, a hot afternoon) it measured as well as the model or better, with no false alarm, so
both are reported. Below it: how several forecasts become an alarm. Called by the command line and by benchmarks; pure,
constant memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecasting.types import FloatArray

NUM_BUCKETS = 15
"""The window moves in steps of this share of its length."""


class MaximumOverTime:
    """Highest temperature of every GPU over a sliding window.

    Args:
        num_gpus: Number of GPUs.
        window_seconds: Length of the window.
    """

    def __init__(self, *, num_gpus: int, window_seconds: float = 900.0) -> None:
        """Start without readings."""
        self._bucket_seconds = window_seconds / NUM_BUCKETS
        self._buckets: FloatArray = np.full((NUM_BUCKETS + 1, num_gpus), -np.inf)
        self._index = 0
        self._bucket_number: int | None = None

    def observe(self, *, now_seconds: float, temperature_celsius: FloatArray) -> None:
        """Take one reading of every GPU.

        Args:
            now_seconds: Time of the reading; earlier ones than before are ignored.
            temperature_celsius: Shape ``(num_gpus,)``; NaN is ignored.
        """
        if not np.isfinite(now_seconds):
            return
        number = int(now_seconds // self._bucket_seconds)
        behind = 0 if self._bucket_number is None else number - self._bucket_number
        if behind < 0:
            return
        for _ in range(min(behind, NUM_BUCKETS + 1)):
            self._index = (self._index + 1) % (NUM_BUCKETS + 1)
            self._buckets[self._index] = -np.inf
        self._bucket_number = number
        known = np.where(np.isfinite(temperature_celsius), temperature_celsius, -np.inf)
        self._buckets[self._index] = np.maximum(self._buckets[self._index], known)

    @property
    def maximum_celsius(self) -> FloatArray:
        """Highest reading of the window, shape ``(num_gpus,)``; NaN without one."""
        highest = self._buckets.max(axis=0)
        return np.where(np.isfinite(highest), highest, np.nan)

    def breached(self, limit_celsius: FloatArray, *, margin_celsius: float = 5.0) -> NDArray[np.bool_]:
        """Return where the window's maximum came close to the limit.

        Args:
            limit_celsius: Shape ``(num_gpus,)``; NaN: never breached.
            margin_celsius: How close.

        Returns:
            Shape ``(num_gpus,)``.
        """
        with np.errstate(invalid="ignore"):
            reached: NDArray[np.bool_] = self.maximum_celsius >= limit_celsius - margin_celsius
        return reached


class ConsecutiveAlarm:
    """Holds an alarm back until several forecasts in a row agree; one noisy forecast pages nobody.

    Args:
        num_gpus: Number of GPUs.
        needed: Forecasts in a row.
    """

    def __init__(self, *, num_gpus: int, needed: int = 3) -> None:
        """Start quiet."""
        self._needed = needed
        self._count: NDArray[np.int32] = np.zeros(num_gpus, dtype=np.int32)

    def observe(self, predicted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Take whether each forecast predicts a crossing and return who is flagged, shape ``(num_gpus,)``."""
        self._count = np.where(predicted, np.minimum(self._count + 1, self._needed), 0).astype(np.int32)
        flagged: NDArray[np.bool_] = self._count >= self._needed
        return flagged


class CrossingAlarm:
    """Raises an alarm for a predicted crossing, and waits for more readings where there is time to.

    Forecasts between two readings share the one reading, so their agreement says little. Cases:

    1. Fewer than ``needed`` forecasts in a row predict the crossing: quiet.
    2. As many readings in a row predict it: alarm.
    3. The awaited readings would come at least one period before the crossing is expected: wait for them.
    4. Else alarm: a reading that comes too late protects from nothing.

    Args:
        num_gpus: Number of GPUs.
        needed: Forecasts, and readings, in a row.
    """

    def __init__(self, *, num_gpus: int, needed: int = 3) -> None:
        """Start quiet."""
        self._needed = needed
        self._forecasts = ConsecutiveAlarm(num_gpus=num_gpus, needed=needed)
        self._num_readings: NDArray[np.int32] = np.zeros(num_gpus, dtype=np.int32)

    def observe(
        self,
        *,
        predicted: NDArray[np.bool_],
        expected_seconds: FloatArray,
        new_reading: bool,
        period_seconds: float,
    ) -> NDArray[np.bool_]:
        """Take one forecast and return who is flagged.

        Args:
            predicted: Whether it predicts a crossing, shape ``(num_gpus,)``.
            expected_seconds: When the crossing is expected, same shape; read only where it is predicted.
            new_reading: Whether a reading has come since the last call.
            period_seconds: Distance between readings.

        Returns:
            Shape ``(num_gpus,)``.
        """
        agreed = np.minimum(self._num_readings + int(new_reading), self._needed)
        self._num_readings = np.where(predicted, agreed, 0).astype(np.int32)
        num_awaited = self._needed - self._num_readings
        can_wait = (num_awaited > 0) & (expected_seconds > (num_awaited + 1) * period_seconds)
        flagged: NDArray[np.bool_] = self._forecasts.observe(predicted) & ~can_wait
        return flagged
