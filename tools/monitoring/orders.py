"""The `meltguard` commands that runbooks give to a person, with every option that is needed. Pure.

Words in capitals are for the reader to fill in. A test runs each of these lines through the command line's own parser.
"""

from __future__ import annotations

WHERE = "--namespace meltguard-system"
DOCTOR = f'meltguard doctor {WHERE} --prometheus "$PROMETHEUS"'
EXPLAIN = f"meltguard explain last --live {WHERE}"


def limit(rung: int, reason: str) -> str:
    """Return the command that sets a region's rung for half an hour."""
    return f"meltguard limit POLICY {WHERE} --region REGION --rung {rung} --for 30m --reason 'TICKET: {reason}'"


def lift(reason: str) -> str:
    """Return the command that lifts a region's limits and keeps them lifted for a quarter of an hour."""
    return f"meltguard lift POLICY {WHERE} --region REGION --for 15m --reason 'TICKET: {reason}'"


def approve() -> str:
    """Return the command that lets the controller enter rung 7 for half an hour."""
    return f"meltguard approve POLICY {WHERE} --region REGION --rung 7 --for 30m"


def pause(target: str, direction: str) -> str:
    """Return the command that stops a policy or pool from moving in a direction, with the one that ends it."""
    return (
        f"meltguard pause {target} {WHERE} --direction {direction}\n"
        f"# when it is over:\n"
        f"meltguard resume {target} {WHERE}"
    )


def close_breaker() -> str:
    """Return the command that lets a region escalate by itself again."""
    return f"meltguard resume surge/POLICY {WHERE} --breaker REGION"
