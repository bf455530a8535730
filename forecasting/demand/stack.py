"""Ridge regressions that learn online, one per horizon.

The expert bank uses one for its best point forecast and one for the size of that forecast's errors. Both forget
exponentially and are shrunk towards a prior, so that little data gives the prior. Pure and bounded.
"""

from __future__ import annotations

import math

import numpy as np

from forecasting.types import FloatArray

_REFRESH_STEPS = 8
_EARLY_REFRESHES = frozenset({2, 4, 6})


class OnlineRidge:
    """Recursive least squares with exponential forgetting, solved every few observations."""

    def __init__(self, *, prior: FloatArray, num_horizons: int, memory: float, prior_steps: float) -> None:
        """Start at the prior.

        Args:
            prior: Weights before any data, shape ``(num_features,)``.
            num_horizons: Regressions.
            memory: Observations after which one counts 1/e.
            prior_steps: Observations of unit features that the prior is worth, > 0.
        """
        self._prior = prior
        self._keep = math.exp(-1.0 / memory)
        self._prior_steps = prior_steps
        self._gram: FloatArray = np.zeros((num_horizons, prior.size, prior.size))
        self._moment = np.zeros((num_horizons, prior.size))
        self._diagonal = np.arange(prior.size)
        self._count = 0
        self.weights: FloatArray = np.repeat(prior[None, :], num_horizons, axis=0)

    def learn(self, features: FloatArray, truth: FloatArray) -> None:
        """Take one observation per horizon.

        Args:
            features: Shape ``(num_horizons, num_features)``; zeros where there is nothing to learn.
            truth: Shape ``(num_horizons,)``; zero where there is nothing to learn.
        """
        self._gram *= self._keep
        self._gram += features[:, :, None] * features[:, None, :]
        self._moment *= self._keep
        self._moment += features * truth[:, None]
        self._count += 1
        if self._count % _REFRESH_STEPS == 0 or self._count in _EARLY_REFRESHES:
            self._solve()

    def _solve(self) -> None:
        gram: FloatArray = self._gram.copy()
        gram[:, self._diagonal, self._diagonal] += self._prior_steps
        moment = self._moment + self._prior_steps * self._prior
        solved: FloatArray = np.linalg.solve(gram, moment[:, :, None])[:, :, 0].astype(np.float64)
        self.weights = solved

    def predict(self, features: FloatArray) -> FloatArray:
        """Return the predictions, shape ``(num_horizons,)``, for features ``(num_horizons, num_features)``."""
        predicted: FloatArray = np.sum(self.weights * features, axis=1)
        return predicted
