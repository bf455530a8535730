"""What the operator shows at ``/api/v1/status`` and on its status page (``meltguard.status/v1``). Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from controller.operator.conditions import Problem
from controller.operator.decision_ring import Done
from controller.operator.policy_pass import PassResult
from controller.operator.policy_status import doing_text, worst_surge
from controller.operator.state import IntentProgress
from controller.planning.wording import position_text
from controller.types import FlagInForce
from forecasting.types import DemandForecast

STATUS_SCHEMA = "meltguard.status/v1"
MAX_FAN_STEPS = 60
SHOWN_LEVELS = (0.05, 0.5, 0.95)
MAX_DECISIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionView:
    """One region: its rung, what that means for users, and why."""

    name: str
    rung: int
    meaning: str
    since: datetime | None
    why: str
    predicted_min_margin_celsius: float | None
    breaker_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """One pool: nodes by state, and how near its hottest GPU is; None for what nobody knows."""

    name: str
    region: str
    gpu_model: str
    desired: int | None
    ready: int | None
    serving: int | None
    pending: int | None
    min_margin_celsius: float | None
    hottest_celsius: float | None
    seconds_to_slowdown: float | None
    freshness: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FanView:
    """The demand forecast of one region and tier: counts a step at each of :data:`SHOWN_LEVELS`."""

    region: str
    tier: str
    issued_at: datetime
    step_seconds: float
    levels: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """One of the last decisions that changed something: what was done and why."""

    decision_id: str
    issued_at: datetime
    actions: tuple[Done, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """One policy."""

    name: str
    mode: str
    advisory: bool
    paused: str
    doing: str
    surge: str
    doubling_seconds: float | None
    decided_at: datetime
    decision_id: str
    regions: tuple[RegionView, ...]
    pools: tuple[PoolView, ...]
    limits: tuple[FlagInForce, ...]
    flags_revision: int | None
    consumers: int | None
    consumers_holding: int | None
    forecasts: tuple[FanView, ...]
    decisions: tuple[DecisionView, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """Everything that a replica shows."""

    schema: str
    as_of: datetime
    replica: str
    leading: bool
    epoch: int | None
    advisory: bool
    policies: tuple[PolicyView, ...]
    problems: tuple[Problem, ...]


def policy_view(result: PassResult, gpu_models: dict[str, str], decisions: tuple[DecisionView, ...]) -> PolicyView:
    """Return what to show of a policy.

    Args:
        result: Its last pass.
        gpu_models: By pool.
        decisions: Its last decisions, the newest first.

    Returns:
        The view.
    """
    inputs, made = result.inputs, result.plan
    surge = worst_surge(inputs.forecasts)
    stored, heard = inputs.stored_flags.value, inputs.acknowledgement.value
    return PolicyView(
        name=inputs.policy.name,
        mode=inputs.policy.mode.value,
        advisory=result.is_advisory,
        paused=inputs.paused.value,
        doing=doing_text(made, inputs.policy, inputs.paused, advisory=result.is_advisory),
        surge=surge.phase.value,
        doubling_seconds=_finite(surge.doubling_seconds),
        decided_at=made.issued_at,
        decision_id=made.decision_id,
        regions=_regions(result),
        pools=_pools(result, gpu_models),
        limits=result.flags,
        flags_revision=stored.rendered.revision if stored is not None else None,
        consumers=heard.num_consumers if heard is not None else None,
        consumers_holding=heard.num_holding if heard is not None else None,
        forecasts=tuple(_fan(forecast) for forecast in inputs.forecasts.demand),
        decisions=decisions[:MAX_DECISIONS],
        problems=result.problems,
    )


def done_actions(result: PassResult) -> tuple[Done, ...]:
    """Return the actions of a pass with what became of them: pools, then positions on the ladder."""
    intents = {intent.pool: intent for intent in result.notes.intents}
    rows = []
    for action in result.plan.actions:
        pool = getattr(action, "pool", None)
        if pool is None:
            continue
        intent = intents.get(pool)
        outcome = "reported only" if intent is None else f"{intent.progress.value}: {intent.text}".rstrip(": ")
        if intent is not None and intent.progress is IntentProgress.DONE:
            outcome = "done"
        change = f"{getattr(action, 'from_nodes', 0)} → {getattr(action, 'to_nodes', 0)} nodes"
        rows.append(Done(kind="nodes", subject=pool, change=change, why=action.why.text, result=outcome))
    steps = result.inputs.policy.ladder.steps
    for verdict in result.plan.regions:
        before = min(result.before.region(verdict.region).step_index, len(steps) - 1)
        if before == verdict.step_index:
            continue
        receipt = result.flag_receipt
        outcome = "reported only" if receipt is None else "done" if receipt.outcome == "done" else receipt.text
        change = f"{position_text(steps[before])} → {position_text(steps[verdict.step_index])}"
        rows.append(Done(kind="limit", subject=verdict.region, change=change, why=verdict.why.text, result=outcome))
    return tuple(rows)


def _regions(result: PassResult) -> tuple[RegionView, ...]:
    """Return the regions."""
    steps = result.inputs.policy.ladder.steps
    return tuple(
        RegionView(
            name=verdict.region,
            rung=int(verdict.rung),
            meaning=position_text(steps[verdict.step_index]),
            since=result.memory.region(verdict.region).since,
            why=verdict.why.text,
            predicted_min_margin_celsius=_finite(verdict.predicted_min_margin_celsius),
            breaker_open=result.memory.region(verdict.region).breaker_open,
        )
        for verdict in result.plan.regions
    )


def _pools(result: PassResult, gpu_models: dict[str, str]) -> tuple[PoolView, ...]:
    """Return the pools."""
    rows = []
    for state in result.inputs.snapshot.pools:
        counts, margin, thermal = state.nodes.value, state.margin.value, state.thermal.value
        least = _finite(margin.minimum_celsius) if margin is not None else None
        limit = _finite(thermal.limit_celsius) if thermal is not None else None
        rows.append(
            PoolView(
                name=state.name,
                region=state.region,
                gpu_model=gpu_models.get(state.name, ""),
                desired=counts.desired if counts is not None else None,
                ready=counts.ready if counts is not None else None,
                serving=counts.serving if counts is not None else None,
                pending=counts.pending if counts is not None else None,
                min_margin_celsius=least,
                hottest_celsius=limit - least if limit is not None and least is not None else None,
                seconds_to_slowdown=_finite(state.seconds_to_slowdown.value),
                freshness=state.margin.freshness.value,
                conditions=tuple(sorted(condition.value for condition in state.conditions)),
            )
        )
    return tuple(rows)


def _fan(forecast: DemandForecast) -> FanView:
    """Return a forecast's fan."""
    return FanView(
        region=forecast.key.region or "",
        tier=forecast.key.tier or "",
        issued_at=forecast.issued_at,
        step_seconds=forecast.step_seconds,
        levels=SHOWN_LEVELS,
        values=tuple(
            tuple(round(float(value), 2) for value in forecast.at_level(level)[:MAX_FAN_STEPS])
            for level in SHOWN_LEVELS
        ),
    )


def _finite(value: float | None) -> float | None:
    """Return a number, or None where there is none to show."""
    return value if value is not None and math.isfinite(value) else None
