"""Prices every course of action in one currency: refused requests, waits and heat."""

from __future__ import annotations

import numpy as np

from controller.planning.outlook import QUEUE_BOUND_SECONDS, Outcome
from controller.planning.prices import UNSERVED_FACTOR
from controller.types import Policy
from forecasting.types import FloatArray

HEAT_FACTOR = 0.02
"""Price of one degree below the margin target for one second, as a share of refusing all demand for that second.

A GPU that slows down loses more than half of its speed, and does so for a whole region at once; at the hard guard,
a few degrees below the target, the price comes near that loss.
"""
HARD_GUARD_CELSIUS = 3.0
"""A course that goes below this margin, once its flags have had time to act, is dropped if another exists."""
SETTLE_SECONDS = 120.0
"""Time that a die and its sink need to follow a change of load for the most part (measured: 90 % within 90 s)."""


def harm_of_courses(
    outcome: Outcome,
    *,
    policy: Policy,
    expected_per_second: FloatArray,
    admitted_after: FloatArray,
    margin_target_celsius: float,
    delay_steps: int,
) -> FloatArray:
    """Price each course over the horizon, in the policy's currency, shape ``(num_courses,)``.

    Args:
        outcome: What each course leads to.
        policy: Prices and periods.
        expected_per_second: Expected demand, requests a second, shape ``(num_tiers, num_steps)``.
        admitted_after: Share admitted under each course, shape ``(num_courses, num_tiers)``.
        margin_target_celsius: Margin that should be kept.
        delay_steps: Steps before the flags act; heat before that is nobody's choice.

    Returns:
        Harm.
    """
    limited_price = np.array([tier.harm_per_limited_request for tier in policy.tiers])
    waited_price = np.array([tier.harm_per_waited_second for tier in policy.tiers])
    # What is refused before the flags act is nobody's choice; it is the same in every course.
    early = expected_per_second[:, :delay_steps].sum(axis=1) * policy.step_seconds
    late_requests = expected_per_second[:, delay_steps:].sum(axis=1) * policy.step_seconds
    limited = ((1.0 - admitted_after) * late_requests) @ limited_price
    admitted = early + admitted_after * late_requests
    # Who gives up within the usual wait is lost like one who is refused; who is dropped after waiting, more than that.
    unserved = _from_below(outcome.abandoned + UNSERVED_FACTOR * outcome.dropped, admitted, limited_price, policy)
    # No request waits longer than the queue's bound, so a tier's waits are bounded by its requests.
    waited = _from_below(outcome.waited_seconds, admitted * QUEUE_BOUND_SECONDS, waited_price, policy)
    margins = outcome.margin_celsius[:, delay_steps:]
    shortfall = np.maximum(margin_target_celsius - margins, 0.0).sum(axis=1) * policy.step_seconds
    demand_price = float((expected_per_second.mean(axis=1) * limited_price).sum())
    harm: FloatArray = limited + unserved + waited
    harm += HEAT_FACTOR * demand_price * shortfall
    return harm


def _from_below(amount: FloatArray, most: FloatArray, price: FloatArray, policy: Policy) -> FloatArray:
    """Return the harm of something that falls on the lowest priority first, shape ``(num_courses,)``.

    Args:
        amount: How much of it there is, shape ``(num_courses,)``.
        most: How much of it each tier can take, shape ``(num_courses, num_tiers)``.
        price: Harm of one unit for each tier, shape ``(num_tiers,)``.
        policy: Priorities.
    """
    harm = np.zeros_like(amount)
    left = amount.copy()
    for index in sorted(range(len(policy.tiers)), key=lambda index: policy.tiers[index].priority):
        share = np.minimum(left, most[:, index])
        harm += share * price[index]
        left -= share
    # What exceeds even the expected demand comes from the planned quantile; it is priced like the dearest tier.
    return harm + left * float(price.max())


def breaks_hard_guard(outcome: Outcome, *, delay_steps: int, step_seconds: float) -> FloatArray:
    """Return by how many degrees each course breaks the hard guard once settled.

    Args:
        outcome: What each course leads to.
        delay_steps: Steps before the flags act.
        step_seconds: Length of a step.

    Returns:
        Degrees, shape ``(num_courses,)``; 0 for a course that keeps the guard.
    """
    first = min(delay_steps + int(np.ceil(SETTLE_SECONDS / step_seconds)), outcome.margin_celsius.shape[1] - 1)
    lowest = outcome.margin_celsius[:, first:].min(axis=1)
    shortfall: FloatArray = np.maximum(HARD_GUARD_CELSIUS - lowest, 0.0)
    return shortfall
