"""Joins the experts at the level of quantiles, by how well each did lately at the P90.

The forecaster hands over every expert's point forecasts; the pool waits for the truth, keeps each expert's scaled
errors per horizon, and answers with a weighted mean of the experts' empirical quantiles. Pure and bounded.
"""

from __future__ import annotations

import numpy as np

from forecasting.demand.settings import ForecastSettings
from forecasting.types import FloatArray

_WEIGHT_LEVEL = 0.9


class QuantilePool:
    """Scores experts and mixes their quantiles."""

    def __init__(self, *, num_experts: int, settings: ForecastSettings) -> None:
        """Start with equal weights and no errors.

        Args:
            num_experts: Rows of the forecasts that will come.
            settings: The constants.
        """
        self._settings = settings
        self.horizons = np.asarray(settings.scored_horizons, dtype=np.int64)
        num_horizons = self.horizons.size
        depth = int(self.horizons[-1]) + 1
        self._pending = np.full((depth, num_experts, num_horizons), np.nan)
        self._pending_scale = np.full(depth, np.nan)
        self._errors = np.full((settings.residual_window, num_experts, num_horizons), np.nan, dtype=np.float32)
        self._offset = np.zeros((num_experts, num_horizons))
        self._loss = np.zeros((num_experts, num_horizons))
        self._loss_weight = np.zeros(num_horizons)
        self.num_scored = np.zeros(num_horizons, dtype=np.int64)
        self._num_truths = 0

    def remember(self, index: int, points: FloatArray, scale: float) -> None:
        """Keep the forecasts that were made after interval ``index`` until their truth arrives.

        Args:
            index: The last observed interval.
            points: Counts, shape ``(num_experts, num_horizons)``.
            scale: Counts that an error of one means, > 0.
        """
        row = index % self._pending.shape[0]
        self._pending[row] = points
        self._pending_scale[row] = scale

    def score(self, index: int, value: float) -> None:
        """Score the forecasts whose target is interval ``index``.

        Args:
            index: The interval that has just been observed.
            value: Its count, >= 0.
        """
        columns = np.arange(self.horizons.size)
        rows = (index - self.horizons) % self._pending.shape[0]
        made = (self.horizons <= index) & np.isfinite(self._pending_scale[rows])
        errors = (value - self._pending[rows, :, columns].T) / self._pending_scale[rows]
        self._keep(errors, made & np.isfinite(errors).any(axis=0))
        if self._num_truths % self._settings.refresh_steps == 0:
            self._refresh_offsets()
        self._num_truths += 1

    def _keep(self, errors: FloatArray, made: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        excess = errors - self._offset
        loss = np.where(excess > 0.0, _WEIGHT_LEVEL * excess, (_WEIGHT_LEVEL - 1.0) * excess)
        keep = 1.0 - 1.0 / self._settings.loss_memory_steps
        self._loss_weight = np.where(made, keep * self._loss_weight + 1.0, self._loss_weight)
        gain = np.where(made, 1.0 / np.maximum(self._loss_weight, 1.0), 0.0)
        self._loss += gain * np.where(np.isfinite(loss), loss - self._loss, 0.0)
        slots = (self.num_scored % self._errors.shape[0])[made]
        columns = np.flatnonzero(made)
        self._errors[slots, :, columns] = errors[:, columns].T
        self.num_scored[made] += 1

    def _refresh_offsets(self) -> None:
        self._offset = self._error_quantiles(np.array([_WEIGHT_LEVEL]))[0]

    def _error_quantiles(self, levels: FloatArray) -> FloatArray:
        filled = int(min(self.num_scored.max(initial=0), self._errors.shape[0]))
        if filled == 0:
            return np.zeros((levels.size, *self._offset.shape))
        ordered = np.sort(self._errors[:filled], axis=0)  # NaN sorts last.
        num_valid = np.sum(np.isfinite(ordered), axis=0)
        # The conformal rank: with n errors the level q is the ceil(q (n + 1))-th, interpolated.
        position = levels[:, None, None] * (num_valid + 1.0) - 1.0
        position = np.clip(position, 0.0, np.maximum(num_valid - 1.0, 0.0))
        lower = np.floor(position).astype(np.int64)
        upper = np.minimum(lower + 1, np.maximum(num_valid - 1, 0))
        fraction = position - lower
        low = np.take_along_axis(ordered, lower, axis=0)
        high = np.take_along_axis(ordered, upper, axis=0)
        between: FloatArray = np.nan_to_num(low + fraction * (high - low))
        return between

    def weights(self) -> FloatArray:
        """Return the weight of each expert at each scored horizon, shape ``(num_experts, num_horizons)``."""
        least = np.maximum(self._loss.min(axis=0, keepdims=True), 1e-9)
        raw = (np.maximum(self._loss, least) / least) ** -self._settings.weight_sharpness
        weights: FloatArray = raw / raw.sum(axis=0, keepdims=True)
        return weights

    def quantiles(self, points: FloatArray, scale: float, levels: FloatArray) -> FloatArray:
        """Return the mixed quantiles at the scored horizons.

        Args:
            points: The experts' forecasts now, shape ``(num_experts, num_horizons)``.
            scale: Counts that an error of one means, > 0.
            levels: Ascending, shape ``(num_levels,)``.

        Returns:
            Counts, shape ``(num_levels, num_horizons)``, non-decreasing along the levels, >= 0.
        """
        weights = np.where(np.isfinite(points), self.weights(), 0.0)
        weights /= np.maximum(weights.sum(axis=0, keepdims=True), 1e-12)
        own = np.nan_to_num(points) + scale * self._error_quantiles(levels)
        mixed = np.sum(weights * np.maximum(own, 0.0), axis=1)
        return np.maximum.accumulate(np.maximum(mixed, 0.0), axis=0)
