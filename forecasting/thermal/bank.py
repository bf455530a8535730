"""The filter bank: powers become low-passed powers, one per time constant.

Called by the fleet model and by forecasts. Powers here are ratios of the power limit. Before they are filtered they
pass a fixed saturation ``s(u) = (1 + c) u - c u^2``: fans and warmer surfaces carry more heat away per degree as load
rises, so the last watts warm a GPU less than the first. ``s(0) = 0`` and ``s(1) = 1``, so the rise at the limit does
not depend on ``c``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecasting.thermal.settings import ThermalSettings
from forecasting.types import FloatArray


def saturate(ratio: FloatArray, saturation: float) -> FloatArray:
    """Return the effective power ratio; linear above the limit, so that it always rises.

    Args:
        ratio: Power over the limit, any shape, >= 0.
        saturation: Concavity ``c``, 0..1.

    Returns:
        Effective ratio, same shape.
    """
    effective: FloatArray = ratio * (1.0 + saturation * (1.0 - np.minimum(ratio, 1.0)))
    return effective


def unsaturate(effective: FloatArray, saturation: float) -> FloatArray:
    """Return the power ratio whose effective ratio is ``effective``; the inverse of :func:`saturate`.

    Args:
        effective: Effective ratio, any shape, >= 0.
        saturation: Concavity ``c``, 0..1.

    Returns:
        Power over the limit, same shape: the smaller root of ``c u^2 - (1 + c) u + e = 0``, written so that ``c = 0``
        needs no case of its own.
    """
    slope = 1.0 + saturation
    below = np.minimum(effective, 1.0)
    root = np.sqrt(slope**2 - 4.0 * saturation * below)
    ratio: FloatArray = 2.0 * below / (slope + root) + (effective - below)
    return ratio


class PowerBank:
    """Filtered powers of many GPUs.

    Args:
        num_gpus: Number of GPUs.
        settings: Time constants and saturation.
    """

    def __init__(self, *, num_gpus: int, settings: ThermalSettings) -> None:
        """Start cold and idle."""
        self._settings = settings
        self.time_constants = np.asarray(settings.time_constants_seconds)
        self.filtered: FloatArray = np.zeros((self.time_constants.size, num_gpus))
        self._mean: FloatArray = np.zeros(num_gpus)
        self._variance: FloatArray = np.zeros(num_gpus)

    @property
    def excitation(self) -> FloatArray:
        """How much the load has varied lately, 0 (constant) to 1 (enough to learn from), shape ``(num_gpus,)``."""
        gate: FloatArray = np.minimum(1.0, self._variance / self._settings.excitation_ratio**2)
        return gate

    def advance(self, elapsed_seconds: float, ratio: FloatArray) -> None:
        """Step all filters exactly through a time at constant power.

        Args:
            elapsed_seconds: The time, >= 0.
            ratio: Mean power over the limit, shape ``(num_gpus,)``.
        """
        keep = np.exp(-elapsed_seconds / self.time_constants)[:, None]
        self.filtered *= keep
        self.filtered += (1.0 - keep) * saturate(ratio, self._settings.saturation)
        share = -np.expm1(-elapsed_seconds / self._settings.excitation_seconds)
        difference = ratio - self._mean
        self._mean += share * difference
        self._variance = (1.0 - share) * (self._variance + share * difference**2)

    def settle(self, chosen: NDArray[np.bool_], ratio: FloatArray) -> None:
        """Put GPUs into the steady state of their present power; their past is unknown.

        Args:
            chosen: Which, shape ``(num_gpus,)``.
            ratio: Power over the limit, shape ``(num_gpus,)``.
        """
        self.filtered[:, chosen] = saturate(ratio, self._settings.saturation)[chosen]
        self._mean[chosen] = ratio[chosen]
        self._variance[chosen] = 0.0
