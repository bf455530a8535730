"""What the sign-ups so far, and those to come, are going to ask for.

The expert bank uses it as one more expert where sign-ups are known. The kernel (requests per sign-up by age) is a
sum of exponentials, so that a cohort needs no list of its members: four running sums per series stand for all users
within the kernel's memory. Pure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from forecasting.capacity import CohortKernel
from forecasting.demand.levels import TINY, Levels
from forecasting.demand.settings import ForecastSettings
from forecasting.types import FloatArray

_NUM_FIT_POINTS = 200
_RECENT_SECONDS = 300.0
"""Memory of the level that a surge is extrapolated from, where the step is short."""


@functools.lru_cache(maxsize=64)
def exponential_kernel(kernel: CohortKernel, *, step_seconds: float) -> tuple[FloatArray, FloatArray]:
    """Approximate a kernel by decaying exponentials.

    Args:
        kernel: Requests per sign-up by age.
        step_seconds: Length of an interval, > 0.

    Returns:
        Requests per sign-up and step at age zero, >= 0, and decay per step in (0, 1), both of shape
        ``(num_terms,)``; the terms together make ``requests_per_signup`` requests.
    """
    constants = np.geomspace(kernel.first_session_seconds, kernel.memory_seconds / 2.0, 4)
    ages = np.geomspace(kernel.first_session_seconds / 20.0, kernel.memory_seconds, _NUM_FIT_POINTS)
    shares = -np.expm1(-ages[:, None] / constants) / -np.expm1(-kernel.memory_seconds / constants)
    truth = kernel.used_ratio(ages)
    weights = np.full(constants.size, 1.0 / constants.size)
    for _ in range(500):  # Multiplicative updates keep the weights non-negative and converge slowly but surely.
        weights *= (shares.T @ truth) / np.maximum(shares.T @ (shares @ weights), TINY)
    weights *= kernel.requests_per_signup / weights.sum()
    decay = np.exp(-step_seconds / np.maximum(constants, step_seconds / 20.0))
    return _shared(weights * (1.0 - decay)), _shared(decay)


@functools.lru_cache(maxsize=64)
def _responses(
    kernel: CohortKernel, step_seconds: float, horizons: tuple[int, ...]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what all series of one step and kernel share.

    Returns:
        Decay of each term to each horizon, shape ``(num_terms, num_horizons)``; the steps up to the last horizon, shape
        ``(num_steps,)``; the share of a sign-up at step k that is asked for at horizon h, which is decay ** (h - k)
        where k <= h, shape ``(num_horizons, num_steps)``.
    """
    weights, decay = exponential_kernel(kernel, step_seconds=step_seconds)
    ahead = np.asarray(horizons, dtype=np.float64)
    steps = np.arange(1.0, ahead[-1] + 1.0)
    lag = ahead[:, None] - steps
    response = np.where(lag >= 0.0, 1.0, 0.0) * np.einsum(
        "t,thk->hk", weights, decay[:, None, None] ** np.maximum(lag, 0.0)
    )
    return _shared(decay[:, None] ** ahead), _shared(steps), _shared(response)


def _shared(values: FloatArray) -> FloatArray:
    values.flags.writeable = False
    return values


class SignupCohorts:
    """Turns sign-ups into the requests that they will make, corrected by the requests that are being made."""

    def __init__(self, *, step_seconds: float, settings: ForecastSettings) -> None:
        """Start without users."""
        self._kernel = settings.kernel
        self._weights, self._decay = exponential_kernel(settings.kernel, step_seconds=step_seconds)
        self._sums = np.zeros(self._weights.size)
        self.levels = Levels(settings)
        self._recent = 0.0
        self._recent_gain = min(0.5, -math.expm1(-step_seconds / _RECENT_SECONDS))
        self._num_horizons = len(settings.scored_horizons)
        self._powers, self._steps, self._response = _responses(settings.kernel, step_seconds, settings.scored_horizons)

    def observe(self, signups: float) -> None:
        """Take the sign-ups of one interval; a missing count is taken to be at the present level."""
        missing = np.isnan(signups)
        if not missing:
            self.levels.observe(signups)
            self._recent += self._recent_gain * (signups - self._recent)
        elif self.levels.num_observed == 0:
            return
        self._sums = self._sums * self._decay + (self.levels.fast if missing else signups)

    def forecast(self, requests: float) -> FloatArray:
        """Return the requests expected, scaled so that the kernel explains the present level.

        Args:
            requests: The present level of requests.

        Returns:
            Counts, shape ``(num_horizons,)``; NaN while no sign-ups are known.
        """
        forecast: FloatArray = requests * self._ratio(self.levels.trend(self._steps))
        return forecast

    def growth(self, log_growth: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Return what requests multiply by if sign-ups grow from their present level as told.

        Args:
            log_growth: Returns the logarithm of the growth of sign-ups by steps ahead, shape ``(num_steps,)``.

        Returns:
            Factors, >= 0, shape ``(num_horizons,)``; NaN while no sign-ups are known.
        """
        return self._ratio(self._recent * np.exp(log_growth(self._steps)))

    def reason(self, requests: float) -> str:
        """Return the kernel's factors and how its requests compare with those made, in words.

        Args:
            requests: The present level of requests per step.
        """
        kernel, explained = self._kernel, float(self._weights @ self._sums)
        beyond = max(requests - explained, 0.0)
        ratio = f", ratio {requests / explained:.3g}" if explained > TINY else ""
        return (
            f"kernel: {kernel.requests_per_signup:.4g} requests per sign-up, {kernel.first_session_ratio:.0%} of them"
            f" in a first session of {kernel.first_session_seconds:.4g} s, retention falling as age ** -"
            f"{kernel.retention_exponent:.3g}; the sign-ups seen explain {explained:.6g} of {requests:.6g} requests"
            f" per step{ratio}, baseline users the other {beyond:.6g}"
        )

    def _ratio(self, path: FloatArray) -> FloatArray:
        """Return requests at the horizons over those of now, for sign-ups that follow a path of shape (num_steps,)."""
        if self.levels.num_observed < 3:
            return np.full(self._num_horizons, np.nan)
        now = float(self._weights @ self._sums)
        ahead = (self._weights * self._sums) @ self._powers + self._response @ path
        ratio: FloatArray = np.minimum(np.maximum(ahead / max(now, TINY), 0.0), 30.0)
        return ratio
