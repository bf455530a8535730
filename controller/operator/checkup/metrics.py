"""Checks against Prometheus: whether it answers, whether our metrics are there and fresh, and who holds the flags."""

from __future__ import annotations

from datetime import datetime

from controller.adapters.observation.pools import node_labels
from controller.adapters.prometheus import Answer, PrometheusClient
from controller.operator.checkup.findings import Finding, failed, good, unknown, warning
from controller.operator.cluster_world import demand_settings, store_of
from controller.operator.entries import PolicyEntry, PoolEntry
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.resources.fields import duration_seconds
from exporters.metric_names import FLAGS_REVISION, GPU_THERMAL_MARGIN, INFERENCE_READY, INFERENCE_REQUESTS

FRESH_SECONDS = 60.0
EXPORTER_CURE = "see that the exporter runs on these nodes, and that Prometheus scrapes it with the label pool"
INFERENCE_CURE = "see that the inference pods are scraped; without them the operator takes every ready node for serving"


def check_metrics(
    prometheus: PrometheusClient, policies: tuple[PolicyEntry, ...], pools: tuple[PoolEntry, ...], now: datetime
) -> tuple[Finding, ...]:
    """Check that every pool is seen and every policy's demand is counted.

    Args:
        prometheus: Where the metrics are.
        policies: The policies.
        pools: The pools.
        now: The present.

    Returns:
        The findings; a single one when Prometheus does not answer.
    """
    margins = prometheus.instant(f"max by (pool) (timestamp({GPU_THERMAL_MARGIN.name}))", now)
    if margins.problem is not None:
        cure = "give --prometheus URL as the operator has it; inside the cluster, or through `kubectl port-forward`"
        return (failed("metrics", prometheus.url, margins.problem, cure),)
    findings: list[Finding] = []
    ready = prometheus.instant(f"max by (pool) (timestamp({INFERENCE_READY.name}))", now)
    for entry in pools:
        if entry.pool is None:
            continue
        name = entry.identity.name
        labels = ", ".join(f"{key}={value}" for key, value in node_labels(entry.pool.target).items())
        cure = f"{EXPORTER_CURE}={name} (its nodes are those with {labels})"
        findings.append(_age(margins, name, "thermal margins", cure, now, needed=True))
        findings.append(_age(ready, name, "inference pods", INFERENCE_CURE, now, needed=False))
    for policy in policies:
        if policy.spec is not None:
            findings += _demand(prometheus, policy, now)
    return tuple(findings)


def _age(answer: Answer, pool: str, what: str, cure: str, now: datetime, *, needed: bool) -> Finding:
    """Return how old a pool's newest sample is."""
    subject = f"gpupool/{pool}"
    times = [row.value for row in answer.readings if row.labels.get("pool") == pool]
    age_seconds = now.timestamp() - max(times) if times else None
    if age_seconds is not None and age_seconds <= FRESH_SECONDS:
        return good("metrics", subject, f"{what}: seen {max(age_seconds, 0.0):.0f} s ago")
    text = f"{what}: none" if age_seconds is None else f"{what}: the newest is {age_seconds:.0f} s old"
    return (failed if needed else warning)("metrics", subject, text, cure)


def _demand(prometheus: PrometheusClient, policy: PolicyEntry, now: datetime) -> list[Finding]:
    """Return whether a policy's demand is counted by the regions and tiers that it names."""
    assert policy.spec is not None
    subject = f"surgepolicy/{policy.identity.name}"
    settings = demand_settings(policy.spec)
    answer = prometheus.instant(settings.requests_query, now)
    if answer.problem is not None:
        return [failed("demand", subject, answer.problem, "correct spec.signals.requests.query")]
    known = {(row.labels.get("region", ""), row.labels.get("tier", "")) for row in answer.readings}
    cure = f"count first attempts by region and tier, such as {INFERENCE_REQUESTS.name}{{attempt='first'}}"
    if not known:
        return [failed("demand", subject, "the query of requests matches nothing", cure)]
    wanted = {(region.name, tier.name) for region in policy.spec.regions for tier in policy.spec.tiers}
    missing = sorted(wanted - known)
    findings = []
    if missing:
        shown = ", ".join("/".join(pair) for pair in missing[:5])
        findings.append(warning("demand", subject, f"no series for {shown}; they count as their present rate", cure))
    strangers = sorted(known - wanted)
    if strangers:
        shown = ", ".join("/".join(pair) for pair in strangers[:5])
        text = f"{len(strangers)} series of regions or tiers that the policy does not have, such as {shown}"
        findings.append(warning("demand", subject, text, "name them in the policy, or leave them out of the query"))
    return findings or [good("demand", subject, f"{len(known)} series, one for each region and tier")]


def check_flags(
    prometheus: PrometheusClient,
    client: KubernetesClient,
    namespace: str,
    policies: tuple[PolicyEntry, ...],
    now: datetime,
) -> tuple[Finding, ...]:
    """Check that consumers hold the flags that were written last.

    Args:
        prometheus: Where consumers say what they hold.
        client: How to reach the store.
        namespace: Of the policies.
        policies: The policies.
        now: The present.

    Returns:
        One finding a policy.
    """
    held = prometheus.instant(FLAGS_REVISION.name, now)
    findings = []
    for policy in policies:
        if policy.spec is None:
            continue
        subject = f"surgepolicy/{policy.identity.name}"
        stored = store_of(policy, client, namespace).read(now).value
        if stored is None or held.problem is not None:
            text = held.problem or "the store of flags does not answer, or holds none yet"
            cure = "start the operator in mode active once; it writes the first flags when it first limits"
            verdict = unknown if held.problem is not None else warning
            findings.append(verdict("flags", subject, text, cure))
            continue
        findings.append(_acknowledged(subject, stored.rendered.revision, [row.value for row in held.readings], policy))
    return tuple(findings)


def _acknowledged(subject: str, revision: int, held: list[float], policy: PolicyEntry) -> Finding:
    """Return whether every consumer holds a revision."""
    assert policy.spec is not None
    if not held:
        cure = "see that the pods that admit requests read the flags, and are scraped"
        return failed("flags", subject, f"nobody says that they hold flags; revision {revision} is stored", cure)
    behind = sum(value < revision for value in held)
    if behind:
        seconds = duration_seconds(policy.spec.flag_propagation, place="spec.flagPropagation")
        text = f"{behind} of {len(held)} consumers hold less than revision {revision}"
        cure = f"ask again in {3 * seconds:.0f} s; if it stays, look at the logs of those pods and at the stream"
        return failed("flags", subject, text, cure)
    return good("flags", subject, f"all {len(held)} consumers hold revision {revision}")
