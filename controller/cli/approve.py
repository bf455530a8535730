"""``meltguard approve``: give leave to enter a rung that asks for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.steering import Author, DryRun, Kubeconfig, Namespace, Output, OutputFormat, RegionName, show


def approve(
    policy: Annotated[str, typer.Argument(help="Name of the SurgePolicy.")],
    region: RegionName,
    rung: Annotated[int, typer.Option("--rung", help="Up to which rung.")] = 7,
    hold_for: Annotated[str, typer.Option("--for", help="For how long; at most 24h.")] = "30m",
    by: Author = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    dry_run: DryRun = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Give leave to enter a rung that asks for a person, such as rung 7; it ends by itself."""
    from controller.operator.steering import Steering

    steering = Steering(kubeconfig, namespace, dry_run=dry_run)
    show(steering.approve(policy, region, rung, hold_for, by), output)
