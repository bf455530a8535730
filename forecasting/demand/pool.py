"""Joins the experts at the level of quantiles, by how well each did lately.

A member of the pool is an expert together with a scale for its errors. The forecaster hands over every expert's
counts; the pool waits for the truth, keeps each member's scaled residuals per horizon, and answers with a weighted mean
of the members' quantiles. A member's weight at a level follows its recent pinball loss at the nearest of P50, P90 and
P98, because the member that has the middle right is seldom the one that has the tail right. Pure and bounded.
"""

from __future__ import annotations

import numpy as np

from forecasting.demand.experts import Expert, Outlook, Scale
from forecasting.demand.origins import OriginSlots
from forecasting.demand.residuals import ResidualHistograms
from forecasting.demand.settings import ForecastSettings
from forecasting.types import FloatArray

GRID_LEVELS = np.array(
    [0.002, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.98, 0.99, 0.995, 0.998]
)
"""Levels that the mixed distribution is held at."""

_ANCHORS = np.array([0.5, 0.9, 0.98])
_ANCHOR_ROWS = np.searchsorted(GRID_LEVELS, _ANCHORS)
_PLACE = np.interp(np.abs(GRID_LEVELS - 0.5) + 0.5, _ANCHORS, np.arange(_ANCHORS.size, dtype=np.float64))
_LOWER = np.minimum(_PLACE.astype(np.int64), _ANCHORS.size - 2)
_FRACTION = (_PLACE - _LOWER)[:, None, None, None]
_EARLY_TRUTHS = 64  # While so few truths are known, each of them changes the quantiles.
_ANCHOR_COLUMN = _ANCHORS[:, None, None, None]
_MAX_LOSS = 50.0  # In units of the mean count; one absurd reading must not decide for weeks.
_TINY = 1e-12


class QuantilePool:
    """Scores members and mixes their quantiles."""

    def __init__(self, settings: ForecastSettings) -> None:
        """Start with equal weights and no residuals."""
        self._settings = settings
        num_horizons = len(settings.scored_horizons)
        self._slots = OriginSlots(np.asarray(settings.scored_horizons, dtype=np.int64))
        shape = (len(Expert), len(Scale), num_horizons)
        self._points = np.zeros((self._slots.num_slots, len(Expert)), dtype=np.float32)
        self._scales = np.ones((self._slots.num_slots, len(Scale)), dtype=np.float32)
        self._residuals = ResidualHistograms(shape=shape, num_bins=settings.num_bins, memory=settings.residual_memory)
        self._own = np.zeros((GRID_LEVELS.size, *shape), dtype=np.float32)
        self._loss = np.zeros((_ANCHORS.size, *shape))
        self._mean = 0.0
        self._num_truths = 0
        self.num_scored = np.zeros(num_horizons, dtype=np.int64)

    def remember(self, index: int, outlook: Outlook) -> None:
        """Keep the forecasts that were made after interval ``index`` until their truth arrives."""
        slots = self._slots.at(index)
        self._points[slots] = np.where(np.isfinite(outlook.points), outlook.points, outlook.points[Expert.LAST]).T
        self._scales[slots] = outlook.scales.T
        self._slots.mark(index)

    def score(self, index: int, count: float) -> None:
        """Score the forecasts whose target is interval ``index``, whose count has just been observed."""
        slots, ready = self._slots.at(index), self._slots.are_ready(index)
        gain = max(0.002, 1.0 / (self._num_truths + 1.0))
        self._mean += gain * (count - self._mean)
        self._num_truths += 1
        if not ready[0]:
            return  # The nearest origin comes first; without it there is none.
        errors = count - self._points[slots].T.astype(np.float64)
        scales = self._scales[slots].T.astype(np.float64)
        residuals = errors[:, None, :] / np.maximum(scales, _TINY)
        self._score_members(residuals, scales, ready)
        self._residuals.add(residuals, ready)
        self.num_scored += ready
        if self._num_truths < _EARLY_TRUTHS or self._num_truths % self._settings.refresh_steps == 0:
            self._own = self._residuals.quantiles(GRID_LEVELS).astype(np.float32)

    def _score_members(
        self, residuals: FloatArray, scales: FloatArray, ready: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> None:
        excess = residuals - self._own[_ANCHOR_ROWS]
        loss = np.maximum(_ANCHOR_COLUMN * excess, (_ANCHOR_COLUMN - 1.0) * excess)
        # In units of the mean count: what counts is capacity, and a quiet night must not outvote a busy day.
        loss = np.minimum(loss * (scales / (self._mean + _TINY)), _MAX_LOSS)
        gain = np.where(ready, np.maximum(1.0 / self._settings.loss_memory, 1.0 / (self.num_scored + 1.0)), 0.0)
        self._loss += gain * (loss - self._loss)

    def weights(self) -> FloatArray:
        """Return the members' weights, shape ``(3, num_experts, num_scales, num_horizons)``, for P50, P90 and P98."""
        least = np.maximum(self._loss.min(axis=(1, 2), keepdims=True), 1e-9)
        raw = (np.maximum(self._loss, least) / least) ** -self._settings.weight_sharpness
        weights: FloatArray = raw / raw.sum(axis=(1, 2), keepdims=True)
        return weights

    def expert_shares(self) -> FloatArray:
        """Return each expert's share at the P90, shape ``(num_experts, num_horizons)``."""
        shares: FloatArray = self.weights()[1].sum(axis=1)
        return shares

    def quantiles(self, outlook: Outlook) -> FloatArray:
        """Return the mixed quantiles at the scored horizons.

        Args:
            outlook: What the experts expect now.

        Returns:
            Counts at :data:`GRID_LEVELS`, shape ``(num_levels, num_horizons)``, non-decreasing along the levels, >= 0.
        """
        speaks = np.isfinite(outlook.points)
        points = np.where(speaks, outlook.points, 0.0)
        own = np.maximum(points[:, None, :] + outlook.scales * self._own, 0.0)
        # An expert that has nothing to say must not lend its share to the one that stood in for it.
        weights = self.weights() * speaks[:, None, :]
        weights /= weights.sum(axis=(1, 2), keepdims=True)
        # The weights of a level lie between those of its neighbours among the anchors; low levels mirror high ones.
        mixed = np.einsum("gkjh,gkjh->gh", weights[_LOWER] + (weights[_LOWER + 1] - weights[_LOWER]) * _FRACTION, own)
        return np.maximum.accumulate(mixed, axis=0)
