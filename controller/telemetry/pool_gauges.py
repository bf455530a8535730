"""What metrics tell of node pools: nodes by state, bounds, GPUs and lead times. Called by the recorder."""

from __future__ import annotations

from collections.abc import Iterable

from controller.telemetry.metrics import ControllerMetrics
from controller.types import PoolSpec, PoolState


def record_pools(
    metrics: ControllerMetrics, policy: str, specs: Iterable[PoolSpec], states: Iterable[PoolState]
) -> None:
    """Tell of the pools of a policy; what nobody knows of one is left out.

    Args:
        metrics: Where.
        policy: Whose pools these are.
        specs: All of them, with the lead times that are expected now.
        states: What was seen of them.
    """
    nodes: dict[tuple[str, ...], float] = {}
    for state in states:
        counts, name, region = state.nodes.value, state.name, state.region
        if counts is None:
            continue
        nodes[name, region, "desired"] = counts.desired
        nodes[name, region, "created"] = counts.created
        nodes[name, region, "ready"] = counts.ready
        nodes[name, region, "serving"] = counts.serving
        nodes[name, region, "pending"] = counts.pending
    lead_times: dict[tuple[str, ...], float] = {}
    limits: dict[tuple[str, ...], float] = {}
    gpus: dict[tuple[str, ...], float] = {}
    for spec in specs:
        name, region = spec.name, spec.region
        lead_times[name, region, "0.5"] = spec.lead_time_p50_seconds
        lead_times[name, region, "0.95"] = spec.lead_time_p95_seconds
        limits[name, region, "min"] = spec.min_nodes
        limits[name, region, "max"] = spec.max_nodes
        gpus[name, region] = spec.gpus_per_node
    metrics.pool_nodes.replace(policy, nodes)
    metrics.pool_lead_time.replace(policy, lead_times)
    metrics.pool_nodes_limit.replace(policy, limits)
    metrics.pool_gpus_per_node.replace(policy, gpus)
