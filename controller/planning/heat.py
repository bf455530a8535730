"""The planner's thermal model: a pool's margin under a path of load, for all pools of a region at once.

The linear bank of the thermal model, ``T = offset + sum_k gain_k x_k``, with each ``x_k`` relaxing exactly towards the
power of the step. The bank is linear, so a path's effect is one product with the step response: a watt during one step
leaves ``1 - exp(-dt / tau)`` of itself in a filter, and ``exp(-n dt / tau)`` of that is left ``n`` steps later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from controller.types import PoolThermal
from forecasting.types import FloatArray

TREND_MEMORY_SECONDS = 900.0
"""A drift of the room is carried on, damped with this time constant (as in the thermal model)."""
FALLBACK_TIME_CONSTANTS_SECONDS = (5.0, 110.0)
"""Die and heat sink of a measured H100-class node; used where a pool has no fitted response."""
FALLBACK_GAINS_CELSIUS_PER_WATT = (0.036, 0.024)
"""The same node's rise per watt, 60 % of it at the die."""
_MAX_KERNELS = 64
_TINY = 1e-12
"""Keeps the division by the response of a pool that does not warm up finite."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeatBank:
    """The thermal response of some pools on the plan's grid.

    Attributes:
        idle_margin_celsius: Margin at the end of each step if the pools did nothing, shape ``(num_pools, num_steps)``.
        response_celsius: Rise at the end of step ``j`` per unit of load in step ``i``, shape
            ``(num_pools, num_steps, num_steps)``; zero below the diagonal of time.
    """

    idle_margin_celsius: FloatArray
    response_celsius: FloatArray

    def margin_celsius(self, load_ratio: FloatArray) -> FloatArray:
        """Return the lowest margin over the pools at the end of each step.

        Args:
            load_ratio: Share of the GPUs' time at work, shape ``(num_courses, num_steps)``; any length up to the
                bank's.

        Returns:
            Margin, same shape.
        """
        num_steps = load_ratio.shape[1]
        rise = np.matmul(load_ratio, self.response_celsius[:, :num_steps, :num_steps])
        margins = self.idle_margin_celsius[:, None, :num_steps] - rise
        lowest: FloatArray = margins.min(axis=0)
        return lowest

    def bearable_load(self, load_ratio: FloatArray, *, margin_celsius: float) -> FloatArray:
        """Return a wish for load, cut step by step to what keeps a margin.

        Greedy in time, as limits are: no step saves heat for a later one.

        Args:
            load_ratio: Wished share of the GPUs' time, shape ``(num_courses, num_steps)``, >= 0.
            margin_celsius: Margin to keep at the end of each step.

        Returns:
            Load, 0..1, same shape.
        """
        borne = np.zeros_like(load_ratio)
        for step in range(load_ratio.shape[1]):
            past = borne[:, :step] @ self.response_celsius[:, :step, step].T
            room = self.idle_margin_celsius[:, step] - margin_celsius - past
            per_load = np.maximum(self.response_celsius[:, step, step], _TINY)
            most = np.clip((room / per_load).min(axis=1), 0.0, 1.0)
            borne[:, step] = np.minimum(load_ratio[:, step], most)
        return borne


def heat_bank(thermals: tuple[PoolThermal, ...], *, num_steps: int, step_seconds: float) -> HeatBank | None:
    """Return the bank of some pools; None without any.

    Args:
        thermals: Response of each pool.
        num_steps: Longest horizon, in steps.
        step_seconds: Length of a step, > 0.

    Returns:
        The bank.
    """
    if not thermals:
        return None
    ages = np.arange(num_steps)
    lag = ages[None, :] - ages[:, None]
    damped_seconds = TREND_MEMORY_SECONDS * -np.expm1(-(ages + 1) * step_seconds / TREND_MEMORY_SECONDS)
    impulses = np.empty((len(thermals), num_steps))
    idle = np.empty((len(thermals), num_steps))
    for row, thermal in enumerate(thermals):
        kept = _kept_shares(thermal.time_constants_seconds, num_steps, step_seconds)
        gains = np.asarray(thermal.gains_celsius_per_watt)
        impulse = kept[:-1] @ (gains * (1.0 - kept[1]))
        # A room that warms up is carried on; one that cools down is believed when it has.
        offset = thermal.offset_celsius + max(thermal.offset_trend_celsius_per_second, 0.0) * damped_seconds
        decay = kept[1:] @ (gains * np.asarray(thermal.filtered_power_watts))
        idle_rise = thermal.idle_power_watts * np.cumsum(impulse)
        idle[row] = thermal.limit_celsius - offset - decay - idle_rise
        impulses[row] = (thermal.busy_power_watts - thermal.idle_power_watts) * impulse
    response = np.where(lag >= 0, impulses[:, np.maximum(lag, 0)], 0.0)
    return HeatBank(idle_margin_celsius=idle, response_celsius=response)


@lru_cache(maxsize=_MAX_KERNELS)
def _kept_shares(time_constants_seconds: tuple[float, ...], num_steps: int, step_seconds: float) -> FloatArray:
    """Return what is left of each filter after 0 to ``num_steps`` steps, ``(num_steps + 1, num_time_constants)``."""
    ages = np.arange(num_steps + 1)[:, None] * step_seconds
    kept: FloatArray = np.exp(-ages / np.asarray(time_constants_seconds))
    kept.flags.writeable = False
    return kept


def fallback_thermal(
    margin_celsius: float, power_watts: float, *, idle_power_watts: float, busy_power_watts: float
) -> PoolThermal:
    """Return a response for a pool whose model is missing but whose margin is seen.

    It stands at the seen margin and answers to load like the measured class; only differences from the limit count, so
    the limit is put at zero.

    Args:
        margin_celsius: Margin at a low quantile of the pool.
        power_watts: Mean power of a GPU now.
        idle_power_watts: Power of a GPU without work.
        busy_power_watts: Power of a GPU that is fully used.

    Returns:
        The response.
    """
    rise = sum(FALLBACK_GAINS_CELSIUS_PER_WATT) * power_watts
    return PoolThermal(
        time_constants_seconds=FALLBACK_TIME_CONSTANTS_SECONDS,
        gains_celsius_per_watt=FALLBACK_GAINS_CELSIUS_PER_WATT,
        filtered_power_watts=(power_watts,) * len(FALLBACK_GAINS_CELSIUS_PER_WATT),
        offset_celsius=-margin_celsius - rise,
        offset_trend_celsius_per_second=0.0,
        limit_celsius=0.0,
        idle_power_watts=idle_power_watts,
        busy_power_watts=busy_power_watts,
    )
