"""``meltguard explain``: why a decision was made, from the audit log."""

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
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID", help="A decision of the log, or `last`.")],
    audit: Annotated[Path, typer.Option("--audit", metavar="FILE", help="The audit log, JSON lines.")],
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Say why a decision was made: inputs and their ages, bounds, rejected alternatives, what would change it."""
    from controller.planning.describe import record_text
    from controller.planning.documents import encode_document, plan_document

    record = _find(audit, decision_id)
    identical = record.is_identical()
    if output is OutputFormat.TEXT:
        sys.stdout.write(record_text(record, identical=identical))
        return
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
    sys.stdout.write(encode_document(document).decode() + "\n")


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
