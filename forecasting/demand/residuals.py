"""How wrong forecasts were: histograms of scaled residuals that forget slowly.

The pool keeps one histogram per expert, scale and horizon and reads quantiles from it. A histogram costs two hundred
bytes and one addition per residual, where a window of two thousand residuals would cost eight kilobytes and a sort.
Pure and bounded.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from forecasting.types import FloatArray

_HALF_RANGE = 8.0
_CENTRE = 0.1
_LEAST_WEIGHT = 4
"""Weight of a new residual just after the old ones were halved; it grows to twice that, so that integers suffice."""

_ARE_SMALL = np.iinfo(np.uint16).max


class ResidualHistograms:
    """Histograms on an inverse-hyperbolic-sine grid: fine near zero, coarse in the tails, up to 150 scales wide."""

    def __init__(self, *, shape: tuple[int, ...], num_bins: int, memory: float) -> None:
        """Start empty.

        Args:
            shape: Shape of the residuals that will come.
            num_bins: Bins of each histogram.
            memory: Additions after which a residual counts 1/e.
        """
        # A new residual weighs at most eight, and all that is remembered weighs at most eight times the memory.
        small = 2 * _LEAST_WEIGHT * memory <= _ARE_SMALL
        self._counts = np.zeros((*shape, num_bins), dtype=np.uint16 if small else np.uint32)
        self._num_bins = num_bins
        self._half_life = max(1, round(memory * math.log(2.0)))
        self._age = 0

    def add(self, residuals: FloatArray, present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        """Add one residual to each histogram.

        Args:
            residuals: Scaled residuals, finite, of the shape given at the start.
            present: Where they count; broadcasts.
        """
        self._age += 1
        if self._age == self._half_life:
            self._counts >>= 1
            self._age = 0
        place = (np.arcsinh(residuals / _CENTRE) / (2.0 * _HALF_RANGE) + 0.5) * self._num_bins
        bins = np.minimum(np.maximum(place, 0.0), self._num_bins - 1.0).astype(np.int64)
        flat = bins.ravel() + _first_bins(bins.size, self._num_bins)
        counts = self._counts.reshape(-1)
        counts[flat] += np.broadcast_to(present, residuals.shape).ravel() * self._counts.dtype.type(self._weight)

    @property
    def _weight(self) -> int:
        """What a new residual weighs now."""
        return round(_LEAST_WEIGHT * math.pow(2.0, self._age / self._half_life))

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
        edges = _bin_edges(self._num_bins)
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
        value = edges[place] + share * (edges[place + 1] - edges[place])
        return np.where(total > 0.0, value.reshape(levels.size, *total.shape), 0.0)


@functools.lru_cache(maxsize=8)
def _bin_edges(num_bins: int) -> FloatArray:
    """Return the edges of the bins, shape ``(num_bins + 1,)``; shared by all series."""
    grid = (np.arange(num_bins + 1) / num_bins - 0.5) * 2.0 * _HALF_RANGE
    edges: FloatArray = np.sinh(grid) * _CENTRE
    edges.flags.writeable = False
    return edges


@functools.lru_cache(maxsize=8)
def _first_bins(num_histograms: int, num_bins: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return where each histogram begins among all bins, shape ``(num_histograms,)``; shared by all series."""
    first: np.ndarray[tuple[int], np.dtype[np.int64]] = np.arange(num_histograms, dtype=np.int64) * num_bins
    first.flags.writeable = False
    return first
