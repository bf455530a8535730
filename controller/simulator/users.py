"""The users: sign-ups along the scenario's wave, and the requests that follow from them.

New users ask most in their first minutes (the scenario's age classes); users from before ask along a daily curve.
Refused users try again some time later. A quota cuts off those who wish for more than it allows: how many that are
follows from a log-normal spread of wishes, which the planner, on purpose, does not assume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from controller.simulator.scenario import Scenario, WavePoint
from forecasting.types import FloatArray

BIN_SECONDS = 60.0
"""Resolution of a user's age."""
WISH_LOG_SPREAD = 1.0
"""Standard deviation of the logarithm of a user's wish for images a day (assumed; the planner assumes geometric)."""
_WISH_GRID = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What the users did in one step.

    Attributes:
        signups: New users a region, shape ``(num_regions,)``.
        first_attempts: New requests, shape ``(num_regions, num_tiers)``.
        retries: Requests that were refused before, same shape.
    """

    signups: FloatArray
    first_attempts: FloatArray
    retries: FloatArray


def signup_rate_per_hour(wave: tuple[WavePoint, ...], seconds: float) -> float:
    """Return the world's sign-ups per hour ``seconds`` after the start, interpolated in the logarithm."""
    times = [point.at_seconds for point in wave]
    logs = [math.log(point.signups_per_hour) for point in wave]
    return math.exp(float(np.interp(seconds, times, logs)))


def quota_served_ratio(quota: int, mean_wish: float) -> float:
    """Return the share of all wishes for images that a daily quota lets through.

    ``E[min(X, quota)] / E[X]`` for X log-normal with mean ``mean_wish`` (images a day, > 0) and
    :data:`WISH_LOG_SPREAD`, over a fixed grid of quantiles, so that no randomness is needed.
    """
    spread = WISH_LOG_SPREAD
    median = mean_wish / math.exp(spread * spread / 2.0)
    normal = NormalDist()
    wishes = [median * math.exp(spread * normal.inv_cdf((i + 0.5) / _WISH_GRID)) for i in range(_WISH_GRID)]
    return sum(min(wish, float(quota)) for wish in wishes) / sum(wishes)


class UserPopulation:
    """All users of the fleet.

    Args:
        scenario: The scenario.
        generator: Source of every random draw made here.
    """

    def __init__(self, scenario: Scenario, generator: np.random.Generator) -> None:
        """Start with the sign-ups that came before the run at the wave's first rate."""
        self._scenario = scenario
        self._generator = generator
        self._region_shares = np.array([region.share for region in scenario.regions])
        self._tier_shares = np.array([tier.share for tier in scenario.tiers])
        follows = np.array([tier.follows_signups for tier in scenario.tiers], dtype=np.float64)
        self._new_user_shares = self._tier_shares * follows / float((self._tier_shares * follows).sum())
        self._peaks_hours = np.array([region.peak_hour_utc for region in scenario.regions])
        self._kernel = _requests_per_second_by_age(scenario)
        before = signup_rate_per_hour(scenario.users.wave, 0.0) * scenario.users.scale * BIN_SECONDS / 3600.0
        # Newest bin first; older bins fall off the end, so memory stays bounded by the oldest age class.
        self._cohorts = np.outer(self._region_shares, np.full(self._kernel.shape[0], before))
        self._bin_seconds = 0.0
        self._current_bin = np.zeros_like(self._region_shares)
        self._waiting_to_retry = np.zeros((self._region_shares.size, self._tier_shares.size))

    def step(self, *, seconds: float, hour_utc: float, step_seconds: float) -> Arrivals:
        """Return what happens in one step.

        Args:
            seconds: Begin of the step, from the start.
            hour_utc: Hour of the day then, 0..24.
            step_seconds: Length of the step.

        Returns:
            Sign-ups and requests.
        """
        users = self._scenario.users
        rate = signup_rate_per_hour(users.wave, seconds) * users.scale / 3600.0
        signups = self._generator.poisson(rate * step_seconds * self._region_shares).astype(np.float64)
        self._age_cohorts(step_seconds, signups)
        baseline = users.baseline_requests_per_second * self._baseline_ratio(seconds, hour_utc)
        expected = np.outer(self._region_shares * baseline, self._tier_shares)
        expected += np.outer(self._cohorts @ self._kernel, self._new_user_shares)
        first_attempts = self._generator.poisson(expected * step_seconds).astype(np.float64)
        retries = self._waiting_to_retry * (1.0 - math.exp(-step_seconds / users.retry_delay_seconds))
        self._waiting_to_retry -= retries
        return Arrivals(signups=signups, first_attempts=first_attempts, retries=retries)

    def refuse(self, refused: FloatArray) -> None:
        """Tell the users which requests were refused, shape ``(num_regions, num_tiers)``; some will come back."""
        self._waiting_to_retry += self._scenario.users.retry_ratio * refused

    def _baseline_ratio(self, seconds: float, hour_utc: float) -> FloatArray:
        """Return the load of older users over its mean: recorded where it was, else along the day."""
        users = self._scenario.users
        if users.baseline_ratio:
            times = [point.at_seconds for point in users.baseline_ratio]
            ratios = [point.ratio for point in users.baseline_ratio]
            return np.full(self._peaks_hours.size, float(np.interp(seconds, times, ratios)))
        phase = 2.0 * np.pi * (hour_utc - self._peaks_hours) / 24.0
        ratio: FloatArray = 1.0 + users.day_amplitude_ratio * np.cos(phase)
        return ratio

    def _age_cohorts(self, step_seconds: float, signups: FloatArray) -> None:
        """Add the new users, and make everybody a bin older when a bin is full."""
        self._current_bin += signups
        self._bin_seconds += step_seconds
        if self._bin_seconds < BIN_SECONDS - 1e-9:
            return
        self._cohorts = np.roll(self._cohorts, 1, axis=1)
        self._cohorts[:, 0] = self._current_bin
        self._current_bin = np.zeros_like(self._current_bin)
        self._bin_seconds = 0.0


def _requests_per_second_by_age(scenario: Scenario) -> FloatArray:
    """Return requests per second of one user by age in bins, shape ``(num_bins,)``."""
    users = scenario.users
    num_bins = math.ceil(users.age_edges_seconds[-1] / BIN_SECONDS)
    ages = (np.arange(num_bins) + 0.5) * BIN_SECONDS
    classes = np.searchsorted(np.asarray(users.age_edges_seconds), ages, side="right")
    per_hour = np.asarray(users.requests_per_user_hour)[np.minimum(classes, len(users.requests_per_user_hour) - 1)]
    per_second: FloatArray = per_hour / 3600.0
    return per_second
