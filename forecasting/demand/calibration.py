"""Corrects quantile levels by how often they were met, per horizon, apart for calm and surge.

Adaptive conformal inference in the space of levels: each time a truth lands above a quantile the level that is read
for it rises a little, each time below it sinks, so that in the long run a P90 covers nine in ten whatever the model.
The forecaster scores every few forecasts and asks for the corrections. Pure and bounded.
"""

from __future__ import annotations

import numpy as np

from forecasting.demand.settings import ForecastSettings
from forecasting.types import Calibration, FloatArray

ANCHOR_LEVELS = np.array([0.05, 0.1, 0.5, 0.9, 0.95, 0.99])
"""Levels that are scored; corrections of others are interpolated."""

_ROOM = np.minimum(ANCHOR_LEVELS, 1.0 - ANCHOR_LEVELS) * 0.8
"""How far a level may be corrected outwards; four times as far inwards."""

_NEVER = -(10**9)  # The index of an origin that has not been.
_REPORTED = 3  # The P90.
_LEAST_LEVEL, _GREATEST_LEVEL = 0.002, 0.998


class LevelCorrection:
    """Tracks coverage and the corrections that bring it home."""

    def __init__(self, settings: ForecastSettings) -> None:
        """Start without corrections."""
        self._stride = settings.calibration_stride
        self._steps = np.asarray(settings.scored_horizons, dtype=np.int64)
        self._columns = np.arange(self._steps.size)
        # Which horizons had a remembered origin, by the remainder of the index; most steps have one or none.
        remainders = (np.arange(self._stride)[:, None] - self._steps) % self._stride
        self._due = [np.flatnonzero(row == 0) for row in remainders]
        depth = settings.scored_horizons[-1] // self._stride + 2
        self._quantiles = np.zeros((depth, ANCHOR_LEVELS.size, self._steps.size), dtype=np.float32)
        self._index = np.full(depth, _NEVER, dtype=np.int64)
        self._in_surge = np.zeros(depth, dtype=np.int64)
        # An error at P99 is rarer than at P50, so the step shrinks with the variance of a hit.
        self._gain = (settings.calibration_gain * 4.0 * ANCHOR_LEVELS * (1.0 - ANCHOR_LEVELS))[:, None]
        self._correction = np.zeros((2, ANCHOR_LEVELS.size, self._steps.size))
        self._num_scored = np.zeros(2, dtype=np.int64)
        self._num_covered = 0

    def is_due(self, index: int) -> bool:
        """Return whether the forecast after interval ``index`` is to be remembered."""
        return index % self._stride == 0

    def remember(self, index: int, quantiles: FloatArray, *, in_surge: bool) -> None:
        """Keep a forecast until its truth arrives.

        Args:
            index: The interval after which it was made.
            quantiles: Counts at the anchor levels, shape ``(num_anchors, num_horizons)``.
            in_surge: Whether it was made in a surge.
        """
        row = (index // self._stride) % self._index.size
        self._quantiles[row] = quantiles
        self._index[row] = index
        self._in_surge[row] = int(in_surge)

    def score(self, index: int, count: float) -> None:
        """Score what was said about interval ``index``."""
        columns = self._due[index % self._stride]
        if not columns.size:
            return
        origins = index - self._steps[columns]
        rows = (origins // self._stride) % self._index.size
        ready = self._index[rows] == origins
        columns, rows = columns[ready], rows[ready]
        if not columns.size:
            return
        pools = self._in_surge[rows]
        covered = count <= self._quantiles[rows, :, columns]
        moved = self._correction[pools, :, columns] + self._gain[:, 0] * (ANCHOR_LEVELS - covered)
        self._correction[pools, :, columns] = np.minimum(np.maximum(moved, -4.0 * _ROOM), _ROOM)
        if columns[0] == 0:
            self._num_scored[pools[0]] += 1
            self._num_covered += int(covered[0, _REPORTED])

    def num_scored(self, *, in_surge: bool) -> int:
        """Return how many forecasts of the next step were scored in calm or in surges."""
        return int(self._num_scored[int(in_surge)])

    def levels(self, wanted: FloatArray, *, in_surge: bool) -> FloatArray:
        """Return the levels to read, shape ``(num_levels, num_horizons)``, for the levels wanted."""
        corrections = self._correction[int(in_surge)]
        corrected = np.stack(
            [wanted + np.interp(wanted, ANCHOR_LEVELS, corrections[:, column]) for column in self._columns], axis=1
        )
        bounded: FloatArray = np.clip(corrected, _LEAST_LEVEL, _GREATEST_LEVEL)
        return bounded

    def report(self) -> Calibration:
        """Return how often the P90 of the next step was met."""
        scored = int(self._num_scored.sum())
        return Calibration(nominal=0.9, observed=self._num_covered / scored if scored else None, num_scored=scored)
