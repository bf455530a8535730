"""The observation port of a real cluster: asks, within a bound of time, and puts the snapshot together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from controller.adapters.learned import LeadTimes, Learned, PoolRecord
from controller.adapters.observation.arrivals import LeadPrior, lead_times, noted, reconciled
from controller.adapters.observation.pools import PoolEvidence, count_nodes, nodes_by_pool, pool_state
from controller.adapters.observation.reading import Table, split_recorded, tabulate
from controller.adapters.observation.regions import region_states
from controller.adapters.observation.signals import Signal, SignalSettings, SignalSource, queries, recorded_query
from controller.adapters.ports import CapacityPort, FlagPort, NodeFacts, NodeSource, Observed, PoolSize
from controller.adapters.prometheus import Answer, PrometheusClient
from controller.adapters.targets import PoolTarget
from controller.types import FlagInForce, FleetSnapshot, NodeCounts, Policy, PoolSpec, PoolState, Sample

NOT_ASKED = "not asked, because Prometheus did not answer in time"
LOST_AFTER_LEADS = 3.0
"""An order is lost after so many lead times at 95 %, or after the pool's own deadline where that is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationSettings:
    """Bounds of one look at the fleet.

    Attributes:
        selector: Label matchers that every series must carry; empty asks all.
        source: Ask once for all recording rules, or for each query behind them.
        num_queries: Queries that are under way at once.
        metrics_seconds: No query is begun later than this after the first.
        rules_again_seconds: Time after which rules that had recorded nothing are looked for again.
    """

    selector: str = ""
    source: SignalSource = SignalSource.AUTO
    num_queries: int = 4
    metrics_seconds: float = 5.0
    rules_again_seconds: float = 60.0


class ClusterObservation:
    """Implements :class:`~controller.adapters.ports.ObservationPort`.

    Args:
        prometheus: Where the metrics are.
        capacity: Where the sizes of pools are.
        nodes: Where the Node objects are.
        settings: Bounds.
        flags: Where the limits in force are; None for a look without them.
        learned: What was learned before a restart.
    """

    def __init__(
        self,
        prometheus: PrometheusClient,
        capacity: CapacityPort,
        nodes: NodeSource,
        settings: ObservationSettings,
        *,
        flags: FlagPort | None = None,
        learned: Learned | None = None,
    ) -> None:
        """Remember what was learned before."""
        self._prometheus = prometheus
        self._capacity = capacity
        self._nodes = nodes
        self._settings = settings
        self._flags = flags
        before = Learned() if learned is None else learned
        self._records = {record.pool: record for record in before.pools}
        self._propagation_seconds = before.propagation_seconds
        self._priors: dict[str, LeadPrior] = {}
        self._flags_in_force: tuple[FlagInForce, ...] = ()
        self._no_rules_until = float("-inf")

    @property
    def learned(self) -> Learned:
        """What to store, for a restart."""
        return Learned(pools=tuple(self._records.values()), propagation_seconds=self._propagation_seconds)

    def note_order(self, pool: str, *, num_nodes: int, now: datetime) -> None:
        """Remember an order.

        Args:
            pool: The pool.
            num_nodes: Nodes ordered; negative: given back.
            now: When.
        """
        record = self._records.get(pool, PoolRecord(pool=pool))
        prior = self._priors.get(pool)
        if prior is not None:
            lead = lead_times(record, prior)
            self._records[pool] = noted(record, num_nodes=num_nodes, now=now, lead=lead)

    def observe(self, policy: Policy, pools: tuple[PoolTarget, ...], now: datetime) -> Observed:
        """Put a snapshot together.

        Args:
            policy: Regions, tiers and pools that the snapshot must have, in its order.
            pools: What to read for each pool of the policy.
            now: Time of the snapshot.

        Returns:
            The snapshot and what goes with it.
        """
        table = tabulate(self._ask(policy, now))
        sizes = self._capacity.read_many(pools, now)
        nodes = self._nodes.nodes(now)
        own = nodes_by_pool(pools, nodes.value or ())
        self._priors = {spec.name: _prior(spec) for spec in policy.pools}
        self._records = {name: record for name, record in self._records.items() if name in self._priors}
        targets = {pool.pool: pool for pool in pools}
        problems = [*_size_problems(sizes), *_node_problems(nodes)]
        states, leads = [], []
        for spec in policy.pools:
            target = targets.get(spec.name)
            if target is None:
                problems.append(f"pool {spec.name}: the policy has it, but no GPUPool does")
                continue
            mine = Sample(
                value=None if nodes.value is None else own[spec.name], as_of=nodes.as_of, freshness=nodes.freshness
            )
            evidence = PoolEvidence(target=target, size=sizes.get(spec.name, Sample.absent()), nodes=mine, table=table)
            state, lead = self._pool(evidence, policy, now, problems)
            states.append(state)
            leads.append(lead)
        snapshot = FleetSnapshot(
            as_of=now, regions=region_states(table, policy, now), pools=tuple(states), flags=self._in_force(now)
        )
        return Observed(
            snapshot=snapshot,
            sizes=sizes,
            lead_times=tuple(leads),
            hottest_nodes=_hottest(table),
            problems=tuple(_short(table.problems)),
            pool_problems=tuple(problems),
        )

    def _pool(
        self, evidence: PoolEvidence, policy: Policy, now: datetime, problems: list[str]
    ) -> tuple[PoolState, LeadTimes]:
        """Return one pool and its lead times; what was learned of it is remembered."""
        stale_after_seconds = policy.stale_after_seconds
        counts = count_nodes(evidence, now, stale_after_seconds=stale_after_seconds)
        name = evidence.target.pool
        record, prior = self._records.get(name, PoolRecord(pool=name)), self._priors[name]
        lead = lead_times(record, prior)
        if counts.is_fresh and counts.value is not None:
            record, num_lost = _counted(record, counts.value, evidence.target, lead, now)
            self._records[name] = record
            lead = lead_times(record, prior)
            if num_lost:
                problems.append(f"pool {name}: {num_lost} nodes that were ordered never came; they are expected anew")
        with_arrivals = replace(evidence, arrivals=record.orders)
        state = pool_state(with_arrivals, counts, policy.capacity, now, stale_after_seconds=stale_after_seconds)
        return state, lead

    def _ask(self, policy: Policy, now: datetime) -> Mapping[Signal, Answer]:
        """Ask for every signal."""
        settings = SignalSettings(
            busy_watts=policy.capacity.busy_watts_per_gpu,
            selector=self._settings.selector,
        )
        recorded = self._ask_rules(settings, now)
        return self._ask_directly(settings, now) if recorded is None else recorded

    def _ask_rules(self, settings: SignalSettings, now: datetime) -> Mapping[Signal, Answer] | None:
        """Ask for all that rules have recorded; None where each signal is to be asked directly."""
        source, at = self._settings.source, time.monotonic()
        if source is SignalSource.DIRECT or (source is SignalSource.AUTO and at < self._no_rules_until):
            return None
        answer = self._prometheus.instant(recorded_query(settings), now)
        if source is SignalSource.AUTO and answer.problem is None and not answer.readings:
            self._no_rules_until = at + self._settings.rules_again_seconds
            return None
        return split_recorded(answer)

    def _ask_directly(self, settings: SignalSettings, now: datetime) -> Mapping[Signal, Answer]:
        """Ask for one signal after the other; once one is not answered in time, the rest is left out."""
        wanted = queries(settings)
        until = time.monotonic() + self._settings.metrics_seconds
        silent = False

        def ask(signal: Signal) -> Answer:
            nonlocal silent
            if silent or time.monotonic() > until:
                return Answer(problem=NOT_ASKED)
            answer = self._prometheus.instant(wanted[signal], now)
            silent = silent or not answer.reached
            return answer

        with ThreadPoolExecutor(self._settings.num_queries, thread_name_prefix="signals") as workers:
            return dict(zip(Signal, workers.map(ask, Signal), strict=True))

    def _in_force(self, now: datetime) -> tuple[FlagInForce, ...]:
        """Return the limits in force; while the store is silent, those that it held last."""
        stored = None if self._flags is None else self._flags.read(now).value
        if stored is not None:
            self._flags_in_force = stored.rendered.flags
        return tuple(flag for flag in self._flags_in_force if flag.expires_at > now)


def _prior(spec: PoolSpec) -> LeadPrior:
    """Return a pool's lead times from the policy."""
    return LeadPrior(p50_seconds=spec.lead_time_p50_seconds, p95_seconds=spec.lead_time_p95_seconds)


def _counted(
    record: PoolRecord, counts: NodeCounts, target: PoolTarget, lead: LeadTimes, now: datetime
) -> tuple[PoolRecord, int]:
    """Return a pool's record after a fresh count, and how many nodes were given up."""
    return reconciled(
        record,
        serving=counts.serving,
        pending=counts.pending,
        now=now,
        lead=lead,
        lost_after_seconds=max(LOST_AFTER_LEADS * lead.p95_seconds, target.init_deadline_seconds),
    )


def _hottest(table: Table) -> Mapping[str, tuple[str, ...]]:
    """Return each pool's nodes, those with the least margin first."""
    found: dict[str, list[tuple[float, str]]] = {}
    for pool, node in table.keys(Signal.HOTTEST):
        margin = table.get(Signal.HOTTEST, pool, node)
        if margin is not None and node:
            found.setdefault(pool, []).append((margin, node))
    return {pool: tuple(node for _, node in sorted(rows)) for pool, rows in found.items()}


def _short(problems: tuple[str, ...]) -> list[str]:
    """Return problems of the metrics, those that say the same of several signals put into one."""
    signals: dict[str, list[str]] = {}
    for problem in problems:
        signal, _, text = problem.partition(": ")
        signals.setdefault(text, []).append(signal)
    return [
        f"{names[0]}: {text}" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more signals: {text}"
        for text, names in signals.items()
    ]


def _size_problems(sizes: Mapping[str, Sample[PoolSize]]) -> list[str]:
    """Return what the pools' APIs complain of."""
    problems = []
    for name, size in sizes.items():
        if size.value is None:
            problems.append(f"pool {name}: its API does not answer")
        else:
            problems += size.value.messages
    return problems


def _node_problems(nodes: Sample[tuple[NodeFacts, ...]]) -> list[str]:
    """Return what is wrong with the list of nodes."""
    return [] if nodes.is_fresh else [f"the list of nodes is {nodes.freshness.value}"]
