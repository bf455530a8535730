"""Rolls one region forward under many courses of action at once.

Called by :mod:`controller.planning.search`; arrays are ``(num_courses, ...)`` so that the search costs well under a
millisecond. The thermal part is :class:`~controller.planning.heat.HeatBank`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from controller.planning.heat import HeatBank
from forecasting.types import FloatArray

_TINY = 1e-12
"""Keeps divisions by a capacity of zero finite; such a region serves nothing and draws idle power."""
QUEUE_BOUND_SECONDS = 60.0
"""Work beyond this many seconds of capacity is dropped."""
USUAL_WAIT_SECONDS = 6.0
"""A wait up to this is nobody's harm: less than an image itself takes. Longer queues are priced, and limited."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionOutlook:
    """One region as the roll-forward needs it, over the longest horizon; shorter ones take its beginning.

    Attributes:
        gpus_per_node: GPUs on a node of each pool, shape ``(num_pools,)``.
        serving_nodes: Nodes that serve in each step without further orders, shape ``(num_pools, num_steps)``.
        heat: Thermal response of the pools; None when none of them is known.
        gpu_seconds_per_request: Busy time of a GPU that a request costs, > 0.
        patience_seconds: Mean time after which a waiting user gives up, > 0.
        step_seconds: Length of a step, > 0.
    """

    gpus_per_node: FloatArray
    serving_nodes: FloatArray
    heat: HeatBank | None
    gpu_seconds_per_request: float
    patience_seconds: float
    step_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What each course leads to.

    Attributes:
        margin_celsius: Lowest margin over pools, shape ``(num_courses, num_steps)``; infinity without thermal data.
        abandoned: Requests given up while waiting, over the horizon, shape ``(num_courses,)``.
        dropped: Requests that find no place in the queue, or that stand beyond the usual wait at the end while work
            still outruns the nodes: they can only be served in another's place. Same shape.
        waited_seconds: Sum of all waits beyond the usual one, in request-seconds, same shape.
        load_ratio: Share of capacity at work, shape ``(num_courses, num_steps)``.
    """

    margin_celsius: FloatArray
    abandoned: FloatArray
    dropped: FloatArray
    waited_seconds: FloatArray
    load_ratio: FloatArray


def roll_forward(
    outlook: RegionOutlook, courses: Courses, *, demand_per_second: FloatArray, backlog_requests: float
) -> Outcome:
    """Predict queue, load, power and temperature of one region under each course.

    Args:
        outlook: The region.
        courses: What may be done.
        demand_per_second: Offered requests a second, shape ``(num_tiers, num_steps)``; it sets the horizon.
        backlog_requests: Requests that wait now, >= 0.

    Returns:
        The outcome of every course.
    """
    num_steps = demand_per_second.shape[1]
    serving = outlook.serving_nodes[:, :num_steps] + courses.extra_nodes
    gpus = np.maximum(np.einsum("cps,p->cs", serving, outlook.gpus_per_node), 0.0)
    capacity = gpus * (outlook.step_seconds / outlook.gpu_seconds_per_request)
    offered = demand_per_second * outlook.step_seconds
    admitted = courses.admitted_after @ offered
    early = courses.delay_steps
    admitted[:, :early] = courses.admitted_before @ offered[:, :early]
    served, abandoned, dropped, waiting = _queue(
        admitted,
        capacity,
        backlog_requests,
        step_seconds=outlook.step_seconds,
        patience_seconds=outlook.patience_seconds,
    )
    load = served / np.maximum(capacity, _TINY)
    heat = outlook.heat
    return Outcome(
        margin_celsius=np.full_like(load, np.inf) if heat is None else heat.margin_celsius(load),
        abandoned=abandoned,
        dropped=dropped,
        waited_seconds=waiting * outlook.step_seconds,
        load_ratio=load,
    )


def _queue(
    admitted: FloatArray, capacity: FloatArray, backlog_requests: float, *, step_seconds: float, patience_seconds: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return served requests in each step, those given up, those dropped, and the sum of the long backlogs.

    While there is a queue ``q``, ``dq/dt = arriving - able - q / patience``: the fluid limit of a queue with impatient
    customers (Garnett, Mandelbaum and Reiman, M&SOM 4, 2002), solved exactly over each step.

    Args:
        admitted: Requests a step, shape ``(num_courses, num_steps)``.
        capacity: Requests a step that can be finished, same shape.
        backlog_requests: Requests that wait at the start.
        step_seconds: Length of a step.
        patience_seconds: Mean patience.
    """
    num_courses, num_steps = admitted.shape
    abandoned, dropped, waiting = np.zeros((3, num_courses))
    first = admitted[:, 0] + backlog_requests
    if (first <= capacity[:, 0]).all() and (admitted[:, 1:] <= capacity[:, 1:]).all():
        # Nobody ever waits: the recursion below would return the same.
        served = admitted.copy()
        served[:, 0] = first
        return served, abandoned, dropped, waiting
    # One row a step, contiguous, since the recursion runs over steps.
    arriving, able = np.ascontiguousarray(admitted.T), np.ascontiguousarray(capacity.T)
    bound, usual = (able * (seconds / step_seconds) for seconds in (QUEUE_BOUND_SECONDS, USUAL_WAIT_SECONDS))
    settled = patience_seconds / step_seconds * (arriving - able)
    kept_share = math.exp(-step_seconds / patience_seconds)
    done = np.empty((num_steps, num_courses))
    backlog = np.full(num_courses, backlog_requests)
    for index in range(num_steps):
        everything = backlog + arriving[index]
        np.minimum(everything, able[index], out=done[index])
        left = everything - done[index]
        patient = np.clip(settled[index] + (backlog - settled[index]) * kept_share, 0.0, left)
        backlog = np.minimum(patient, bound[index])
        abandoned += left - patient
        dropped += patient - backlog
        waiting += np.maximum(backlog - usual[index], 0.0)
    dropped += np.where(arriving[-1] > able[-1], np.maximum(backlog - usual[-1], 0.0), 0.0)
    return done.T, abandoned, dropped, waiting
