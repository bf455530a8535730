"""One pool as the planner sees it, out of its API, its Node objects and its metrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from controller.adapters.observation.reading import Table, sample
from controller.adapters.observation.signals import Signal
from controller.adapters.ports import NodeFacts, PoolSize
from controller.adapters.targets import AsgTarget, EksTarget, ObjectReference, PoolTarget
from controller.planning.heat import FALLBACK_GAINS_CELSIUS_PER_WATT, FALLBACK_TIME_CONSTANTS_SECONDS
from controller.types import Freshness, NodeCounts, PendingNodes, PoolMargin, PoolState, PoolThermal, Sample
from forecasting.capacity import CapacityModel

MIN_SEEN_RATIO = 0.5
"""When fewer of the GPUs on ready nodes are seen in the metrics than this share, the metrics speak for too few."""
POOL_LABEL = "meltguard.dev/pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEvidence:
    """What is known of one pool.

    Attributes:
        target: The pool.
        size: What its API says.
        nodes: Its Node objects.
        table: The metrics.
        arrivals: Nodes on their way.
    """

    target: PoolTarget
    size: Sample[PoolSize]
    nodes: Sample[tuple[NodeFacts, ...]]
    table: Table
    arrivals: tuple[PendingNodes, ...] = ()


def node_labels(pool: PoolTarget) -> Mapping[str, str]:
    """Return the labels by which a pool's nodes are known: its own, or those that the provider sets."""
    if pool.node_labels:
        return pool.node_labels
    match pool.target:
        case EksTarget() as target:
            return {"eks.amazonaws.com/nodegroup": target.nodegroup}
        case ObjectReference(kind="NodePool") as target:
            return {"karpenter.sh/nodepool": target.name}
        case AsgTarget() | _:
            return {POOL_LABEL: pool.pool}


def nodes_by_pool(pools: tuple[PoolTarget, ...], nodes: tuple[NodeFacts, ...]) -> Mapping[str, tuple[NodeFacts, ...]]:
    """Return each pool's nodes, looking at every node once for each label that pools are known by.

    Args:
        pools: The pools.
        nodes: The nodes of the cluster.

    Returns:
        Nodes by pool; an empty tuple for a pool without any.
    """
    wanted = {pool.pool: tuple(sorted(node_labels(pool).items())) for pool in pools}
    names = {labels[0][0] for labels in wanted.values()}
    index: dict[tuple[str, str], list[NodeFacts]] = {}
    for node in nodes:
        for name in names & node.labels.keys():
            index.setdefault((name, node.labels[name]), []).append(node)
    return {
        pool: tuple(
            node for node in index.get(labels[0], ()) if all(node.labels.get(key) == value for key, value in labels)
        )
        for pool, labels in wanted.items()
    }


def count_nodes(evidence: PoolEvidence, now: datetime, *, stale_after_seconds: float) -> Sample[NodeCounts]:
    """Count a pool's nodes by state.

    A node is ready when it is schedulable and shows all its GPUs: one that is Ready before its GPUs can be allocated
    would be counted as capacity while it is none, and be ordered a second time. Where no inference pod tells which
    nodes serve, ready ones are taken to.

    Args:
        evidence: What is known.
        now: The present.
        stale_after_seconds: Older is stale.

    Returns:
        The counts; absent when the pool's API or the nodes are.
    """
    size, own = evidence.size.value, evidence.nodes.value
    if size is None or size.desired is None or evidence.size.as_of is None:
        return Sample.absent()
    if own is None or evidence.nodes.as_of is None:
        return Sample.absent()
    if own or size.created is None:
        gpus = evidence.target.gpus_per_node
        created = len(own)
        ready = sum(1 for node in own if node.is_ready and node.is_schedulable and node.num_gpus >= gpus)
    else:
        # A pool whose nodes are not this cluster's, or carry no label yet: its own API counts them.
        created, ready = size.created, size.ready or 0
    seen = evidence.table.get(Signal.SERVING_NODES, evidence.target.pool)
    serving = ready if seen is None else min(int(seen), ready)
    counts = NodeCounts(
        desired=size.desired,
        created=created,
        ready=ready,
        serving=serving,
        pending=max(size.desired - serving, 0),
    )
    as_of = min(evidence.size.as_of, evidence.nodes.as_of)
    inherited = Freshness.FRESH if evidence.nodes.is_fresh and evidence.size.is_fresh else Freshness.STALE
    return Sample(value=counts, as_of=as_of, freshness=inherited).aged(now, stale_after_seconds=stale_after_seconds)


def pool_state(
    evidence: PoolEvidence,
    counts: Sample[NodeCounts],
    capacity: CapacityModel,
    now: datetime,
    *,
    stale_after_seconds: float,
) -> PoolState:
    """Return one pool.

    Args:
        evidence: What is known.
        counts: Its nodes, from :func:`count_nodes`.
        capacity: Power of an idle and a busy GPU.
        now: The present.
        stale_after_seconds: Older is stale.

    Returns:
        The pool; what is not known of it is absent.
    """
    pool, table = evidence.target, evidence.table
    name = pool.pool
    seen_at = table.get(Signal.MARGIN_AT, name)
    doubtful = _speaks_for_too_few(evidence, counts)

    def aged(value: float | None, at: float | None, *signals: Signal) -> Sample[float]:
        contradictory = doubtful or table.contradicts((name,), *signals)
        return sample(value, at, now, stale_after_seconds=stale_after_seconds, contradictory=contradictory)

    margin = _margin(table, name)
    slowdown_at = table.get(Signal.SLOWDOWN_AT, name)
    size = evidence.size.value
    margin_signals = (Signal.MARGIN_MINIMUM, Signal.MARGIN_LOW, Signal.MARGIN_MEDIAN, Signal.MARGIN_AT)
    return PoolState(
        name=name,
        region=pool.region,
        nodes=counts,
        arrivals=evidence.arrivals,
        margin=sample(
            margin,
            seen_at,
            now,
            stale_after_seconds=stale_after_seconds,
            contradictory=doubtful or table.contradicts((name,), *margin_signals),
        ),
        power_watts=aged(table.get(Signal.POWER_MEAN, name), seen_at, Signal.POWER_MEAN),
        throttled_ratio=aged(table.get(Signal.THROTTLED, name), seen_at, Signal.THROTTLED),
        seconds_to_slowdown=aged(table.get(Signal.SLOWDOWN, name), slowdown_at, Signal.SLOWDOWN),
        thermal=sample(
            _thermal(table, name, capacity),
            table.get(Signal.MODEL_AT, name),
            now,
            stale_after_seconds=stale_after_seconds,
            contradictory=doubtful or table.contradicts((name,), Signal.PLATEAU, Signal.RESISTANCE, Signal.LIMIT),
        ),
        guard_ratio=sample(
            table.get(Signal.GUARD, name),
            table.get(Signal.GUARD_AT, name),
            now,
            stale_after_seconds=stale_after_seconds,
            contradictory=table.contradicts((name,), Signal.GUARD),
        ),
        conditions=frozenset() if size is None else size.conditions,
    )


def _speaks_for_too_few(evidence: PoolEvidence, counts: Sample[NodeCounts]) -> bool:
    """Return whether the metrics see far fewer GPUs than the ready nodes have, or more than all nodes can hold."""
    seen = evidence.table.get(Signal.MARGIN_GPUS, evidence.target.pool)
    nodes = counts.value
    if seen is None or nodes is None:
        return False
    gpus = evidence.target.gpus_per_node
    return seen < MIN_SEEN_RATIO * nodes.ready * gpus or seen > max(nodes.created, nodes.desired) * gpus


def _margin(table: Table, pool: str) -> PoolMargin | None:
    """Return the margins of a pool; None unless all of them are there and in order."""
    minimum, low = table.get(Signal.MARGIN_MINIMUM, pool), table.get(Signal.MARGIN_LOW, pool)
    median, nodes_low = table.get(Signal.MARGIN_MEDIAN, pool), table.get(Signal.MARGIN_NODES_LOW, pool)
    if minimum is None or low is None or median is None or not minimum <= low <= median:
        return None
    if not (math.isfinite(minimum) and math.isfinite(median)):
        return None
    # Between two evaluations the low quantile may have moved past every GPU; the hottest one is low in any case.
    return PoolMargin(
        minimum_celsius=minimum, low_celsius=low, median_celsius=median, num_nodes_low=max(int(nodes_low or 0), 1)
    )


def _thermal(table: Table, pool: str, capacity: CapacityModel) -> PoolThermal | None:
    """Return the thermal response of the pool's unfavourable GPU.

    The exporter publishes each GPU's total gain and its temperature at zero power, not the gains of its time constants;
    the gain is split as it was measured on the class, and the filters hold the present power and that of some minutes.
    """
    resistance, plateau = table.get(Signal.RESISTANCE, pool), table.get(Signal.PLATEAU, pool)
    limit = table.get(Signal.LIMIT, pool)
    fast, slow = table.get(Signal.POWER_MEAN, pool), table.get(Signal.POWER_SLOW, pool)
    known = [value for value in (resistance, plateau, limit, fast, slow) if value is not None and math.isfinite(value)]
    if len(known) < 5 or known[0] <= 0.0:
        return None
    gain, top, bound, quick, mean = known
    share = FALLBACK_GAINS_CELSIUS_PER_WATT[0] / sum(FALLBACK_GAINS_CELSIUS_PER_WATT)
    trend = table.get(Signal.TREND, pool)
    return PoolThermal(
        time_constants_seconds=FALLBACK_TIME_CONSTANTS_SECONDS,
        gains_celsius_per_watt=(gain * share, gain * (1.0 - share)),
        filtered_power_watts=(quick, mean),
        offset_celsius=top - gain * capacity.busy_watts_per_gpu,
        offset_trend_celsius_per_second=trend if trend is not None and math.isfinite(trend) else 0.0,
        limit_celsius=bound,
        idle_power_watts=capacity.idle_watts_per_gpu,
        busy_power_watts=capacity.busy_watts_per_gpu,
    )
