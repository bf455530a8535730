"""``meltguard pause``: stop a policy or a pool from moving in a direction."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from controller.cli.steering import DryRun, Kubeconfig, Namespace, Output, OutputFormat, show


class Direction(StrEnum):
    """Which way nothing may move."""

    SCALE_IN = "scaleIn"
    SCALE_OUT = "scaleOut"
    ALL = "all"


def pause(
    target: Annotated[str, typer.Argument(help="surge/POLICY or gpool/POOL.")],
    direction: Annotated[
        Direction, typer.Option("--direction", help="all also keeps every limit as it is, renewed.")
    ] = Direction.ALL,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    dry_run: DryRun = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Stop a policy or a pool from moving in a direction, until it is resumed."""
    from controller.operator.steering import Steering
    from controller.types import PausedDirection

    steering = Steering(kubeconfig, namespace, dry_run=dry_run)
    show(steering.pause(target, PausedDirection(direction.value)), output)
