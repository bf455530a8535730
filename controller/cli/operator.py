"""``meltguard operator``: runs the operator. Only typer and the standard library are imported before it runs."""

from __future__ import annotations

import json
import os
import secrets
import socket
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from controller.operator.settings import OperatorSettings


class OutputFormat(StrEnum):
    """How results are written to standard output."""

    TEXT = "text"
    JSON = "json"


class Signals(StrEnum):
    """Where signals come from."""

    AUTO = "auto"
    RECORDED = "recorded"
    DIRECT = "direct"


def operator(
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="File with access to the API; default: the pod's, else yours.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", help="Whose policies and pools to serve; default: the pod's own.")
    ] = None,
    prometheus: Annotated[
        str, typer.Option("--prometheus", metavar="URL", help="Where the metrics are.")
    ] = "http://prometheus:9090",
    signals: Annotated[
        Signals,
        typer.Option("--signals", help="Read recording rules, ask each signal directly, or rules where there are any."),
    ] = Signals.AUTO,
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT of metrics, probes and status; port 0 chooses one.")
    ] = "0.0.0.0:8080",
    sync_listen: Annotated[
        str, typer.Option("--sync-listen", help="HOST:PORT where flags are streamed; port 0 chooses one.")
    ] = "0.0.0.0:8015",
    advisory: Annotated[
        bool, typer.Option("--advisory/--active", help="Decide and report, but write nothing to the cluster.")
    ] = False,
    period: Annotated[str, typer.Option("--period", help="Time between two decisions.")] = "10s",
    identity: Annotated[
        str | None,
        typer.Option("--identity", envvar="POD_NAME", help="Name of this replica; default: the host's, with a suffix."),
    ] = None,
    output: Annotated[
        OutputFormat, typer.Option("--output", help="json also writes the addresses to stdout, before the audit log.")
    ] = OutputFormat.TEXT,
) -> None:
    """Keep GPU pools below slowdown: watch, decide, act, and say why. The audit log goes to stdout."""
    from controller.adapters.observation.signals import SignalSource
    from controller.operator.resources.fields import duration_seconds
    from controller.operator.serve import own_namespace, serve
    from controller.operator.settings import OperatorSettings

    name = identity or socket.gethostname()
    settings = OperatorSettings(
        namespace=namespace or os.environ.get("POD_NAMESPACE") or own_namespace(),
        # Two processes of one pod name, before and after a restart, are two writers.
        identity=f"{name}-{secrets.token_hex(4)}",
        prometheus_url=prometheus,
        signals=SignalSource(signals.value),
        listen=listen,
        sync_listen=sync_listen,
        advisory=advisory,
        period_seconds=max(duration_seconds(period, place="--period"), 0.1),
    )

    serve(settings, kubeconfig, lambda address, sync_address: _announce(settings, address, sync_address, output))


def _announce(settings: OperatorSettings, address: str, sync_address: str, output: OutputFormat) -> None:
    """Say where the replica listens; without streams the second address is empty."""
    import structlog

    if output is OutputFormat.JSON:
        document = {"schema": "meltguard.listening/v1", "address": address, "sync_address": sync_address or None}
        typer.echo(json.dumps(document))
    structlog.get_logger().info(
        "operator.ready",
        address=address,
        sync_address=sync_address or None,
        namespace=settings.namespace,
        identity=settings.identity,
        advisory=settings.advisory,
    )
