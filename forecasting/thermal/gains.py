"""Ambient and non-negative gains of every GPU: a maximum a posteriori fit, refreshed as evidence arrives.

Called by the fleet model. Evidence is a fading sum of normal equations per GPU (constant memory); the fit minimises
squared error plus the distance to a prior under ``gains >= 0``. Gains are in kelvin at the power limit, so that one
class prior serves a 75 W laptop part and a 700 W module.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecasting.thermal import linear
from forecasting.thermal.settings import ThermalSettings
from forecasting.types import FloatArray

CHUNK_GPUS = 4096
"""GPUs that are refitted at a time: bounds the memory of a refit of the whole fleet."""


class GainEstimator:
    """Normal equations and their solution for many GPUs.

    Args:
        num_gpus: Number of GPUs.
        settings: Prior and evidence constants.
    """

    def __init__(self, *, num_gpus: int, settings: ThermalSettings) -> None:
        """Start every GPU at the class prior."""
        self._settings = settings
        shares = np.asarray(settings.prior_shares)
        class_gains = np.repeat((settings.prior_rise_celsius * shares)[:, None], num_gpus, axis=1)
        size = shares.size + 1
        self.parameters: FloatArray = np.vstack([np.full(num_gpus, settings.unseen_ambient_celsius), class_gains])
        self.relative_deviation: FloatArray = np.zeros(num_gpus)
        self.evidence_seconds: FloatArray = np.zeros(num_gpus)
        self._prior_mean = self.parameters.copy()
        self._prior_precision = np.empty((size, num_gpus))
        self._matrix = np.zeros((linear.packed_size(size), num_gpus))
        self._right = np.zeros((size, num_gpus))
        self._passive: NDArray[np.bool_] = np.ones((size, num_gpus), dtype=np.bool_)
        self.set_prior(np.arange(num_gpus), class_gains)

    def set_prior(self, chosen: NDArray[np.intp], gains: FloatArray) -> None:
        """Replace the prior gains of ``chosen`` GPUs and solve again; evidence stays.

        Args:
            chosen: Indices.
            gains: Kelvin at the limit, shape ``(num_tc, num_chosen)``, >= 0.
        """
        settings = self._settings
        deviation = settings.prior_relative_deviation * gains + settings.prior_common_deviation * gains.sum(axis=0)
        self._prior_precision[0, chosen] = settings.ambient_deviation_celsius**-2.0
        self._prior_precision[1:, chosen] = np.maximum(deviation, settings.smallest_gain_deviation_celsius) ** -2.0
        self._prior_mean[1:, chosen] = gains
        self.refit(chosen)

    def set_ambient(self, chosen: NDArray[np.bool_], ambient: FloatArray) -> None:
        """Centre the ambient prior of GPUs that have no evidence yet.

        Args:
            chosen: Which, shape ``(num_gpus,)``.
            ambient: Celsius, shape ``(num_gpus,)``.
        """
        self._prior_mean[0, chosen] = ambient[chosen]
        self.parameters[0, chosen] = ambient[chosen]

    def learn(self, *, elapsed_seconds: float, gate: FloatArray, filtered: FloatArray, temperature: FloatArray) -> None:
        """Fade old evidence and add a sample.

        Args:
            elapsed_seconds: Time that the sample stands for.
            gate: Weight 0..1 per GPU; 0 neither fades nor adds. Shape ``(num_gpus,)``.
            filtered: Filtered powers, shape ``(num_tc, num_gpus)``.
            temperature: Celsius, finite where ``gate > 0``, shape ``(num_gpus,)``.
        """
        settings = self._settings
        fade = np.exp(-elapsed_seconds / settings.memory_seconds * gate)
        independent = min(1.0, elapsed_seconds / settings.evidence_seconds)
        weight = gate * independent / settings.evidence_deviation_celsius**2
        sample = np.vstack([np.ones_like(temperature), filtered])
        self._matrix *= fade
        self._right *= fade
        linear.add_outer_product(self._matrix, sample, weight)
        self._right += sample * (weight * np.where(gate > 0.0, temperature, 0.0))
        self.evidence_seconds = self.evidence_seconds * fade + gate * elapsed_seconds

    def refit(self, chosen: NDArray[np.intp]) -> None:
        """Solve again for ``chosen`` GPUs (indices), a chunk at a time."""
        for start in range(0, chosen.size, CHUNK_GPUS):
            self._refit_chunk(chosen[start : start + CHUNK_GPUS])

    def _refit_chunk(self, chosen: NDArray[np.intp]) -> None:
        """Solve for some GPUs and note how well their plateau is known."""
        matrix = self._matrix[:, chosen]
        precision = self._prior_precision[:, chosen]
        size = precision.shape[0]
        for row in range(size):
            matrix[linear.packed_index(row, row)] += precision[row]
        right = self._right[:, chosen] + precision * self._prior_mean[:, chosen]
        parameters, passive = linear.solve_non_negative(matrix, right, self._passive[:, chosen])
        self.parameters[:, chosen] = parameters
        self._passive[:, chosen] = passive
        direction = np.ones((size, chosen.size))
        direction[0] = 0.0
        whitened = linear.solve_lower(linear.cholesky(matrix, size), direction)
        plateau_deviation = np.sqrt(np.sum(whitened**2, axis=0))
        total = np.maximum(parameters[1:].sum(axis=0), self._settings.smallest_rise_celsius)
        self.relative_deviation[chosen] = np.minimum(plateau_deviation / total, 1.0)
