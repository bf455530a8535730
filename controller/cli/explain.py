"""``meltguard explain``: why a decision was made, from the audit log or from what the cluster keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.simulation import OutputFormat
from controller.errors import ControllerError, UsageError

if TYPE_CHECKING:
    from controller.planning.audit import DecisionRecord

LAST = "last"


def explain(
    decision_id: Annotated[
        str, typer.Argument(metavar="DECISION_ID", help="A decision, or `last` for the newest.")
    ] = LAST,
    audit: Annotated[Path | None, typer.Option("--audit", metavar="FILE", help="The audit log, JSON lines.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Look among the last decisions that the cluster keeps.")] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", help="Of the policies; default: the pod's own.")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="File with access to the API; default: the pod's, else yours.")
    ] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Say why a decision was made: inputs and their ages, bounds, rejected alternatives, what would change it."""
    if live == (audit is not None):
        raise UsageError("explain: give either --audit FILE or --live")
    if audit is not None:
        sys.stdout.write(_recorded(_find(audit, decision_id), output))
    else:
        sys.stdout.write(_live(decision_id, namespace=namespace, kubeconfig=kubeconfig, output=output))


def _live(decision_id: str, *, namespace: str | None, kubeconfig: Path | None, output: OutputFormat) -> str:
    """Return why a decision was made, from the ring that the operator keeps in the cluster."""
    from controller.operator.explanation import chosen, explanation_text, live_decisions
    from controller.operator.kubernetes.access import open_access
    from controller.operator.kubernetes.client import KubernetesClient
    from controller.operator.serve import own_namespace
    from controller.planning.documents import encode_document

    client = KubernetesClient(open_access(kubeconfig))
    found = chosen(live_decisions(client, namespace or own_namespace()), decision_id)
    return (encode_document(found).decode() if output is OutputFormat.JSON else explanation_text(found)) + "\n"


def _recorded(record: DecisionRecord, output: OutputFormat) -> str:
    """Return why a recorded decision was made, after deciding it once more on the recorded inputs."""
    from controller.planning.describe import record_text
    from controller.planning.documents import encode_document, plan_document

    identical = record.is_identical()
    if output is OutputFormat.TEXT:
        return record_text(record, identical=identical)
    document = {
        "schema": "meltguard.decision/v1",
        "decision_id": record.plan.decision_id,
        "now": record.now,
        "identical_when_replayed": identical,
        "plan": plan_document(record.plan),
        "snapshot": record.snapshot,
        "forecasts": record.forecasts,
        "policy": record.policy,
        "memory": record.memory,
    }
    return encode_document(document).decode() + "\n"


def _find(path: Path, decision_id: str) -> DecisionRecord:
    """Return a decision of a log.

    Raises:
        UsageError: If the log cannot be read or does not hold the decision.
        ControllerError: If a line of the log is damaged.
    """
    from controller.planning.audit import read_audit
    from controller.planning.documents import UnreadableDocumentError

    found: DecisionRecord | None = None
    number, newest = 0, ""
    try:
        with path.open("rb") as file:
            for record in read_audit(file):
                number, newest = number + 1, record.plan.decision_id
                if decision_id in (LAST, newest):
                    found = record
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give the path of an audit log") from error
    except UnreadableDocumentError as error:
        raise ControllerError(f"{path}: {error}") from error
    if found is None:
        known = f"its {number} decisions end with {newest}" if number else "it holds no decision"
        raise UsageError(f"{path}: no decision {decision_id!r}; {known}")
    return found
