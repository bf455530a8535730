"""What ``pause``, ``resume``, ``approve``, ``limit`` and ``lift`` share: options, and how an order is printed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from controller.operator.steering import Given


class OutputFormat(StrEnum):
    """How results are written to standard output."""

    TEXT = "text"
    JSON = "json"


Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="File with access to the API; default: the pod's, else yours.")
]
Namespace = Annotated[str | None, typer.Option("--namespace", help="Where the object lies; default: the pod's own.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Let the API check the order without keeping it.")]
Author = Annotated[str | None, typer.Option("--by", help="Who gives the order; default: you.")]
RegionName = Annotated[str, typer.Option("--region", help="Region of the policy.")]
Output = Annotated[OutputFormat, typer.Option("--output", help="How the order is written to stdout.")]


def show(given: Given, output: OutputFormat) -> None:
    """Print an order that was given."""
    from controller.operator.steering import text_of
    from controller.planning.documents import encode_document

    typer.echo(encode_document(given).decode() if output is OutputFormat.JSON else text_of(given))
