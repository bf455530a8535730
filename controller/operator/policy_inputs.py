"""What one pass knows before it decides: the policy as it stands today, the snapshot, the forecasts, the people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from controller.adapters.ports import (
    Acknowledgement,
    CapacityPort,
    FlagPort,
    ForecastPort,
    Learned,
    ObservationPort,
    Observed,
    StoredFlags,
)
from controller.operator.conditions import Problem
from controller.operator.entries import Assignment, PolicyEntry
from controller.operator.human import Orders, read_orders
from controller.operator.resources.parse import paused_annotation, policy_of, stricter
from controller.operator.state import Notes
from controller.types import FlagInForce, FleetSnapshot, ForecastSet, PausedDirection, Policy, PoolSpec, Sample

TTL_FACTOR = 3.0
"""A limit lives at least this many times propagation plus pass (architecture, rule 2)."""
MAX_SHOWN = 4
"""Problems of one kind that a condition names; a fleet in the dark has thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPorts:
    """The world of one policy.

    Attributes:
        capacity: Node pools.
        flags: The flag store and its consumers.
        observation: What is known about the fleet.
        forecasts: Demand forecasts.
        propagation_seconds: Propagation times that were seen, to be stored with what the observation learned.
        problems: What is wrong with the signals of demand, one sentence each.
        close: Ends what runs beside the passes.
    """

    capacity: CapacityPort
    flags: FlagPort
    observation: ObservationPort
    forecasts: ForecastPort
    propagation_seconds: Callable[[], tuple[float, ...]] = tuple
    problems: Callable[[], tuple[str, ...]] = tuple
    close: Callable[[], None] = lambda: None

    @property
    def learned(self) -> Learned:
        """Everything that was learned, to be stored."""
        return replace(self.observation.learned, propagation_seconds=self.propagation_seconds())


class PortsFactory(Protocol):
    """Makes the ports of a policy, with what was learned before."""

    def __call__(self, entry: PolicyEntry, learned: Learned) -> PolicyPorts:
        """Return the ports of a policy."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that a decision rests on.

    Attributes:
        policy: With learned lead and propagation times, and pauses.
        observed: What the ports saw.
        snapshot: The same with flags, approvals, overrides and resets.
        forecasts: Demand forecasts.
        stored_flags: What the flag store says; absent when it does not answer.
        acknowledgement: What consumers say about the flags; absent when nobody was asked or answered.
        orders: What people said.
        paused: Direction in which the whole policy is paused.
        problems: What is wrong so far.
    """

    policy: Policy
    observed: Observed
    snapshot: FleetSnapshot
    forecasts: ForecastSet
    stored_flags: Sample[StoredFlags]
    acknowledgement: Sample[Acknowledgement]
    orders: Orders
    paused: PausedDirection
    problems: tuple[Problem, ...]


def todays_policy(assignment: Assignment, *, period_seconds: float) -> tuple[Policy, PausedDirection]:
    """Return the policy of an assignment; a pause of the policy pauses each of its pools.

    Args:
        assignment: A policy whose spec can be used, and its pools.
        period_seconds: Time between passes; limits live several times as long.

    Returns:
        The policy and the direction in which it is paused.

    Raises:
        UsageError: If the ladder or the workload cannot be used.
    """
    entry = assignment.entry
    assert entry.spec is not None
    paused = paused_annotation(entry.annotations)
    pools = tuple(
        replace(row.pool.spec, paused=stricter(row.pool.spec.paused, paused))
        for row in assignment.pools
        if row.pool is not None
    )
    policy = policy_of(entry.identity.name, entry.spec, pools)
    return _with_propagation(policy, policy.flag_propagation_seconds, period_seconds), paused


def gather(
    assignment: Assignment,
    ports: PolicyPorts,
    notes: Notes,
    last_flags: tuple[FlagInForce, ...],
    now: datetime,
    *,
    period_seconds: float,
) -> Inputs:
    """Look at the world.

    Args:
        assignment: The policy and its pools.
        ports: Its world.
        notes: What was carried out before.
        last_flags: Limits that were in force when the store was last read.
        now: Time of the pass.
        period_seconds: Time between passes.

    Returns:
        The inputs.

    Raises:
        UsageError: If the policy cannot be used.
    """
    policy, paused = todays_policy(assignment, period_seconds=period_seconds)
    targets = tuple(row.pool.target for row in assignment.pools if row.pool is not None)
    observed = ports.observation.observe(policy, targets, now)
    forecasts = ports.forecasts.forecasts(policy, now)
    stored_flags = ports.flags.read(now)
    problems = [Problem(code="MetricsMissing", text=text) for text in observed.problems[:MAX_SHOWN]]
    problems += [Problem(code="PoolTrouble", text=text) for text in observed.pool_problems[:MAX_SHOWN]]
    problems += [Problem(code="DemandUnknown", text=text) for text in ports.problems()[:2]]
    stored = stored_flags.value
    if stored is None:
        flags = last_flags
        problems.insert(0, Problem(code="FlagStoreUnavailable", text="the flag store does not answer"))
    else:
        # What a hand has written is not what we know to be in force: everything wanted is then written again.
        flags = stored.rendered.flags if stored.intact else ()
        if not stored.intact and stored.token:
            text = "the flags were edited by hand; they are written anew"
            problems.insert(0, Problem(code="FlagsEditedByHand", text=text))
    heard: Sample[Acknowledgement] = Sample.absent()
    if stored is not None and stored.rendered.revision > 0:
        heard = ports.flags.acknowledgement(stored.rendered.revision, now)
    if heard.value is not None and heard.value.num_consumers > 0:
        policy = _with_propagation(policy, heard.value.propagation_seconds, period_seconds)
    orders = read_orders(assignment.entry.annotations, frozenset(region.name for region in policy.regions), now)
    problems += [Problem(code="OrderNotUnderstood", text=text) for text in orders.problems]
    resets = {region for region, text in orders.breaker_resets if f"{region}={text}" not in notes.resets_seen}
    snapshot = replace(
        observed.snapshot,
        flags=flags,
        approvals=orders.approvals,
        overrides=orders.overrides,
        breaker_resets=frozenset(resets),
    )
    return Inputs(
        policy=_with_lead_times(policy, observed),
        observed=observed,
        snapshot=snapshot,
        forecasts=forecasts,
        stored_flags=stored_flags,
        acknowledgement=heard,
        orders=orders,
        paused=paused,
        problems=tuple(problems),
    )


def _with_propagation(policy: Policy, seconds: float, period_seconds: float) -> Policy:
    """Return the policy with a propagation time and a time to live of at least three times it and a pass."""
    least_seconds = TTL_FACTOR * (seconds + period_seconds)
    return replace(
        policy,
        flag_propagation_seconds=seconds,
        flag_ttl_seconds=max(policy.flag_ttl_seconds, least_seconds),
    )


def _with_lead_times(policy: Policy, observed: Observed) -> Policy:
    """Return the policy with the lead times that are expected now."""
    learned: Mapping[str, tuple[float, float]] = {
        row.pool: (row.p50_seconds, row.p95_seconds) for row in observed.lead_times
    }

    def put(spec: PoolSpec) -> PoolSpec:
        if spec.name not in learned:
            return spec
        p50, p95 = learned[spec.name]
        return replace(spec, lead_time_p50_seconds=p50, lead_time_p95_seconds=max(p50, p95))

    return replace(policy, pools=tuple(put(spec) for spec in policy.pools)) if learned else policy
