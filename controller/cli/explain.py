"""``meltguard explain``: why a decision was made."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OutputFormat(StrEnum):
    """How results are written to standard output."""

    TEXT = "text"
    JSON = "json"


def explain(
    decision_id: Annotated[str, typer.Argument(help="Id of the decision, or: last.")] = "last",
    audit: Annotated[
        Path | None, typer.Option("--audit", metavar="FILE", help="Audit log to look in.", exists=True, dir_okay=False)
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Look among the last decisions that the cluster keeps.")] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Of the policies; default: the pod's own.")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="File with access to the API; default: the pod's, else yours.")
    ] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="How the answer is written.")] = OutputFormat.TEXT,
) -> None:
    """Say why a decision was made: inputs and their ages, bounds, alternatives, what would change it."""
    from controller.errors import UsageError
    from controller.operator.explanation import chosen, explanation_text, live_decisions, recorded_decisions
    from controller.operator.kubernetes.access import open_access
    from controller.operator.kubernetes.client import KubernetesClient
    from controller.operator.serve import own_namespace
    from controller.planning.audit import read_audit
    from controller.planning.documents import encode_document

    if live == (audit is not None):
        raise UsageError("explain: give either --live or --audit FILE")
    if audit is not None:
        with audit.open("rb") as lines:
            decisions = recorded_decisions(read_audit(lines))
    else:
        client = KubernetesClient(open_access(kubeconfig))
        decisions = live_decisions(client, namespace or own_namespace())
    found = chosen(decisions, decision_id)
    typer.echo(encode_document(found).decode() if output is OutputFormat.JSON else explanation_text(found))
