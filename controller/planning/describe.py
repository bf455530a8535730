"""Decisions as text for people: what is to be done, why, on what evidence, and what would change it.

Pure; ``meltguard plan`` and ``meltguard explain`` print it.
"""

from __future__ import annotations

from controller.planning.audit import DecisionRecord
from controller.types import Action, Freshness, InputAge, Plan, PoolAction

MAX_OLD_INPUTS = 12
"""Inputs that are not fresh which are named one by one; the rest are counted."""


def plan_text(plan: Plan) -> str:
    """Return a decision as text.

    Args:
        plan: The decision.

    Returns:
        Lines, each ended.
    """
    lines = [f"Decision {plan.decision_id} for {plan.issued_at:%Y-%m-%d %H:%M:%S}Z"]
    lines += _section("Actions", [line for action in plan.actions for line in _action_lines(action)], "nothing to do")
    lines += _section("Regions", [f"{v.region}: rung {int(v.rung)}. {v.why.text}" for v in plan.regions], "none")
    lines += _section("Bounds that changed it", [bound.text for bound in plan.constraints], "none")
    rejected = [
        f"{row.region}: rung {int(row.rung)} (position {row.step_index}), harm {row.harm:.2f}: {row.why_not}"
        for row in plan.alternatives
    ]
    lines += _section("Rejected", rejected, "no other course was possible")
    lines += _section("What would change it", list(plan.would_change), "nothing that is known")
    lines += _section("Inputs", _input_lines(plan.inputs), "none")
    return "\n".join(lines) + "\n"


def record_text(record: DecisionRecord, *, identical: bool) -> str:
    """Return a decision from the audit log as text.

    Args:
        record: The decision with everything that it rested on.
        identical: Whether deciding again gave the same bytes.

    Returns:
        Lines, each ended.
    """
    policy, seen = record.policy, record.snapshot
    again = "the same, byte for byte" if identical else "DIFFERENT: another version or an altered log"
    head = [
        f"Policy {policy.name} ({policy.mode.value}); snapshot of {seen.as_of:%H:%M:%S}Z: {len(seen.regions)} regions, "
        f"{len(seen.pools)} pools, {len(seen.flags)} flags in force; {len(record.forecasts.demand)} forecasts",
        f"Decided again by this version: {again}",
    ]
    return plan_text(record.plan) + "\n".join(head) + "\n"


def _section(title: str, rows: list[str], empty: str) -> list[str]:
    """Return a titled list."""
    return ["", title, *(f"  {row}" for row in rows or [empty])]


def _action_lines(action: Action) -> list[str]:
    """Return an action, its reason and how to undo it."""
    if isinstance(action, PoolAction):
        head = f"{action.pool}: {action.from_nodes} → {action.to_nodes} nodes ({action.ownership.value})"
        undo = f"undo: {action.to_nodes} → {action.from_nodes} nodes"
    else:
        scope = f"{action.scope.region}/{action.scope.tier or 'every tier'}"
        until = "" if action.expires_at is None else f" until {action.expires_at:%H:%M:%S}Z"
        head = f"{action.key} for {scope}: {action.from_value} → {action.to_value}{until}"
        undo = f"undo: {action.inverse}"
    return [head, f"  why: {action.why.text}", f"  {undo}"]


def _input_lines(inputs: tuple[InputAge, ...]) -> list[str]:
    """Return how many inputs are fresh, the oldest of them, and each that is not."""
    fresh = [entry for entry in inputs if entry.freshness is Freshness.FRESH]
    others = [entry for entry in inputs if entry.freshness is not Freshness.FRESH]
    oldest = max((entry.age_seconds or 0.0 for entry in fresh), default=0.0)
    lines = [f"{len(fresh)} of {len(inputs)} fresh, the oldest {oldest:.0f} s old"]
    for entry in others[:MAX_OLD_INPUTS]:
        age = "" if entry.age_seconds is None else f", {entry.age_seconds:.0f} s old"
        lines.append(f"{entry.name}: {entry.freshness.value}{age}; nothing is lifted or taken away on it")
    if len(others) > MAX_OLD_INPUTS:
        lines.append(f"and {len(others) - MAX_OLD_INPUTS} more that are not fresh")
    return lines
