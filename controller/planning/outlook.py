"""Rolls one region forward under many courses of action at once.

Called by :mod:`controller.planning.region`; arrays are ``(num_courses, ...)`` so that the search costs a few
milliseconds. The thermal part is the linear bank of the thermal model, ``T = offset + sum_k gain_k x_k``, with each
``x_k`` relaxing exactly towards the power of the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.types import PoolThermal
from forecasting.types import FloatArray

TREND_MEMORY_SECONDS = 900.0
"""A drift of the room is carried on, damped with this time constant (as in the thermal model)."""
QUEUE_BOUND_SECONDS = 60.0
"""Work beyond this many seconds of capacity is counted as unserved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOutlook:
    """One pool as the roll-forward needs it.

    Attributes:
        thermal: Its thermal response; None when unknown.
        gpus_per_node: GPUs on a node.
        serving_nodes: Nodes that serve in each step without further orders, shape ``(num_steps,)``.
    """

    thermal: PoolThermal | None
    gpus_per_node: int
    serving_nodes: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Courses:
    """Courses of action for one region.

    Attributes:
        admitted_before: Share of each tier admitted until the flags arrive, shape ``(num_courses, num_tiers)``.
        admitted_after: The same afterwards, shape ``(num_courses, num_tiers)``.
        delay_steps: Steps until the flags arrive.
        extra_nodes: Nodes that serve in each step beyond those known, shape ``(num_courses, num_pools, num_steps)``.
    """

    admitted_before: FloatArray
    admitted_after: FloatArray
    delay_steps: int
    extra_nodes: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What each course leads to.

    Attributes:
        margin_celsius: Lowest margin over pools, shape ``(num_courses, num_steps)``; infinity without thermal data.
        limited: Requests refused by limits over the horizon, shape ``(num_courses, num_tiers)``.
        unserved: Requests beyond the queue's bound over the horizon, shape ``(num_courses,)``.
        waited_seconds: Sum of all waits over the horizon, in request-seconds, shape ``(num_courses,)``.
        load_ratio: Share of capacity at work, shape ``(num_courses, num_steps)``.
    """

    margin_celsius: FloatArray
    limited: FloatArray
    unserved: FloatArray
    waited_seconds: FloatArray
    load_ratio: FloatArray


def roll_forward(
    *,
    demand_per_second: FloatArray,
    backlog_requests: float,
    pools: tuple[PoolOutlook, ...],
    courses: Courses,
    gpu_seconds_per_request: float,
    step_seconds: float,
) -> Outcome:
    """Predict queue, load, power and temperature of one region under each course.

    Args:
        demand_per_second: Offered requests a second, shape ``(num_tiers, num_steps)``.
        backlog_requests: Requests that wait now, >= 0.
        pools: The region's pools.
        courses: What may be done.
        gpu_seconds_per_request: Busy time of a GPU that a request costs, > 0.
        step_seconds: Length of a step, > 0.
    """
    num_courses, num_tiers = courses.admitted_after.shape
    num_steps = demand_per_second.shape[1]
    capacity_gpus = _capacity_gpus(pools, courses, num_steps)
    per_second = capacity_gpus / gpu_seconds_per_request
    heat = [_PoolHeat(pool.thermal, num_courses, step_seconds) for pool in pools if pool.thermal is not None]
    margin = np.full((num_courses, num_steps), np.inf)
    load = np.zeros((num_courses, num_steps))
    limited = np.zeros((num_courses, num_tiers))
    unserved = np.zeros(num_courses)
    waited = np.zeros(num_courses)
    backlog = np.full(num_courses, backlog_requests)
    for index in range(num_steps):
        early = index < courses.delay_steps
        admitted = courses.admitted_before if early else courses.admitted_after
        offered = demand_per_second[:, index] * step_seconds
        limited += offered * (1.0 - admitted)
        capacity = per_second[:, index] * step_seconds
        backlog = backlog + (offered * admitted).sum(axis=1)
        served = np.minimum(backlog, capacity)
        backlog = backlog - served
        excess = np.maximum(backlog - per_second[:, index] * QUEUE_BOUND_SECONDS, 0.0)
        backlog = backlog - excess
        unserved += excess
        waited += backlog * step_seconds
        load[:, index] = np.divide(served, capacity, out=np.zeros(num_courses), where=capacity > 0.0)
        for pool_heat in heat:
            margin[:, index] = np.minimum(margin[:, index], pool_heat.step(load[:, index]))
    return Outcome(margin_celsius=margin, limited=limited, unserved=unserved, waited_seconds=waited, load_ratio=load)


def _capacity_gpus(pools: tuple[PoolOutlook, ...], courses: Courses, num_steps: int) -> FloatArray:
    """Return GPUs that serve, shape ``(num_courses, num_steps)``."""
    capacity = np.zeros((courses.admitted_after.shape[0], num_steps))
    for index, pool in enumerate(pools):
        capacity += (pool.serving_nodes + courses.extra_nodes[:, index, :]) * pool.gpus_per_node
    return np.maximum(capacity, 0.0)


class _PoolHeat:
    """The thermal state of one pool under every course, advanced step by step."""

    def __init__(self, thermal: PoolThermal, num_courses: int, step_seconds: float) -> None:
        self._thermal = thermal
        self._gains = np.asarray(thermal.gains_celsius_per_watt)
        taus = np.asarray(thermal.time_constants_seconds)
        self._weights = 1.0 - np.exp(-step_seconds / taus)
        self._filtered = np.tile(np.asarray(thermal.filtered_power_watts), (num_courses, 1))
        self._step_seconds = step_seconds
        self._elapsed_seconds = 0.0

    def step(self, load_ratio: FloatArray) -> FloatArray:
        """Advance by one step at a load, shape ``(num_courses,)``; return the margin at its end."""
        thermal = self._thermal
        power = thermal.idle_power_watts + (thermal.busy_power_watts - thermal.idle_power_watts) * load_ratio
        self._filtered += self._weights * (power[:, None] - self._filtered)
        self._elapsed_seconds += self._step_seconds
        damped_seconds = TREND_MEMORY_SECONDS * (1.0 - np.exp(-self._elapsed_seconds / TREND_MEMORY_SECONDS))
        offset = thermal.offset_celsius + thermal.offset_trend_celsius_per_second * damped_seconds
        margin: FloatArray = thermal.limit_celsius - offset - self._filtered @ self._gains
        return margin
