"""One pass over one policy: observe, plan, store the intent, apply on a fresh read, record.

Level-triggered: each pass decides from what is there now; what an earlier one left undone is settled first, by looking
whether it happened. A failure of any part is a problem in the policy's status and the pass of the next period.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from controller.adapters.ports import FlagReceipt, WriteOutcome
from controller.operator.apply import (
    OrderResult,
    Orders,
    apply_flags,
    apply_orders,
    flag_order_of,
    without_failed,
)
from controller.operator.conditions import Problem
from controller.operator.entries import Assignment
from controller.operator.policy_inputs import Inputs, PolicyPorts, gather
from controller.operator.policy_pass import (
    PassContext,
    PassResult,
    RunnerTools,
    has_feature_flag,
    held_plan,
    intents_of,
    longest_stay_seconds,
    needs_repair,
    problems,
    resets_seen,
)
from controller.operator.state import FencedError, IntentProgress, Notes, PoolIntent, StateStore, Stored
from controller.planning import plan
from controller.planning.audit import AuditTrail, DecisionRecord
from controller.planning.flags import RENEW_BELOW_RATIO
from controller.types import (
    FlagInForce,
    Mode,
    PausedDirection,
    Plan,
    PlanMemory,
)

RESUME_SECONDS = 60.0
"""A change of size that may not have happened is done within this time of its decision, or decided anew."""
SHOW_UNREADABLE_SECONDS = 600.0


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
        self._unreadable = "", 0.0
        self._log = structlog.get_logger()

    def forget(self) -> None:
        """Forget everything: another replica may have led meanwhile."""
        self._stored = None
        self.close()

    def close(self) -> None:
        """End what runs beside the passes."""
        if self._ports is not None:
            self._ports.close()
        self._ports = None

    @property
    def ports(self) -> PolicyPorts | None:
        """The policy's world; None before the first pass."""
        return self._ports

    def open_ports(self, assignment: Assignment) -> PolicyPorts:
        """Return the policy's world without a pass, for a policy that is to end."""
        return self._ports_of(assignment, self._load())

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
        current = PassContext(
            stored=stored, assignment=assignment, ports=ports, inputs=inputs, made=made, now=now, began=began
        )
        if inputs.paused is PausedDirection.ALL and not is_advisory:
            return self._stand_still(current)
        return self._carry_out(current, is_advisory=is_advisory)

    # -- state -------------------------------------------------------------------------------------------------------

    def _load(self) -> Stored:
        """Return the state, read anew where it is not known for certain."""
        if self._stored is None:
            empty = Stored(memory=PlanMemory(), notes=Notes(), epoch=0, version=None)
            self._stored = empty if self._store is None else self._store.read()
            if self._stored.problem:
                self._unreadable = self._stored.problem, time.monotonic()
            if self._store is not None and self._stored.epoch > self._tools.fence():
                self._tools.outrank(self._stored.epoch)
                self._tools.fence()
        return self._stored

    def _state_problem(self) -> str:
        """Return what could not be read of the state, for long enough that a person sees it."""
        text, at = self._unreadable
        return text if time.monotonic() - at < SHOW_UNREADABLE_SECONDS else ""

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
            learned = stored.notes.learned if self._ports is None else self._ports.learned
            self.close()
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
                is_settling=True,
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

    def _carry_out(self, current: PassContext, *, is_advisory: bool) -> PassResult:
        """Store what is to be done, do it, and store what came of it."""
        inputs, made, timed = current.inputs, current.made, self._tools.metrics.timed
        writes_flags = not is_advisory and (made.flags is not None or needs_repair(inputs))
        notes = replace(
            current.stored.notes,
            decision_id=made.decision_id,
            decided_at=current.now,
            intents=() if is_advisory else intents_of(made, inputs),
            flags_pending=writes_flags,
            learned=current.ports.learned,
            paused_since=None,
            resets_seen=resets_seen(current.stored.notes, inputs),
        )
        with timed("intend"):
            saved = self._save(made.memory, notes, current.stored)
        receipt = None
        if writes_flags:
            with timed("flags"):
                receipt = self._write_flags(current, made)
        results: tuple[OrderResult, ...] = ()
        if notes.intents:
            with timed("pools"):
                orders = current.orders(notes, max_apply_seconds=self._tools.settings.max_apply_seconds)
                results = apply_orders(
                    orders, current.ports.capacity, self._tools.fence, self._tools.appliers, current.now
                )
        if writes_flags or results:
            with timed("record"):
                saved = self._record(current, saved, results, receipt)
        return self._result(current, saved, results, receipt, is_advisory=is_advisory)

    def _record(
        self, current: PassContext, saved: Stored, results: tuple[OrderResult, ...], receipt: FlagReceipt | None
    ) -> Stored:
        """Store what came of a decision."""
        failed = tuple(r.intent for r in results if r.intent.progress is IntentProgress.FAILED)
        self._note_orders(current.ports, tuple(r.intent for r in results), current.now)
        notes = replace(
            saved.notes,
            intents=tuple(r.intent for r in results),
            flags_pending=receipt is not None and receipt.outcome is not WriteOutcome.DONE,
            learned=current.ports.learned,
        )
        return self._save(without_failed(saved.memory, failed, current.now), notes, saved)

    def _result(
        self,
        current: PassContext,
        saved: Stored,
        results: tuple[OrderResult, ...],
        receipt: FlagReceipt | None,
        *,
        is_advisory: bool,
    ) -> PassResult:
        """Return what came of a pass, and remember which limits are in force."""
        inputs, made = current.inputs, current.made
        flags = inputs.snapshot.flags
        if receipt is not None and receipt.outcome is WriteOutcome.DONE:
            flags = made.flags or ()
        self._flags = flags
        return PassResult(
            inputs=inputs,
            plan=made,
            before=current.stored.memory,
            memory=saved.memory,
            notes=saved.notes,
            results=results,
            flags=flags,
            flag_receipt=receipt,
            problems=problems(self._state_problem(), inputs, made, results, receipt),
            is_advisory=is_advisory,
        )

    def _write_flags(self, current: PassContext, made: Plan) -> FlagReceipt:
        """Write the flags of a decision; a newer writer makes us step down."""
        policy, flags = current.inputs.policy, current.ports.flags
        order = flag_order_of(
            made,
            policy,
            expires_at=current.now + timedelta(seconds=policy.flag_ttl_seconds),
            with_feature_flag=has_feature_flag(current.assignment),
        )
        receipt = apply_flags(order, flags, self._tools.fence, current.now)
        if receipt.outcome is WriteOutcome.FENCED:
            held = flags.read(current.now).value
            self._tools.outrank(held.epoch if held is not None else self._tools.fence())
        return receipt

    def _stand_still(self, current: PassContext) -> PassResult:
        """Keep a paused policy as it is: limits are renewed until their longest stay, nothing else is done."""
        stored, inputs, now = current.stored, current.inputs, current.now
        since = stored.notes.paused_since or now
        held = replace(current, made=held_plan(current.made, stored.memory, inputs))
        receipt = None
        outlived = longest_stay_seconds(held.made, inputs) < (now - since).total_seconds()
        ends = min((flag.expires_at for flag in inputs.snapshot.flags), default=None)
        half_life = timedelta(seconds=inputs.policy.flag_ttl_seconds * RENEW_BELOW_RATIO)
        if ends is not None and ends <= now + half_life and not outlived:
            receipt = self._write_flags(held, held.made)
        notes = replace(stored.notes, paused_since=since, learned=current.ports.learned)
        saved = self._save(stored.memory, notes, stored)
        result = self._result(held, saved, (), None, is_advisory=False)
        found = problems(self._state_problem(), inputs, held.made, (), receipt)
        if outlived and inputs.snapshot.flags:
            text = "paused for longer than its limits may stay; they are not renewed and end in stages"
            found = (Problem(code="PausedTooLong", text=text), *found)
        return replace(result, flag_receipt=receipt, problems=found)

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
