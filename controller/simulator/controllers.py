"""The port of the policies that a replay compares, and the three that it always knows.

``none`` does nothing; ``reactive`` scales nodes on measured utilisation as the Kubernetes HorizontalPodAutoscaler does;
``meltguard`` is :func:`controller.planning.plan`. :mod:`controller.simulator.policies` names all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from controller.planning import plan
from controller.planning.wording import position_text
from controller.simulator.record import DecisionMark
from controller.types import (
    FlagInForce,
    FleetSnapshot,
    ForecastSet,
    Plan,
    PlanMemory,
    Policy,
    PoolAction,
    PoolSpec,
    PoolState,
    Rung,
)

HOLD_QUIET = timedelta(minutes=30)
"""A hold that comes and goes is told once in this time; holds touch nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagWrite:
    """A whole flag set to write, its revision and its time to live."""

    flags: tuple[FlagInForce, ...]
    revision: int
    ttl_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a policy wants done.

    Attributes:
        pool_nodes: New sizes, by pool; pools that stay are left out.
        flags: The flag set to write; None when what is in force may stand.
        rungs: Each region's rung; regions left out stand on 0.
        marks: The decision in words, for the report.
    """

    pool_nodes: dict[str, int] = field(default_factory=dict)
    flags: FlagWrite | None = None
    rungs: dict[str, Rung] = field(default_factory=dict)
    marks: tuple[DecisionMark, ...] = ()


class Controller(Protocol):
    """A policy that the closed loop can run.

    Attributes:
        uses_models: Whether it looks at demand forecasts and thermal models; without, the loop saves their cost.
    """

    uses_models: bool

    def decide(self, snapshot: FleetSnapshot, forecasts: ForecastSet, now: datetime) -> Decision:
        """Return what to do now; the forecasts may be ignored.

        Args:
            snapshot: What is known.
            forecasts: Demand forecasts; may be ignored.
            now: Virtual time.

        Returns:
            What to do.
        """
        ...


class NoController:
    """Does nothing: what happens to a fleet that nobody steers."""

    uses_models = False

    def decide(self, snapshot: FleetSnapshot, forecasts: ForecastSet, now: datetime) -> Decision:
        """Return nothing to do.

        Args:
            snapshot: What is known.
            forecasts: Demand forecasts; may be ignored.
            now: Virtual time.

        Returns:
            What to do.
        """
        del snapshot, forecasts, now
        return Decision()


class ReactiveController:
    """Scales each pool on measured utilisation with the defaults of the HorizontalPodAutoscaler.

    ``desired = ceil(current * utilisation / target)`` with a tolerance of 10 %, at once upwards, and downwards to the
    largest recommendation of the last 300 s (Kubernetes documentation, "Horizontal Pod Autoscaling"). It sees neither
    temperature nor sign-ups and flips no flag.
    """

    uses_models = False
    TARGET_RATIO = 0.7
    TOLERANCE_RATIO = 0.1
    STABILIZATION_SECONDS = 300.0

    def __init__(self, policy: Policy) -> None:
        """Take pool bounds and the cost of an image from the policy."""
        self._policy = policy
        self._recommended: dict[str, list[tuple[datetime, int]]] = {}
        self._num_decisions = 0

    def decide(self, snapshot: FleetSnapshot, forecasts: ForecastSet, now: datetime) -> Decision:
        """Return new sizes for pools whose utilisation is off its target.

        Args:
            snapshot: What is known.
            forecasts: Demand forecasts; may be ignored.
            now: Virtual time.

        Returns:
            What to do.
        """
        del forecasts
        self._num_decisions += 1
        sizes: dict[str, int] = {}
        marks = []
        states = {state.name: state for state in snapshot.pools}
        for spec in self._policy.pools:
            state = states.get(spec.name)
            counts = state.nodes.value if state is not None else None
            if state is None or counts is None or counts.serving == 0:
                continue
            utilization = self._utilization(snapshot, spec.region)
            wanted = self._wanted(spec, counts.serving, counts.desired, utilization, now)
            if wanted != counts.desired:
                sizes[spec.name] = wanted
                marks.append(self._mark(state, counts.desired, wanted, utilization, now))
        return Decision(pool_nodes=sizes, marks=tuple(marks))

    def _utilization(self, snapshot: FleetSnapshot, region: str) -> float:
        """Return the share of a region's GPUs at work, from images served."""
        gpus = sum(
            state.nodes.value.serving * spec.gpus_per_node
            for state in snapshot.pools
            for spec in self._policy.pools
            if spec.name == state.name and state.region == region and state.nodes.value is not None
        )
        served = sum(
            tier.served_rate.value or 0.0 for entry in snapshot.regions if entry.name == region for tier in entry.tiers
        )
        return served * self._policy.capacity.gpu_seconds_per_request / max(gpus, 1)

    def _wanted(self, spec: PoolSpec, serving: int, desired: int, utilization: float, now: datetime) -> int:
        """Return the size after tolerance, stabilisation and the pool's bounds."""
        ratio = utilization / self.TARGET_RATIO
        raw = desired if abs(ratio - 1.0) <= self.TOLERANCE_RATIO else math.ceil(serving * ratio)
        window = timedelta(seconds=self.STABILIZATION_SECONDS)
        # The first recommendation is the present size, as in the HorizontalPodAutoscaler: no scale-in at start-up.
        seen = self._recommended.get(spec.name, [(now, desired)])
        history = [(at, n) for at, n in seen if now - at <= window]
        history.append((now, raw))
        self._recommended[spec.name] = history
        stable = max(n for _, n in history) if raw < desired else raw
        stable = min(stable, desired) if raw < desired else max(stable, desired)
        return min(max(stable, spec.min_nodes), spec.max_nodes)

    def _mark(self, state: PoolState, before: int, after: int, utilization: float, now: datetime) -> DecisionMark:
        """Return the words for one change of size."""
        return DecisionMark(
            at=now,
            decision_id=f"r-{self._num_decisions:06d}",
            kind="nodes",
            region=state.region,
            rung=0,
            title=f"{state.name}: {before} → {after} nodes",
            reason=f"utilisation {utilization:.0%}, target {self.TARGET_RATIO:.0%}",
            nodes_added=after - before,
        )


class MeltguardController:
    """Runs the planner and keeps its memory."""

    uses_models = True

    def __init__(self, policy: Policy) -> None:
        """Start with an empty memory."""
        self._policy = policy
        self._memory = PlanMemory()
        self._last_rungs: dict[str, Rung] = {}
        self._told_hold: dict[str, datetime] = {}
        self.last_plan: Plan | None = None

    def decide(self, snapshot: FleetSnapshot, forecasts: ForecastSet, now: datetime) -> Decision:
        """Return what the plan says.

        Args:
            snapshot: What is known.
            forecasts: Demand forecasts; may be ignored.
            now: Virtual time.

        Returns:
            What to do.
        """
        before = self._memory
        made = plan(snapshot, forecasts, self._policy, before, now)
        self._memory = made.memory
        self.last_plan = made
        marks = self._marks(made, before)
        self._last_rungs = {verdict.region: verdict.rung for verdict in made.regions}
        write = None
        if made.flags is not None:
            write = FlagWrite(
                flags=made.flags, revision=made.memory.flag_revision, ttl_seconds=self._policy.flag_ttl_seconds
            )
        return Decision(
            pool_nodes={action.pool: action.to_nodes for action in made.actions if isinstance(action, PoolAction)},
            flags=write,
            rungs=dict(self._last_rungs),
            marks=marks,
        )

    def _marks(self, made: Plan, before: PlanMemory) -> tuple[DecisionMark, ...]:
        """Return the plan in words: changes of size, of position, and of rung without either."""
        region_of = {spec.name: spec.region for spec in self._policy.pools}
        rung_of = {verdict.region: int(verdict.rung) for verdict in made.regions}
        marks = [
            DecisionMark(
                at=made.issued_at,
                decision_id=made.decision_id,
                kind="nodes",
                region=region_of[action.pool],
                rung=rung_of.get(region_of[action.pool], 0),
                title=f"{action.pool}: {action.from_nodes} → {action.to_nodes} nodes",
                reason=action.why.text,
                nodes_added=action.to_nodes - action.from_nodes,
            )
            for action in made.actions
            if isinstance(action, PoolAction)
        ]
        for verdict in made.regions:
            old = before.region(verdict.region).step_index
            if verdict.step_index != old:
                kind = "limit" if verdict.step_index > old else "restore"
                title = position_text(self._policy.ladder.steps[verdict.step_index])
            elif verdict.rung is Rung.HOLD and self._is_news(verdict.region, made.issued_at):
                kind, title = "rung", "hold: no scale-in"
            else:
                continue
            marks.append(
                DecisionMark(
                    at=made.issued_at,
                    decision_id=made.decision_id,
                    kind=kind,
                    region=verdict.region,
                    rung=int(verdict.rung),
                    title=title,
                    reason=verdict.why.text,
                )
            )
        return tuple(marks)

    def _is_news(self, region: str, now: datetime) -> bool:
        """Return whether a hold is worth a line: it began now, and none was told within the last half hour."""
        if self._last_rungs.get(region) is not Rung.OBSERVE:
            return False
        told = self._told_hold.get(region)
        if told is not None and now - told < HOLD_QUIET:
            return False
        self._told_hold[region] = now
        return True
