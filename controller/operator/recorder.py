"""Tells the world about a pass: metrics, statuses, Events, the ring of decisions, and the view for the status page."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from controller.operator.conditions import HeldCondition, Problem
from controller.operator.decision_ring import DecisionRing, Done, ring_entry
from controller.operator.entries import Assignment, PoolEntry
from controller.operator.events import Note, event_writing
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.resources import Resource
from controller.operator.policy_pass import PassResult
from controller.operator.policy_status import PolicyFacts, broken_policy_status, policy_status
from controller.operator.pool_status import PoolFacts, broken_pool_status, pool_status
from controller.operator.publisher import Publisher, status_writing
from controller.operator.resources.fields import API_VERSION
from controller.operator.state import IntentProgress
from controller.operator.status_view import DecisionView, PolicyView, done_actions, policy_view
from controller.operator.workload import Followed
from controller.telemetry.metrics import ControllerMetrics
from controller.telemetry.pool_gauges import record_pools

MAX_DECISIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderTools:
    """What recording needs: the API, the writer of statuses, metrics, and the name of this replica."""

    client: KubernetesClient
    publisher: Publisher
    metrics: ControllerMetrics
    identity: str
    namespace: str
    writes: bool


class Recorder:
    """Records the passes of one policy.

    Args:
        tools: What it needs.
        policy: Name of the policy.
    """

    def __init__(self, tools: RecorderTools, policy: str) -> None:
        """Remember nothing yet."""
        self._tools = tools
        self._policy = policy
        self._ring = DecisionRing(tools.client, namespace=tools.namespace, policy=policy)
        self._ring_loaded = False
        self._decisions: deque[DecisionView] = deque(maxlen=MAX_DECISIONS)
        self._problems: frozenset[str] = frozenset()
        self._acknowledged = 0

    def record(
        self, assignment: Assignment, result: PassResult, followed: tuple[Followed, ...], now: datetime
    ) -> PolicyView:
        """Record a pass.

        Args:
            assignment: The policy and its pools.
            result: What came of it.
            followed: What became of the workloads.
            now: Its time.

        Returns:
            What to show of the policy.
        """
        actions = done_actions(result)
        self._count(result, actions, now)
        if actions:
            plan = result.plan
            self._decisions.appendleft(
                DecisionView(
                    decision_id=plan.decision_id,
                    issued_at=plan.issued_at,
                    actions=actions,
                    reasons=tuple(reason.text for reason in plan.reasons),
                )
            )
        if self._tools.writes:
            self._write_ring(result, actions)
            self._write_statuses(assignment, result, followed, now)
            self._write_events(assignment, result, actions, now)
        models = {row.pool.spec.name: row.pool.gpu_model for row in assignment.pools if row.pool is not None}
        return policy_view(result, models, tuple(self._decisions))

    def record_broken(self, assignment: Assignment, problem: Problem, now: datetime) -> None:
        """Say what is wrong with a policy that cannot be run.

        Args:
            assignment: The policy.
            problem: What is wrong.
            now: Time of the pass.
        """
        if not self._tools.writes:
            return
        identity = assignment.entry.identity
        status = broken_policy_status(identity.generation, problem, assignment.entry.held, now)
        self._status("surgepolicies", identity.name, status)
        self._warn(assignment, (problem,), now)

    def _count(self, result: PassResult, actions: tuple[Done, ...], now: datetime) -> None:
        """Update the metrics."""
        metrics, policy = self._tools.metrics, result.inputs.policy
        metrics.decisions.inc()
        metrics.last_pass.set(now.timestamp())
        for action in actions:
            metrics.actions.labels(action.kind, action.result.partition(":")[0]).inc()
        metrics.rung.replace(
            self._policy, {(verdict.region,): float(int(verdict.rung)) for verdict in result.plan.regions}
        )
        metrics.breaker_open.replace(
            self._policy, {(memory.region,): float(memory.breaker_open) for memory in result.plan.memory.regions}
        )
        ages: dict[tuple[str, ...], float] = {}
        for row in result.plan.inputs:
            name = (row.name.rpartition("/")[2],)
            age = float("inf") if row.age_seconds is None else row.age_seconds
            ages[name] = max(ages.get(name, 0.0), age)
        metrics.input_age.replace(self._policy, ages)
        record_pools(metrics, self._policy, policy.pools, result.inputs.snapshot.pools)
        metrics.forecasts.publish(self._policy, result.inputs.forecasts.demand, policy.capacity)
        stored, heard = result.inputs.stored_flags.value, result.inputs.acknowledgement.value
        if stored is None or heard is None or stored.written_at is None:
            return
        if heard.complete and heard.revision > self._acknowledged:
            self._acknowledged = heard.revision
            metrics.propagation.observe(max((now - stored.written_at).total_seconds(), 0.0))

    def _write_ring(self, result: PassResult, actions: tuple[Done, ...]) -> None:
        """Add a decision that changed something to the ring."""
        if not actions:
            return
        if not self._ring_loaded:
            self._ring.load()
            self._ring_loaded = True
        entry = ring_entry(result.plan, actions, advisory=result.is_advisory)
        self._tools.publisher.publish(self._ring.add(entry))

    def _write_statuses(
        self, assignment: Assignment, result: PassResult, followed: tuple[Followed, ...], now: datetime
    ) -> None:
        """Let the statuses say what is there."""
        inputs, identity = result.inputs, assignment.entry.identity
        facts = PolicyFacts(
            policy=inputs.policy,
            generation=identity.generation,
            plan=result.plan,
            memory=result.memory,
            snapshot=inputs.snapshot,
            forecasts=inputs.forecasts,
            flags=result.flags,
            flags_decision=result.plan.decision_id if result.flag_receipt is not None else _writer(result),
            problems=result.problems,
            paused=inputs.paused,
            advisory=result.is_advisory,
        )
        status = policy_status(facts, assignment.entry.held, now)
        self._status("surgepolicies", identity.name, status)
        self._tools.metrics.condition.replace(
            self._policy,
            {
                (self._policy, verdict["type"]): float(verdict["status"] == "True")
                for verdict in status["conditions"]  # type: ignore[attr-defined]
            },
        )
        states = {state.name: state for state in inputs.snapshot.pools}
        intents = {intent.pool: intent for intent in result.notes.intents}
        troubles = {pool: row.problem for row in followed for pool in row.pools}
        judged = {row.name: row.freshness for row in result.plan.inputs}
        for row in assignment.pools:
            if row.pool is None:
                continue
            name = row.pool.spec.name
            intent = intents.get(name)
            pool_facts = PoolFacts(
                pool=row.pool,
                state=states.get(name),
                size=inputs.observed.sizes.get(name),
                memory=result.memory.pool(name),
                intent=intent,
                workload_problem=troubles.get(name),
                judged=judged,
            )
            self._status("gpupools", name, pool_status(pool_facts, row.held, now))

    def _write_events(
        self, assignment: Assignment, result: PassResult, actions: tuple[Done, ...], now: datetime
    ) -> None:
        """Say what was done, once each, and what is wrong, when it begins."""
        identities = {row.identity.name: row.identity for row in assignment.pools}
        intents = {intent.pool: intent for intent in result.notes.intents}
        for action in actions:
            failed = action.result not in ("done", "reported only")
            is_pool = action.kind == "nodes"
            about = identities.get(action.subject) if is_pool else assignment.entry.identity
            if about is None:
                continue
            intent = intents.get(action.subject)
            if is_pool and intent is not None and intent.progress is IntentProgress.DONE:
                reason = "Scaled"
            elif is_pool:
                reason = "NotScaled" if failed else "WouldScale"
            else:
                reason = "LimitsNotWritten" if failed else "LimitsChanged"
            words = action.change if not failed else f"{action.change}: {action.result}"
            note = Note(
                kind="GPUPool" if is_pool else "SurgePolicy",
                about=about,
                reason=reason,
                action="Scale" if is_pool else "Limit",
                text=f"{words} ({action.why})" if is_pool else f"{action.subject}: {words} ({action.why})",
                is_warning=failed,
                decision_id=result.plan.decision_id,
            )
            self._event(note, now)
        self._warn(assignment, result.problems, now)

    def _warn(self, assignment: Assignment, problems: tuple[Problem, ...], now: datetime) -> None:
        """Say of each kind of problem when it begins."""
        codes = frozenset(problem.code for problem in problems)
        for problem in problems:
            if problem.code in codes - self._problems:
                self._event(
                    Note(
                        kind="SurgePolicy",
                        about=assignment.entry.identity,
                        reason=problem.code,
                        action="Pass",
                        text=problem.text,
                        is_warning=True,
                    ),
                    now,
                )
        self._problems = codes

    def _event(self, note: Note, now: datetime) -> None:
        """Queue an Event."""
        tools = self._tools
        tools.publisher.publish(event_writing(tools.client, note, identity=tools.identity, now=now))

    def _status(self, plural: str, name: str, status: dict[str, object]) -> None:
        """Queue a status."""
        resource = Resource(api_version=API_VERSION, plural=plural, namespace=self._tools.namespace)
        self._tools.publisher.publish(status_writing(self._tools.client, resource, name, status))


def record_broken_pools(tools: RecorderTools, pools: tuple[PoolEntry, ...], now: datetime) -> None:
    """Say what is wrong with pools whose spec cannot be used.

    Args:
        tools: What recording needs.
        pools: All pools.
        now: Time of the pass.
    """
    if not tools.writes:
        return
    resource = Resource(api_version=API_VERSION, plural="gpupools", namespace=tools.namespace)
    for row in pools:
        if row.pool is None:
            held: tuple[HeldCondition, ...] = row.held
            status = broken_pool_status(row.identity.generation, row.problem, held, now)
            tools.publisher.publish(status_writing(tools.client, resource, row.identity.name, status))


def _writer(result: PassResult) -> str:
    """Return the decision that last wrote the flags."""
    stored = result.inputs.stored_flags.value
    return stored.rendered.decision_id if stored is not None else ""
