"""``meltguard lift``: lift a region's limits by hand, or give a rung back to the planner."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.steering import Author, DryRun, Kubeconfig, Namespace, Output, OutputFormat, RegionName, show


def lift(
    policy: Annotated[str, typer.Argument(help="Name of the SurgePolicy.")],
    region: RegionName,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed unless --automatic.")] = "",
    hold_for: Annotated[str, typer.Option("--for", help="For how long no limit may return; at most 24h.")] = "15m",
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Only end what was set by hand; the planner decides again.")
    ] = False,
    by: Author = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    dry_run: DryRun = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Lift a region's limits at once and keep them lifted for a time, or with --automatic end what a person set."""
    from controller.operator.steering import Steering

    steering = Steering(kubeconfig, namespace, dry_run=dry_run)
    if automatic:
        show(steering.release(policy, region), output)
    else:
        show(steering.limit(policy, region, 0, hold_for, reason=reason, by=by), output)
