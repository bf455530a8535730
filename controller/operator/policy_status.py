"""The status of a SurgePolicy: where each region stands and why, what is limited until when, what is wrong. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from controller.operator.conditions import HeldCondition, Problem, Verdict, conditions, ready_verdict, time_text
from controller.planning.wording import position_text
from controller.types import (
    Approval,
    FlagInForce,
    FleetSnapshot,
    ForecastSet,
    PausedDirection,
    Plan,
    PlanMemory,
    Policy,
    Rung,
)
from forecasting.types import SurgePhase, SurgeState

MAX_MITIGATIONS = 256
MAX_REASON = 512
MIN_SCORED = 20
"""Forecasts that must have come true or not before their calibration is judged."""
MAX_COVERAGE_ERROR = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """What is known about a policy after a pass.

    Attributes:
        policy: The policy.
        generation: Of its spec.
        plan: The last decision.
        memory: After it.
        snapshot: What it saw.
        forecasts: What it expected.
        flags: Limits in force.
        flags_decision: Decision that last wrote them.
        problems: What is wrong, the worst first.
        paused: Which way a person has stopped the policy.
        advisory: Whether decisions are only reported.
    """

    policy: Policy
    generation: int
    plan: Plan
    memory: PlanMemory
    snapshot: FleetSnapshot
    forecasts: ForecastSet
    flags: tuple[FlagInForce, ...]
    flags_decision: str
    problems: tuple[Problem, ...]
    paused: PausedDirection
    advisory: bool


def policy_status(facts: PolicyFacts, held: tuple[HeldCondition, ...], now: datetime) -> dict[str, object]:
    """Return the status to write.

    Args:
        facts: What is known.
        held: The conditions that the object has.
        now: Time of conditions that change.

    Returns:
        The status as the API takes it; what nobody knows is left out.
    """
    surge = worst_surge(facts.forecasts)
    status: dict[str, object] = {
        "regions": [_region(facts, verdict.region) for verdict in facts.plan.regions],
        "highestRung": max((int(verdict.rung) for verdict in facts.plan.regions), default=0),
        "doing": doing_text(facts.plan, facts.policy, facts.paused, advisory=facts.advisory),
        "surge": {
            "state": surge.phase.value,
            **_doubling(surge),
        },
        "lastDecision": {"id": facts.plan.decision_id, "time": time_text(facts.plan.issued_at)},
        "activeMitigations": [
            {
                "flag": flag.key,
                "scope": flag.region if flag.tier is None else f"{flag.region}/{flag.tier}",
                "value": str(flag.value).lower() if isinstance(flag.value, bool) else str(flag.value),
                "expiresAt": time_text(flag.expires_at),
                "decisionId": facts.flags_decision,
            }
            for flag in facts.flags[:MAX_MITIGATIONS]
        ],
        "observedGeneration": facts.generation,
        "conditions": conditions(_verdicts(facts), held, generation=facts.generation, now=now),
    }
    margins = [pool.margin.value.minimum_celsius for pool in facts.snapshot.pools if pool.margin.value is not None]
    known = [margin for margin in margins if math.isfinite(margin)]
    if known:
        status["minMarginCelsius"] = math.floor(min(known) * 2.0) / 2.0
    return status


def broken_policy_status(
    generation: int, problem: Problem, held: tuple[HeldCondition, ...], now: datetime
) -> dict[str, object]:
    """Return the status of a policy that cannot be run.

    Args:
        generation: Of its spec.
        problem: What is wrong, with the field.
        held: The conditions that the object has.
        now: Time of conditions that change.

    Returns:
        The status; what it said of regions and limits before is left out.
    """
    return {
        "doing": f"nothing: {problem.text}"[:MAX_REASON],
        "observedGeneration": generation,
        "conditions": conditions((ready_verdict((problem,)),), held, generation=generation, now=now),
    }


def doing_text(made: Plan, policy: Policy, paused: PausedDirection, *, advisory: bool) -> str:
    """Return what is happening, the regions with limits first.

    Args:
        made: The decision.
        policy: What it was decided under.
        paused: Which way a person has stopped the policy.
        advisory: Whether it is only reported.

    Returns:
        A few words.
    """
    parts = [] if paused is PausedDirection.NONE else [f"paused {paused.value}"]
    for verdict in sorted(made.regions, key=lambda verdict: -verdict.rung):
        if verdict.rung >= Rung.SHAPE_QUIETLY:
            parts.append(f"{verdict.region}: {position_text(policy.ladder.steps[verdict.step_index])}")
        elif verdict.rung is Rung.PROVISION:
            parts.append(f"{verdict.region}: adding nodes")
        elif verdict.rung is Rung.HOLD:
            parts.append(f"{verdict.region}: no scale-in")
    text = "; ".join(parts) or "watching"
    return f"would be: {text}" if advisory else text


def worst_surge(forecasts: ForecastSet) -> SurgeState:
    """Return the most advanced surge of any series."""
    order = (SurgePhase.CALM, SurgePhase.DECAY, SurgePhase.ONSET, SurgePhase.SURGE)
    states = [forecast.surge for forecast in (*forecasts.demand, *forecasts.signups)]
    return max(states, key=lambda state: (order.index(state.phase), state.growth_per_hour), default=SurgeState())


def _doubling(surge: SurgeState) -> dict[str, int]:
    """Return the doubling time, rounded to ten seconds; empty where there is none."""
    seconds = surge.doubling_seconds
    if seconds is None or not math.isfinite(seconds):
        return {}
    return {"doublingSeconds": round(seconds / 10.0) * 10}


def _region(facts: PolicyFacts, name: str) -> dict[str, object]:
    """Return one region's row."""
    verdict = facts.plan.verdict(name)
    assert verdict is not None
    row: dict[str, object] = {"name": name, "rung": int(verdict.rung), "reason": verdict.why.text[:MAX_REASON]}
    since = facts.memory.region(name).since
    if since is not None:
        row["since"] = time_text(since)
    margin = verdict.predicted_min_margin_celsius
    if margin is not None and math.isfinite(margin):
        row["predictedMinMarginCelsius"] = math.floor(margin * 2.0) / 2.0
    return row


def _verdicts(facts: PolicyFacts) -> tuple[Verdict, ...]:
    """Return every verdict on a policy."""
    limited = [v.region for v in facts.plan.regions if v.rung >= Rung.SHAPE_QUIETLY]
    broken = [entry.region for entry in facts.memory.regions if entry.breaker_open]
    exhausted = _exhausted(facts)
    paused = facts.paused
    return (
        ready_verdict(facts.problems),
        Verdict(type="Leading", status=True, reason="Leading"),
        _calibrated(facts.forecasts),
        Verdict(
            type="MitigationActive",
            status=bool(limited) and not facts.advisory,
            reason="LimitsInForce" if limited else "None",
            message=", ".join(limited),
        ),
        Verdict(
            type="LadderExhausted",
            status=bool(exhausted),
            reason="NothingMilderHelps" if exhausted else "None",
            message=f"{', '.join(exhausted)}: the last automatic rung does not keep the margin; a person must decide"
            if exhausted
            else "",
        ),
        Verdict(
            type="BreakerOpen",
            status=bool(broken),
            reason="TooManyEscalations" if broken else "None",
            message=f"{', '.join(broken)}: reset with meltguard resume --breaker REGION" if broken else "",
        ),
        Verdict(
            type="Paused", status=paused is not PausedDirection.NONE, reason=paused.value[:1].upper() + paused.value[1:]
        ),
    )


def _exhausted(facts: PolicyFacts) -> tuple[str, ...]:
    """Return the regions that stand on the last automatic position and are still predicted to slow down."""
    steps = facts.policy.ladder.steps
    last = max(index for index, step in enumerate(steps) if step.approval is Approval.AUTOMATIC)
    return tuple(
        verdict.region
        for verdict in facts.plan.regions
        if last > 0
        and verdict.step_index >= last
        and verdict.predicted_min_margin_celsius is not None
        and verdict.predicted_min_margin_celsius < 0.0
    )


def _calibrated(forecasts: ForecastSet) -> Verdict:
    """Return whether the intervals cover about as often as they promise."""
    scored = [f for f in forecasts.demand if f.calibration.num_scored >= MIN_SCORED]
    if not scored:
        return Verdict(type="ForecastCalibrated", status=None, reason="TooEarly", message="not enough forecasts scored")
    worst = min(scored, key=lambda f: (f.calibration.observed or 0.0) - f.calibration.nominal)
    observed, nominal = worst.calibration.observed or 0.0, worst.calibration.nominal
    good = observed >= nominal - MAX_COVERAGE_ERROR
    text = f"{worst.key.region}/{worst.key.tier}: {observed:.0%} covered, {nominal:.0%} promised"
    return Verdict(type="ForecastCalibrated", status=good, reason="Covered" if good else "TooNarrow", message=text)
