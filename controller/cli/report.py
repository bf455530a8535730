"""``meltguard report``: what advisory mode would have done, against what happened."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OutputFormat(StrEnum):
    """How results are written to standard output."""

    TEXT = "text"
    JSON = "json"


def report(
    audit: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Audit logs of the operator, the oldest first.", exists=True),
    ],
    since: Annotated[
        str | None, typer.Option("--since", help="Only the last so long, such as 24h or 7d; default: all.")
    ] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="How the report is written.")] = OutputFormat.TEXT,
) -> None:
    """Compare what advisory mode would have done with what happened, from the operator's audit log."""
    from datetime import timedelta
    from itertools import chain

    from controller.errors import UsageError
    from controller.operator.advisory_report import advisory_report, report_text
    from controller.planning.audit import read_audit
    from controller.planning.documents import encode_document
    from forecasting.durations import parse_duration

    span = None if since is None else timedelta(seconds=parse_duration(since, name="--since"))
    opened = [path.open("rb") for path in audit]
    try:
        records = chain.from_iterable(read_audit(lines) for lines in opened)
        reports = advisory_report(records, span)
    finally:
        for lines in opened:
            lines.close()
    if not reports:
        raise UsageError(f"{audit[0]}: no decision in it; give the operator's standard output")
    if output is OutputFormat.JSON:
        for row in reports:
            typer.echo(encode_document(row).decode())
    else:
        typer.echo("\n\n".join(report_text(row) for row in reports))
