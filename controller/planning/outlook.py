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
_TINY = 1e-12
"""Keeps divisions by a capacity of zero finite; such a region serves nothing and draws idle power."""
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
        load[:, index] = served / np.maximum(capacity, _TINY)
    margin = np.full((num_courses, num_steps), np.inf)
    for pool in pools:
        if pool.thermal is not None:
            margin = np.minimum(margin, pool_margin(pool.thermal, load, step_seconds=step_seconds))
    return Outcome(margin_celsius=margin, limited=limited, unserved=unserved, waited_seconds=waited, load_ratio=load)


def _capacity_gpus(pools: tuple[PoolOutlook, ...], courses: Courses, num_steps: int) -> FloatArray:
    """Return GPUs that serve, shape ``(num_courses, num_steps)``."""
    capacity = np.zeros((courses.admitted_after.shape[0], num_steps))
    for index, pool in enumerate(pools):
        capacity += (pool.serving_nodes + courses.extra_nodes[:, index, :]) * pool.gpus_per_node
    return np.maximum(capacity, 0.0)


def pool_margin(thermal: PoolThermal, load_ratio: FloatArray, *, step_seconds: float) -> FloatArray:
    """Return a pool's margin at the end of each step under load paths, same shape as ``load_ratio``.

    The bank is linear, so a path's effect is one product with its step response: after ``n`` steps of constant power
    a filter has the share ``1 - exp(-n dt / tau)`` of it, and keeps ``exp(-n dt / tau)`` of its present state.

    Args:
        thermal: The pool's thermal response.
        load_ratio: Share of its GPUs' time at work, shape ``(num_courses, num_steps)``.
        step_seconds: Length of a step, > 0.
    """
    num_steps = load_ratio.shape[1]
    gains = np.asarray(thermal.gains_celsius_per_watt)
    keep = np.exp(-step_seconds / np.asarray(thermal.time_constants_seconds))
    ages = np.arange(num_steps)
    # Effect of one watt during one step, by the number of whole steps since.
    impulse = (keep[None, :] ** ages[:, None]) @ (gains * (1.0 - keep))
    lag = ages[None, :] - ages[:, None]
    response = np.where(lag >= 0, impulse[np.maximum(lag, 0)], 0.0)
    decay = (keep[None, :] ** (ages[:, None] + 1)) @ (gains * np.asarray(thermal.filtered_power_watts))
    power = thermal.idle_power_watts + (thermal.busy_power_watts - thermal.idle_power_watts) * load_ratio
    damped_seconds = TREND_MEMORY_SECONDS * -np.expm1(-(ages + 1) * step_seconds / TREND_MEMORY_SECONDS)
    offset = thermal.offset_celsius + thermal.offset_trend_celsius_per_second * damped_seconds
    margin: FloatArray = thermal.limit_celsius - offset - decay - power @ response
    return margin
