"""Runs every check in order. Called by ``meltguard doctor``; asks, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version

from controller.adapters.prometheus import PrometheusClient
from controller.operator.checkup.cluster import check_api, check_definitions, check_leader, check_rights, read_objects
from controller.operator.checkup.findings import Finding, Verdict, good, warning
from controller.operator.checkup.metrics import check_flags, check_metrics
from controller.operator.kubernetes.client import KubernetesClient
from exporters.metric_names import EXPORTER_BUILD_INFO


def examine(
    client: KubernetesClient,
    prometheus: PrometheusClient | None,
    namespace: str,
    *,
    account: str | None,
    clock: Callable[[], datetime],
) -> tuple[Finding, ...]:
    """Check an installation.

    Args:
        client: How to reach the API.
        prometheus: Where the metrics are; None leaves those checks out.
        namespace: Of the policies.
        account: Service account of the operator; None asks about our own rights.
        clock: Says what time it is, aware.

    Returns:
        The findings, in the order of the checks.
    """
    api = check_api(client, clock())
    if any(finding.check == "api" and finding.verdict is Verdict.FAILED for finding in api):
        return api
    definitions = check_definitions(client)
    policies, pools, objects = read_objects(client, namespace)
    rights = check_rights(client, namespace, policies, pools, account=account)
    found = [*api, *definitions, *objects, *rights, check_leader(client, namespace, clock())]
    if prometheus is None:
        return (*found, warning("metrics", "Prometheus", "not looked at", "give --prometheus URL"))
    metrics = check_metrics(prometheus, policies, pools, clock())
    found += metrics
    if not any(finding.subject == prometheus.url for finding in metrics):
        found += check_flags(prometheus, client, namespace, policies, clock())
        found += check_versions(prometheus, clock())
    return tuple(found)


def check_versions(prometheus: PrometheusClient, now: datetime) -> tuple[Finding, ...]:
    """Check that the exporters are of our own version.

    Args:
        prometheus: Where the metrics are.
        now: The present.

    Returns:
        One finding.
    """
    own = version("meltguard")
    answer = prometheus.instant(f"count by (version) ({EXPORTER_BUILD_INFO.name})", now)
    others = sorted({row.labels.get("version", "unknown") for row in answer.readings} - {own})
    if others:
        text = f"this command is {own}, and {', '.join(others)} runs in the cluster"
        return (warning("version", "meltguard", text, "finish the upgrade, or use the version that runs there"),)
    if not answer.readings:
        return (good("version", "meltguard", f"{own} here; no exporter says its own"),)
    return (good("version", "meltguard", f"{own}, here and in the exporters that are scraped"),)
