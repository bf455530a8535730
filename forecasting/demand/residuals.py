"""How wrong forecasts were: histograms of scaled residuals that forget slowly.

The pool keeps one histogram per expert, scale and horizon and reads quantiles from it. A histogram costs a few hundred
bytes and one addition per residual, where a window of two thousand residuals would cost eight kilobytes and a sort.
Pure and bounded.
"""

from __future__ import annotations

import math

import numpy as np

from forecasting.types import FloatArray

_HALF_RANGE = 8.0
_CENTRE = 0.1
_RENORMALISE_AT = 1e6


class ResidualHistograms:
    """Histograms on an inverse-hyperbolic-sine grid: fine near zero, coarse in the tails, up to 150 scales wide."""

    def __init__(self, *, shape: tuple[int, ...], num_bins: int, memory: float) -> None:
        """Start empty.

        Args:
            shape: Shape of the residuals that will come.
            num_bins: Bins of each histogram.
            memory: Additions after which a residual counts 1/e.
        """
        self._counts = np.zeros((*shape, num_bins), dtype=np.float32)
        self._num_bins = num_bins
        self._growth = math.exp(1.0 / memory)
        self._weight = 1.0
        grid = (np.arange(num_bins + 1) / num_bins - 0.5) * 2.0 * _HALF_RANGE
        self._edges = np.sinh(grid) * _CENTRE
        self._rows = np.indices(shape)

    def add(self, residuals: FloatArray, present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        """Add one residual to each histogram.

        Args:
            residuals: Scaled residuals, finite, of the shape given at the start.
            present: Where they count; broadcasts.
        """
        self._weight *= self._growth
        if self._weight > _RENORMALISE_AT:
            self._counts /= self._weight
            self._weight = 1.0
        place = (np.arcsinh(residuals / _CENTRE) / (2.0 * _HALF_RANGE) + 0.5) * self._num_bins
        bins = np.clip(place, 0, self._num_bins - 1).astype(np.int64)
        self._counts[(*self._rows, bins)] += np.where(present, np.float32(self._weight), np.float32(0.0))

    def quantiles(self, levels: FloatArray) -> FloatArray:
        """Return quantiles of every histogram; zero where nothing was added.

        Args:
            levels: Shape ``(num_levels,)``, each in (0, 1).

        Returns:
            Shape ``(num_levels, *shape)``. With n residuals a level is read at the conformal rank, a little further
            out than in the sample itself.
        """
        cumulated = np.cumsum(self._counts, axis=-1, dtype=np.float64)
        total = cumulated[..., -1]
        effective = np.maximum(total / self._weight, 1e-9)
        column = levels.reshape(-1, *(1,) * total.ndim)
        edge = 0.5 / (effective + 1.0)
        wanted = np.clip(0.5 + (column - 0.5) * (1.0 + 1.0 / effective), edge, 1.0 - edge).reshape(levels.size, -1)
        # One search serves all histograms: histogram number n climbs from n to n + 1.
        climbing = cumulated.reshape(-1, self._num_bins) / np.maximum(total.reshape(-1, 1), 1e-300)
        rows = np.arange(climbing.shape[0])
        place = np.searchsorted((climbing + rows[:, None]).ravel(), (wanted + rows).ravel())
        place = np.clip(place.reshape(wanted.shape) - rows * self._num_bins, 0, self._num_bins - 1)
        upper = climbing[rows, place]
        lower = np.where(place > 0, climbing[rows, np.maximum(place - 1, 0)], 0.0)
        share = np.clip((wanted - lower) / np.maximum(upper - lower, 1e-300), 0.0, 1.0)
        value = self._edges[place] + share * (self._edges[place + 1] - self._edges[place])
        return np.where(total > 0.0, value.reshape(levels.size, *total.shape), 0.0)
