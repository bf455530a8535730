"""What a pass over a policy is made of: what it shares, what it knows, what came of it. Values and pure helpers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from controller.adapters.ports import FlagReceipt, WriteOutcome
from controller.operator.apply import Fence, OrderResult, Orders
from controller.operator.conditions import Problem
from controller.operator.entries import Assignment
from controller.operator.policy_inputs import Inputs, PolicyPorts, PortsFactory
from controller.operator.settings import OperatorSettings
from controller.operator.state import IntentProgress, Notes, PoolIntent, Stored
from controller.telemetry.metrics import ControllerMetrics
from controller.types import FlagInForce, Freshness, Plan, PlanMemory, PoolAction

MAX_RESETS_SEEN = 64
MAX_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerTools:
    """What all policies share.

    Attributes:
        settings: Of the operator.
        metrics: Where steps are timed.
        fence: Returns our epoch; raises NotLeadingError.
        outrank: Told of a higher epoch that was found.
        appliers: Threads that resize pools.
        make_ports: Makes the ports of a policy.
        audit: Takes audit lines before anything is done.
    """

    settings: OperatorSettings
    metrics: ControllerMetrics
    fence: Fence
    outrank: Callable[[int], None]
    appliers: ThreadPoolExecutor
    make_ports: PortsFactory
    audit: Callable[[tuple[bytes, ...]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassContext:
    """One pass under way.

    Attributes:
        stored: State before it.
        assignment: The policy and its pools.
        ports: Its world.
        inputs: What it rests on.
        made: What was decided.
        now: Its time.
        began: The same by the monotonic clock, seconds.
    """

    stored: Stored
    assignment: Assignment
    ports: PolicyPorts
    inputs: Inputs
    made: Plan
    now: datetime
    began: float

    def orders(self, notes: Notes, *, max_apply_seconds: float) -> Orders:
        """Return what is to be done to pools; too late when the decision has grown old."""
        return Orders(
            decision_id=self.made.decision_id,
            intents=notes.intents,
            targets={row.pool.spec.name: row.pool.target for row in self.assignment.pools if row.pool is not None},
            hottest_nodes=self.inputs.observed.hottest_nodes,
            is_too_late=lambda: time.monotonic() - self.began > max_apply_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """What a pass saw, decided and did.

    Attributes:
        inputs: What it rested on.
        plan: What was decided.
        before: Memory before it.
        memory: Memory after it.
        notes: What it set out to do and how far it came.
        results: What became of each change of size.
        flags: Limits in force afterwards, as far as known.
        flag_receipt: What became of the flags; None when none were written.
        problems: What is wrong, the worst first.
        is_advisory: Whether it was only reported.
    """

    inputs: Inputs
    plan: Plan
    before: PlanMemory
    memory: PlanMemory
    notes: Notes
    results: tuple[OrderResult, ...]
    flags: tuple[FlagInForce, ...]
    flag_receipt: FlagReceipt | None
    problems: tuple[Problem, ...]
    is_advisory: bool


def intents_of(made: Plan, inputs: Inputs) -> tuple[PoolIntent, ...]:
    """Return what a decision sets out to do to pools."""
    sizes = {name: sample.value for name, sample in inputs.observed.sizes.items()}
    return tuple(
        PoolIntent(
            pool=action.pool,
            from_nodes=action.from_nodes,
            to_nodes=action.to_nodes,
            ownership=action.ownership,
            revision=size.revision if (size := sizes.get(action.pool)) is not None else None,
        )
        for action in made.actions
        if isinstance(action, PoolAction)
    )


def needs_repair(inputs: Inputs) -> bool:
    """Return whether somebody edited the stored flags."""
    stored = inputs.stored_flags.value
    return stored is not None and not stored.intact and bool(stored.token)


def resets_seen(notes: Notes, inputs: Inputs) -> tuple[str, ...]:
    """Return the breaker resets that were carried out, this pass's included."""
    mine = tuple(f"{region}={text}" for region, text in inputs.orders.breaker_resets)
    kept = tuple(entry for entry in notes.resets_seen if entry not in mine)
    return (*kept, *mine)[-MAX_RESETS_SEEN:]


def held_plan(made: Plan, memory: PlanMemory, inputs: Inputs) -> Plan:
    """Return the plan of a paused policy: every region stays on the position that it had, and nothing else is done.

    Args:
        made: What would have been decided.
        memory: Where the regions stand.
        inputs: What the decision rested on.

    Returns:
        The plan.
    """
    steps = inputs.policy.ladder.steps
    regions = tuple(
        replace(
            verdict,
            step_index=min(memory.region(verdict.region).step_index, len(steps) - 1),
            rung=steps[min(memory.region(verdict.region).step_index, len(steps) - 1)].rung,
        )
        for verdict in made.regions
    )
    return replace(made, actions=(), regions=regions, memory=memory)


def longest_stay_seconds(held: Plan, inputs: Inputs) -> float:
    """Return how long the tightest position in force may last."""
    steps = inputs.policy.ladder.steps
    stays = [steps[verdict.step_index].max_duration_seconds for verdict in held.regions if verdict.step_index > 0]
    return min(stays, default=0.0)


def problems(
    state_problem: str, inputs: Inputs, made: Plan, results: tuple[OrderResult, ...], receipt: FlagReceipt | None
) -> tuple[Problem, ...]:
    """Return everything that is wrong after a pass, the worst first.

    Args:
        state_problem: What could not be read of the state; empty when all could.
        inputs: What the decision rested on.
        made: The decision, which has judged them.
        results: What became of changes of size.
        receipt: What became of the flags; None when none were written.

    Returns:
        The problems.
    """
    found: list[Problem] = []
    if receipt is not None and receipt.outcome is not WriteOutcome.DONE:
        found.append(Problem(code="FlagsNotWritten", text=receipt.text))
    if state_problem:
        found.append(Problem(code="StateUnreadable", text=state_problem))
    for result in results:
        if result.intent.progress is not IntentProgress.DONE:
            code = result.receipt.outcome.name.title().replace("_", "") if result.receipt is not None else "NotScaled"
            found.append(Problem(code=code, text=f"{result.intent.pool}: {result.intent.text}"))
        elif result.receipt is not None and result.receipt.warning:
            found.append(Problem(code="NodesNotChosen", text=f"{result.intent.pool}: {result.receipt.warning}"))
    return (*found, *inputs.problems, *_not_fresh(made))


def _not_fresh(made: Plan) -> tuple[Problem, ...]:
    """Return which inputs the decision could not rest on: without them nothing is lifted and no node given back."""
    rows = [row for row in made.inputs if row.freshness is not Freshness.FRESH]
    if not rows:
        return ()
    words = [f"{row.name} {row.freshness.value}" for row in rows[:MAX_NAMED]]
    more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
    return (Problem(code="InputNotFresh", text=f"{', '.join(words)}{more}: nothing is lifted on them"),)


def has_feature_flag(assignment: Assignment) -> bool:
    """Return whether the policy's flags also go to a FeatureFlag object."""
    spec = assignment.entry.spec
    return spec is not None and spec.flags.feature_flag is not None
