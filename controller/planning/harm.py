"""Prices every course of action in one currency: refused requests, waits, nodes and heat."""

from __future__ import annotations

import numpy as np

from controller.planning.outlook import Outcome
from controller.types import Policy
from forecasting.types import FloatArray

UNSERVED_FACTOR = 1.5
"""A request that times out harms more than one that is refused at once with a reason."""
HEAT_FACTOR = 0.02
"""Price of one degree below the margin target for one second, as a share of refusing all demand for that second.

A GPU that slows down loses more than half of its speed, and does so for a whole region at once; at the hard guard,
a few degrees below the target, the price comes near that loss.
"""
HARD_GUARD_CELSIUS = 3.0
"""A course that goes below this margin, once its flags have had time to act, is dropped if another exists."""
SETTLE_SECONDS = 120.0
"""Time that a die and its sink need to follow a change of load for the most part (measured: 90 % within 90 s)."""
MIN_NODE_HOURS = 1.0
"""A node that is bought is paid for at least this long."""


def harm_of_courses(
    outcome: Outcome,
    *,
    policy: Policy,
    expected_per_second: FloatArray,
    admitted_after: FloatArray,
    nodes_cost_per_hour: FloatArray,
    margin_target_celsius: float,
    delay_steps: int,
) -> FloatArray:
    """Return harm and cost of each course over the horizon, in the policy's currency, shape ``(num_courses,)``.

    Args:
        outcome: What each course leads to.
        policy: Prices and periods.
        expected_per_second: Expected demand, requests a second, shape ``(num_tiers, num_steps)``.
        admitted_after: Share admitted under each course, shape ``(num_courses, num_tiers)``.
        nodes_cost_per_hour: Cost of the added nodes, shape ``(num_courses,)``.
        margin_target_celsius: Margin that should be kept.
        delay_steps: Steps before the flags act; heat before that is nobody's choice.
    """
    limited_price = np.array([tier.harm_per_limited_request for tier in policy.tiers])
    waited_price = np.array([tier.harm_per_waited_second for tier in policy.tiers])
    expected_requests = expected_per_second.sum(axis=1) * policy.step_seconds
    limited = ((1.0 - admitted_after) * expected_requests) @ limited_price
    admitted = admitted_after * expected_requests
    total = np.maximum(admitted.sum(axis=1), 1e-12)
    unserved = UNSERVED_FACTOR * _unserved_harm(outcome.unserved, admitted, policy)
    waited = outcome.waited_seconds * (admitted @ waited_price) / total
    hours = max(MIN_NODE_HOURS, policy.horizon_seconds / 3600.0)
    late = outcome.margin_celsius[:, delay_steps:]
    shortfall = np.maximum(margin_target_celsius - late, 0.0).sum(axis=1) * policy.step_seconds
    demand_price = float((expected_per_second.mean(axis=1) * limited_price).sum())
    harm: FloatArray = limited + unserved + waited + nodes_cost_per_hour * hours
    harm += HEAT_FACTOR * demand_price * shortfall
    return harm


def _unserved_harm(unserved: FloatArray, admitted: FloatArray, policy: Policy) -> FloatArray:
    """Return the harm of unserved requests when the lowest priority goes without first."""
    harm = np.zeros_like(unserved)
    left = unserved.copy()
    for index in sorted(range(len(policy.tiers)), key=lambda index: policy.tiers[index].priority):
        share = np.minimum(left, admitted[:, index])
        harm += share * policy.tiers[index].harm_per_limited_request
        left -= share
    # What exceeds even the expected demand comes from the planned quantile; it is priced like the highest tier.
    return harm + left * max(tier.harm_per_limited_request for tier in policy.tiers)


def breaks_hard_guard(outcome: Outcome, *, delay_steps: int, step_seconds: float) -> FloatArray:
    """Return by how many degrees each course breaks the hard guard once settled, shape ``(num_courses,)``; 0 if not."""
    first = min(delay_steps + int(np.ceil(SETTLE_SECONDS / step_seconds)), outcome.margin_celsius.shape[1] - 1)
    lowest = outcome.margin_celsius[:, first:].min(axis=1)
    shortfall: FloatArray = np.maximum(HARD_GUARD_CELSIUS - lowest, 0.0)
    return shortfall
