"""Why a decision was made, in words: from the ring that the operator keeps in the cluster."""

from __future__ import annotations

from controller.errors import ControllerError, UsageError
from controller.operator.decision_ring import RingEntry, read_ring
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.resources import Resource

LAST = "last"
RING_SELECTOR = "app.kubernetes.io/managed-by=meltguard"


def live_decisions(client: KubernetesClient, namespace: str) -> tuple[RingEntry, ...]:
    """Return the decisions that the operator keeps in the cluster, the newest last.

    Args:
        client: The API.
        namespace: Of the policies.

    Returns:
        The decisions of all policies.
    """
    resource = Resource(api_version="v1", plural="configmaps", namespace=namespace)
    found: list[RingEntry] = []
    for entry in client.list(resource, label_selector=RING_SELECTOR).get("items") or []:
        if not str(entry["metadata"]["name"]).endswith("-meltguard-decisions"):
            continue
        try:
            found += read_ring(entry).decisions
        except ControllerError:
            continue  # a ring of another version says nothing about the others
    return tuple(sorted(found, key=lambda row: row.issued_at))


def chosen(decisions: tuple[RingEntry, ...], decision_id: str) -> RingEntry:
    """Return one decision.

    Args:
        decisions: Where to look.
        decision_id: Its id, or ``last``.

    Returns:
        The decision.

    Raises:
        UsageError: If it is not there.
    """
    if decision_id == LAST and decisions:
        return decisions[-1]
    found = next((row for row in decisions if row.decision_id == decision_id), None)
    if found is None:
        known = f"; the newest is {decisions[-1].decision_id}" if decisions else ""
        raise UsageError(f"decision {decision_id}: not among the {len(decisions)} that are kept{known}")
    return found


def explanation_text(entry: RingEntry) -> str:
    """Return why a decision was made, as a person reads it."""
    lines = [f"{entry.decision_id}  {entry.issued_at:%Y-%m-%d %H:%M:%S}Z{'  (advisory)' if entry.advisory else ''}"]
    for verdict in entry.regions:
        lines.append(f"\n{verdict.region}: rung {int(verdict.rung)}. {verdict.why.text}")
        before, after = verdict.predicted_unmitigated_margin_celsius, verdict.predicted_min_margin_celsius
        if before is not None and after is not None:
            lines.append(f"  margin ahead: {before:.1f} °C with nothing done, {after:.1f} °C with this decision")
    _section(lines, "done", [f"{row.subject}: {row.change} [{row.result}] {row.why}" for row in entry.actions])
    _section(lines, "bounds that changed it", [row.text for row in entry.constraints])
    _section(
        lines,
        "rejected",
        [
            f"{row.region}: rung {int(row.rung)}, {row.nodes_added} nodes, harm {row.harm:.2f},"
            f" margin {row.min_margin_celsius:.1f} °C: {row.why_not}"
            for row in entry.alternatives
        ],
    )
    _section(lines, "what would change it", list(entry.would_change))
    _section(
        lines,
        f"inputs ({len(entry.inputs)} of {entry.num_inputs}, the worst first)",
        [
            f"{row.name}: {row.freshness.value}"
            + (f", {row.age_seconds:.0f} s old" if row.age_seconds is not None else "")
            for row in entry.inputs
        ],
    )
    return "\n".join(lines)


def _section(lines: list[str], title: str, rows: list[str]) -> None:
    """Add a titled list, unless it is empty."""
    if rows:
        lines.append(f"\n{title}:")
        lines += [f"  - {row}" for row in rows]
