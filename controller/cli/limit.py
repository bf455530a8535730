"""``meltguard limit``: set a region's rung by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.steering import Author, DryRun, Kubeconfig, Namespace, Output, OutputFormat, RegionName, show


def limit(
    policy: Annotated[str, typer.Argument(help="Name of the SurgePolicy.")],
    region: RegionName,
    rung: Annotated[int, typer.Option("--rung", help="0 observe to 7 paid impact; it holds in both directions.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is shown with the limit.")],
    hold_for: Annotated[str, typer.Option("--for", help="For how long; at most 24h.")] = "30m",
    by: Author = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    dry_run: DryRun = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Set a region's rung by hand, for a time and with a reason."""
    from controller.operator.steering import Steering

    steering = Steering(kubeconfig, namespace, dry_run=dry_run)
    show(steering.limit(policy, region, rung, hold_for, reason=reason, by=by), output)
