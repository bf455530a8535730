"""``meltguard resume``: end a pause, or close a breaker."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.steering import Author, DryRun, Kubeconfig, Namespace, Output, OutputFormat, show


def resume(
    target: Annotated[str, typer.Argument(help="surge/POLICY or gpool/POOL.")],
    breaker: Annotated[
        str | None, typer.Option("--breaker", metavar="REGION", help="Close this region's breaker instead.")
    ] = None,
    by: Author = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    dry_run: DryRun = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """End the pause of a policy or pool, or let a region escalate by itself again after its breaker opened."""
    from controller.operator.steering import Steering

    steering = Steering(kubeconfig, namespace, dry_run=dry_run)
    if breaker is None:
        show(steering.resume(target), output)
    else:
        show(steering.reset_breaker(target.rpartition("/")[2], breaker, by), output)
