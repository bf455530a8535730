"""The status of a GPUPool: how hot, how near, how many, and what is being done. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.adapters.ports import PoolSize
from controller.operator.conditions import HeldCondition, Problem, Verdict, conditions, ready_verdict, time_text
from controller.operator.resources.parse import Pool
from controller.operator.state import IntentProgress, PoolIntent
from controller.types import Freshness, PausedDirection, PoolCondition, PoolMemory, PoolState, Sample

SHOWN_MARGIN_STEP_CELSIUS = 0.5
SHOWN_SECONDS_STEP = 10
"""What is shown is rounded, so that a status is written when something happens and not at every scrape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """What is known about one pool after a pass.

    Attributes:
        pool: The pool.
        state: What was observed; None before the first observation.
        size: What its API says.
        memory: What the planner remembers.
        intent: What the last decision set out to do to it; None for nothing.
        workload_problem: Why its workload's replicas do not follow; None when they do, or need not.
        judged: How the decision judged its inputs, by ``pool/input``; what it did not judge counts as it was read.
    """

    pool: Pool
    state: PoolState | None
    size: Sample[PoolSize] | None
    memory: PoolMemory
    intent: PoolIntent | None
    workload_problem: Problem | None = None
    judged: Mapping[str, Freshness] = field(default_factory=dict)


def pool_status(facts: PoolFacts, held: tuple[HeldCondition, ...], now: datetime) -> dict[str, object]:
    """Return the status to write.

    Args:
        facts: What is known.
        held: The conditions that the object has.
        now: Time of conditions that change.

    Returns:
        The status as the API takes it; what nobody knows is left out.
    """
    status: dict[str, object] = {
        "nodes": _nodes(facts.state),
        "thermal": _thermal(facts.state),
        "doing": _doing(facts),
        "observedGeneration": facts.pool.identity.generation,
        "conditions": conditions(_verdicts(facts), held, generation=facts.pool.identity.generation, now=now),
    }
    times = [at for at in (facts.memory.last_scale_out, facts.memory.last_scale_in) if at is not None]
    if times:
        status["lastScaleTime"] = time_text(max(times))
    return status


def broken_pool_status(generation: int, text: str, held: tuple[HeldCondition, ...], now: datetime) -> dict[str, object]:
    """Return the status of a pool whose spec cannot be used.

    Args:
        generation: Of its spec.
        text: What is wrong, with the field.
        held: The conditions that the object has.
        now: Time of conditions that change.

    Returns:
        The status.
    """
    verdicts = (ready_verdict((Problem(code="InvalidSpec", text=text),)),)
    return {
        "doing": "nothing: the spec cannot be used",
        "observedGeneration": generation,
        "conditions": conditions(verdicts, held, generation=generation, now=now),
    }


def _nodes(state: PoolState | None) -> dict[str, object]:
    """Return node counts; empty while they are unknown."""
    counts = state.nodes.value if state is not None else None
    if counts is None or (state is not None and state.nodes.freshness is Freshness.CONTRADICTORY):
        return {}
    return {
        "desired": counts.desired,
        "created": counts.created,
        "ready": counts.ready,
        "serving": counts.serving,
        "pending": counts.pending,
    }


def _thermal(state: PoolState | None) -> dict[str, object]:
    """Return margin, temperature and time to slowdown, rounded; empty while they are unknown."""
    found: dict[str, object] = {}
    margin = state.margin.value if state is not None else None
    if state is None or margin is None or not math.isfinite(margin.minimum_celsius):
        return found
    step = SHOWN_MARGIN_STEP_CELSIUS
    shown = math.floor(margin.minimum_celsius / step) * step
    found["minMarginCelsius"] = shown
    if state.thermal.value is not None and math.isfinite(state.thermal.value.limit_celsius):
        found["maxTemperatureCelsius"] = round(state.thermal.value.limit_celsius - shown, 1)
    seconds = state.seconds_to_slowdown.value
    if seconds is not None and math.isfinite(seconds):
        found["secondsToSlowdown"] = int(max(seconds, 0.0) // SHOWN_SECONDS_STEP * SHOWN_SECONDS_STEP)
    return found


def _doing(facts: PoolFacts) -> str:
    """Return what is happening: failed, growing, shrinking, waiting for nodes, held, steady."""
    intent, state = facts.intent, facts.state
    if intent is not None and intent.progress is IntentProgress.FAILED:
        return f"could not go {intent.from_nodes} to {intent.to_nodes} nodes"
    if intent is not None:
        return f"{'growing' if intent.to_nodes > intent.from_nodes else 'shrinking'} to {intent.to_nodes} nodes"
    pending = state.nodes.value.pending if state is not None and state.nodes.value is not None else 0
    if pending > 0:
        return f"waiting for {pending} nodes"
    if facts.pool.spec.paused is not PausedDirection.NONE:
        return f"paused {facts.pool.spec.paused.value}"
    return "steady" if state is not None and state.nodes.is_fresh else "holding: nodes unknown"


def _verdicts(facts: PoolFacts) -> tuple[Verdict, ...]:
    """Return every verdict on a pool."""
    resolved, metrics = _resolved(facts), _metrics(facts)
    found = facts.state.conditions if facts.state is not None else frozenset()
    size = facts.size.value if facts.size is not None else None
    found |= size.conditions if size is not None else frozenset()
    words = "; ".join(size.messages) if size is not None else ""
    stock_out = bool(found & {PoolCondition.STOCK_OUT, PoolCondition.QUOTA_EXCEEDED})
    foreign = PoolCondition.FOREIGN_OWNER in found
    problems = [Problem(code=v.reason, text=v.message) for v in (resolved, metrics) if v.status is not True]
    if stock_out:
        problems.append(Problem(code="StockOut", text=words or "no such node is to be had now"))
    if foreign:
        problems.append(Problem(code="ForeignOwner", text=words or "another controller writes this pool"))
    if facts.intent is not None and facts.intent.progress is IntentProgress.FAILED:
        problems.append(Problem(code="ScalingFailed", text=facts.intent.text))
    if facts.workload_problem is not None:
        problems.append(facts.workload_problem)
    scaling = facts.intent is not None and facts.intent.progress is not IntentProgress.FAILED
    paused = facts.pool.spec.paused
    return (
        ready_verdict(tuple(problems)),
        metrics,
        resolved,
        Verdict(type="Scaling", status=scaling, reason="SizeChanged" if scaling else "Steady", message=_doing(facts)),
        Verdict(type="StockOut", status=stock_out, reason="Unavailable" if stock_out else "None"),
        Verdict(type="ForeignOwner", status=foreign, reason="AnotherWriter" if foreign else "None"),
        Verdict(
            type="Paused", status=paused is not PausedDirection.NONE, reason=paused.value[:1].upper() + paused.value[1:]
        ),
    )


def _resolved(facts: PoolFacts) -> Verdict:
    """Return whether the target is there."""
    if facts.size is None or facts.size.value is None:
        text = f"{facts.pool.target.pool}: its target does not answer"
        return Verdict(type="TargetResolved", status=None, reason="NoAnswer", message=text)
    if facts.size.value.desired is None:
        text = "; ".join(facts.size.value.messages) or "the target tells no size"
        return Verdict(type="TargetResolved", status=False, reason="NotFound", message=text)
    return Verdict(type="TargetResolved", status=True, reason="Found")


def _metrics(facts: PoolFacts) -> Verdict:
    """Return whether margin and nodes are fresh."""
    state = facts.state
    if state is None:
        return Verdict(type="MetricsAvailable", status=None, reason="NotYetObserved", message="no pass yet")
    for name, sample in (("margin", state.margin), ("thermal", state.thermal), ("nodes", state.nodes)):
        freshness = facts.judged.get(f"{state.name}/{name}", sample.freshness)
        if freshness is not Freshness.FRESH:
            word = freshness.value
            text = f"{name} {word}" + (f" since {time_text(sample.as_of)}" if sample.as_of is not None else "")
            return Verdict(type="MetricsAvailable", status=False, reason=f"Metrics{word.title()}", message=text)
    return Verdict(type="MetricsAvailable", status=True, reason="Fresh")
