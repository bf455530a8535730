"""One pass over one policy: observe, plan, store the intent, apply on a fresh read, record.

Level-triggered: each pass decides from what is there now; what an earlier one left undone is settled first, by looking
whether it happened. A failure of any part is a problem in the policy's status and the pass of the next period.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from controller.adapters.ports import FlagReceipt, WriteOutcome
from controller.operator.apply import (
    Fence,
    OrderResult,
    Orders,
    apply_flags,
    apply_orders,
    flag_order_of,
    without_failed,
)
from controller.operator.conditions import Problem
from controller.operator.entries import Assignment
from controller.operator.policy_inputs import Inputs, PolicyPorts, PortsFactory, gather
from controller.operator.settings import OperatorSettings
from controller.operator.state import FencedError, IntentProgress, Notes, PoolIntent, StateStore, Stored
from controller.planning import plan
from controller.planning.audit import AuditTrail, DecisionRecord
from controller.planning.flags import RENEW_BELOW_RATIO
from controller.telemetry.metrics import ControllerMetrics
from controller.types import (
    FlagInForce,
    Mode,
    PausedDirection,
    Plan,
    PlanMemory,
    PoolAction,
)

RESUME_SECONDS = 60.0
"""A change of size that may not have happened is done within this time of its decision, or decided anew."""
MAX_RESETS_SEEN = 64


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


class PolicyRunner:
    """Runs the passes of one policy, as long as this replica leads.

    Args:
        tools: What all policies share.
        store: The policy's state; None keeps it in this process only (advisory operator).
    """

    def __init__(self, tools: RunnerTools, store: StateStore | None) -> None:
        """Know nothing of the policy yet."""
        self._tools = tools
        self._store = store
        self._stored: Stored | None = None
        self._ports: PolicyPorts | None = None
        self._ports_generation = -1
        self._trail = AuditTrail()
        self._audited_at = float("-inf")
        self._flags: tuple[FlagInForce, ...] = ()
        self._rungs: tuple[int, ...] = ()
        self._log = structlog.get_logger()

    def forget(self) -> None:
        """Forget everything: another replica may have led meanwhile."""
        self._stored = None
        self._ports = None

    @property
    def ports(self) -> PolicyPorts | None:
        """The policy's world; None before the first pass."""
        return self._ports

    def run(self, assignment: Assignment, now: datetime) -> PassResult:
        """Make one pass.

        Args:
            assignment: A policy that can be used, and its pools.
            now: Time of the pass.

        Returns:
            What came of it.

        Raises:
            NotLeadingError: If this replica does not lead, or not any more; what was begun is settled by the leader.
            KubernetesError: If the state cannot be read or written; nothing is done then.
            FencedError: If a newer leader has written.
        """
        began = time.monotonic()
        timed = self._tools.metrics.timed
        with timed("state"):
            stored = self._load()
        ports = self._ports_of(assignment, stored)
        with timed("settle"):
            stored = self._settle(stored, assignment, ports, now)
        with timed("observe"):
            inputs = gather(
                assignment,
                ports,
                stored.notes,
                self._flags,
                now,
                period_seconds=self._tools.settings.period_seconds,
            )
        self._flags = inputs.snapshot.flags
        with timed("plan"):
            made = plan(inputs.snapshot, inputs.forecasts, inputs.policy, stored.memory, now)
        is_advisory = self._tools.settings.advisory or inputs.policy.mode is Mode.ADVISORY
        with timed("audit"):
            self._audit(inputs, stored.memory, made, now)
        if inputs.paused is PausedDirection.ALL and not is_advisory:
            return self._stand_still(stored, inputs, ports, made, now)
        return self._carry_out(stored, inputs, assignment, made, now, is_advisory=is_advisory, began=began)

    # -- state -------------------------------------------------------------------------------------------------------

    def _load(self) -> Stored:
        """Return the state, read anew where it is not known for certain."""
        if self._stored is None:
            empty = Stored(memory=PlanMemory(), notes=Notes(), epoch=0, version=None)
            self._stored = empty if self._store is None else self._store.read()
            if self._store is not None and self._stored.epoch > self._tools.fence():
                self._tools.outrank(self._stored.epoch)
                self._tools.fence()
        return self._stored

    def _save(self, memory: PlanMemory, notes: Notes, before: Stored) -> Stored:
        """Store memory and notes under the fence; without certainty the state is read anew at the next pass."""
        self._stored = None
        if self._store is None:
            stored = replace(before, memory=memory, notes=notes, problem="")
        else:
            try:
                stored = self._store.write(memory, notes, epoch=self._tools.fence(), before=before)
            except FencedError as error:
                self._tools.outrank(error.epoch)
                raise
        self._stored = stored
        return stored

    def _ports_of(self, assignment: Assignment, stored: Stored) -> PolicyPorts:
        """Return the ports; a changed spec gets new ones, with what was learned."""
        generation = assignment.entry.identity.generation
        if self._ports is None or self._ports_generation != generation:
            learned = stored.notes.learned if self._ports is None else self._ports.observation.learned
            self._ports = self._tools.make_ports(assignment.entry, learned)
            self._ports_generation = generation
        return self._ports

    def _settle(self, stored: Stored, assignment: Assignment, ports: PolicyPorts, now: datetime) -> Stored:
        """Find out what became of what an earlier pass, or leader, set out to do; finish what is still wanted."""
        notes = stored.notes
        pending = [intent for intent in notes.intents if intent.progress is IntentProgress.PENDING]
        if not pending or notes.decided_at is None:
            return stored
        age_seconds = (now - notes.decided_at).total_seconds()
        results = apply_orders(
            Orders(
                decision_id=notes.decision_id,
                intents=notes.intents,
                targets={row.pool.spec.name: row.pool.target for row in assignment.pools if row.pool is not None},
                hottest_nodes={},
                is_too_late=lambda: not 0.0 <= age_seconds <= RESUME_SECONDS,
            ),
            ports.capacity,
            self._tools.fence,
            self._tools.appliers,
            now,
        )
        intents = tuple(result.intent for result in results)
        was_pending = {intent.pool for intent in pending}
        failed = tuple(
            intent for intent in intents if intent.progress is IntentProgress.FAILED and intent.pool in was_pending
        )
        self._note_orders(ports, tuple(i for i in intents if i.pool in was_pending), now)
        self._log.info(
            "pass.settled",
            decision_id=notes.decision_id,
            pools={intent.pool: intent.progress.value for intent in intents},
        )
        memory = without_failed(stored.memory, failed, notes.decided_at)
        return replace(stored, memory=memory, notes=replace(notes, intents=intents))

    # -- action ------------------------------------------------------------------------------------------------------

    def _carry_out(
        self,
        stored: Stored,
        inputs: Inputs,
        assignment: Assignment,
        made: Plan,
        now: datetime,
        *,
        is_advisory: bool,
        began: float,
    ) -> PassResult:
        """Store what is to be done, do it, and store what came of it."""
        settings, timed = self._tools.settings, self._tools.metrics.timed
        ports = self._ports
        assert ports is not None
        writes_flags = not is_advisory and (made.flags is not None or _needs_repair(inputs))
        notes = replace(
            stored.notes,
            decision_id=made.decision_id,
            decided_at=now,
            intents=() if is_advisory else _intents(made),
            flags_pending=writes_flags,
            learned=ports.observation.learned,
            paused_since=None,
            resets_seen=_resets_seen(stored.notes, inputs),
        )
        with timed("intend"):
            stored_before = self._save(made.memory, notes, stored)
        receipt, flags = None, inputs.snapshot.flags
        if writes_flags:
            with timed("flags"):
                receipt = self._write_flags(inputs, made, now)
            flags = made.flags or () if receipt.outcome is WriteOutcome.DONE else flags
        results: tuple[OrderResult, ...] = ()
        if notes.intents:
            with timed("pools"):
                orders = Orders(
                    decision_id=made.decision_id,
                    intents=notes.intents,
                    targets={row.pool.spec.name: row.pool.target for row in assignment.pools if row.pool is not None},
                    hottest_nodes=inputs.observed.hottest_nodes,
                    is_too_late=lambda: time.monotonic() - began > settings.max_apply_seconds,
                )
                results = apply_orders(orders, ports.capacity, self._tools.fence, self._tools.appliers, now)
        memory, after = stored_before.memory, stored_before.notes
        if writes_flags or results:
            failed = tuple(r.intent for r in results if r.intent.progress is IntentProgress.FAILED)
            memory = without_failed(memory, failed, now)
            self._note_orders(ports, tuple(r.intent for r in results), now)
            after = replace(
                notes,
                intents=tuple(r.intent for r in results),
                flags_pending=receipt is not None and receipt.outcome is not WriteOutcome.DONE,
                learned=ports.observation.learned,
            )
            with timed("record"):
                self._save(memory, after, stored_before)
        self._flags = flags
        return PassResult(
            inputs=inputs,
            plan=made,
            before=stored.memory,
            memory=memory,
            notes=after,
            results=results,
            flags=flags,
            flag_receipt=receipt,
            problems=_problems(stored, inputs, results, receipt),
            is_advisory=is_advisory,
        )

    def _write_flags(self, inputs: Inputs, made: Plan, now: datetime) -> FlagReceipt:
        """Write the flags of a decision; a newer writer makes us step down."""
        ports = self._ports
        assert ports is not None
        order = flag_order_of(
            made,
            inputs.policy,
            expires_at=now + timedelta(seconds=inputs.policy.flag_ttl_seconds),
            with_feature_flag=True,
        )
        receipt = apply_flags(order, ports.flags, self._tools.fence, now)
        if receipt.outcome is WriteOutcome.FENCED:
            held = ports.flags.read(now).value
            self._tools.outrank(held.epoch if held is not None else self._tools.fence())
        return receipt

    def _stand_still(self, stored: Stored, inputs: Inputs, ports: PolicyPorts, made: Plan, now: datetime) -> PassResult:
        """Keep a paused policy as it is: limits are renewed until their longest stay, nothing else is done."""
        since = stored.notes.paused_since or now
        renewed = _held_plan(made, stored.memory, inputs)
        receipt = None
        outlived = _longest_stay_seconds(renewed, inputs) < (now - since).total_seconds()
        left = min((flag.expires_at for flag in inputs.snapshot.flags), default=None)
        half_life = timedelta(seconds=inputs.policy.flag_ttl_seconds * RENEW_BELOW_RATIO)
        if left is not None and left <= now + half_life and not outlived:
            receipt = self._write_flags(inputs, renewed, now)
        notes = replace(stored.notes, paused_since=since, learned=ports.observation.learned)
        self._save(stored.memory, notes, stored)
        problems = _problems(stored, inputs, (), receipt)
        if outlived and inputs.snapshot.flags:
            text = "paused for longer than its limits may stay; they are not renewed and end in stages"
            problems = (Problem(code="PausedTooLong", text=text), *problems)
        return PassResult(
            inputs=inputs,
            plan=renewed,
            before=stored.memory,
            memory=stored.memory,
            notes=notes,
            results=(),
            flags=inputs.snapshot.flags,
            flag_receipt=receipt,
            problems=problems,
            is_advisory=False,
        )

    def _note_orders(self, ports: PolicyPorts, intents: tuple[PoolIntent, ...], now: datetime) -> None:
        """Tell the observation what was ordered, for arrivals and lead times."""
        for intent in intents:
            if intent.progress is IntentProgress.DONE:
                ports.observation.note_order(intent.pool, num_nodes=intent.to_nodes - intent.from_nodes, now=now)

    def _audit(self, inputs: Inputs, before: PlanMemory, made: Plan, now: datetime) -> None:
        """Write the complete record of a decision before it is carried out; quiet ones only every so often."""
        rungs = tuple(int(verdict.rung) for verdict in made.regions)
        quiet = not made.actions and rungs == self._rungs
        self._rungs = rungs
        at = time.monotonic()
        if quiet and at - self._audited_at < self._tools.settings.audit_every_seconds:
            return
        self._audited_at = at
        record = DecisionRecord(
            now=now,
            snapshot=inputs.snapshot,
            forecasts=inputs.forecasts,
            policy=inputs.policy,
            memory=before,
            plan=made,
        )
        self._tools.audit(self._trail.lines(record))


def _intents(made: Plan) -> tuple[PoolIntent, ...]:
    """Return what a decision sets out to do to pools."""
    return tuple(
        PoolIntent(pool=action.pool, from_nodes=action.from_nodes, to_nodes=action.to_nodes, ownership=action.ownership)
        for action in made.actions
        if isinstance(action, PoolAction)
    )


def _needs_repair(inputs: Inputs) -> bool:
    """Return whether somebody edited the stored flags."""
    stored = inputs.stored_flags.value
    return stored is not None and not stored.intact and bool(stored.token)


def _resets_seen(notes: Notes, inputs: Inputs) -> tuple[str, ...]:
    """Return the breaker resets that were carried out, this pass's included."""
    mine = tuple(f"{region}={text}" for region, text in inputs.orders.breaker_resets)
    kept = tuple(entry for entry in notes.resets_seen if entry not in mine)
    return (*kept, *mine)[-MAX_RESETS_SEEN:]


def _held_plan(made: Plan, memory: PlanMemory, inputs: Inputs) -> Plan:
    """Return the plan of a paused policy: every region stays on the position that it had, and nothing else is done."""
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


def _longest_stay_seconds(held: Plan, inputs: Inputs) -> float:
    """Return how long the tightest position in force may last."""
    steps = inputs.policy.ladder.steps
    stays = [steps[verdict.step_index].max_duration_seconds for verdict in held.regions if verdict.step_index > 0]
    return min(stays, default=0.0)


def _problems(
    stored: Stored, inputs: Inputs, results: tuple[OrderResult, ...], receipt: FlagReceipt | None
) -> tuple[Problem, ...]:
    """Return everything that is wrong after a pass, the worst first."""
    found: list[Problem] = []
    if receipt is not None and receipt.outcome is not WriteOutcome.DONE:
        found.append(Problem(code="FlagsNotWritten", text=receipt.text))
    if stored.problem:
        found.append(Problem(code="StateUnreadable", text=stored.problem))
    for result in results:
        if result.intent.progress is not IntentProgress.DONE:
            code = result.receipt.outcome.name.title().replace("_", "") if result.receipt is not None else "NotScaled"
            found.append(Problem(code=code, text=f"{result.intent.pool}: {result.intent.text}"))
    return (*found, *inputs.problems)
