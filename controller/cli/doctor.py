"""``meltguard doctor``: checks a live installation and says what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.steering import Kubeconfig, Namespace, OutputFormat

DEFAULT_ACCOUNT = "meltguard-operator"


def doctor(
    prometheus: Annotated[
        str | None,
        typer.Option(
            "--prometheus", metavar="URL", help="Where the metrics are; without it those checks are left out."
        ),
    ] = None,
    account: Annotated[
        str, typer.Option("--account", help="Service account of the operator, whose rights are checked.")
    ] = DEFAULT_ACCOUNT,
    ask_self: Annotated[
        bool, typer.Option("--self", help="Check the rights of whoever runs this, as inside the operator's pod.")
    ] = False,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Check permissions, definitions, metrics, flags, clock and versions; exit code 1 when something has to be done."""
    from datetime import UTC, datetime

    from controller.adapters.prometheus import PrometheusClient
    from controller.errors import UsageError
    from controller.operator.checkup.findings import findings_json, findings_text, is_healthy
    from controller.operator.checkup.run import examine
    from controller.operator.kubernetes.access import open_access
    from controller.operator.kubernetes.client import KubernetesClient
    from controller.operator.serve import own_namespace

    if prometheus is not None and not prometheus.startswith(("http://", "https://")):
        raise UsageError(f"--prometheus: {prometheus!r} must start with http:// or https://")
    client = KubernetesClient(open_access(kubeconfig))
    findings = examine(
        client,
        None if prometheus is None else PrometheusClient(prometheus),
        namespace or own_namespace(),
        account=None if ask_self else account,
        clock=lambda: datetime.now(UTC),
    )
    client.close()
    typer.echo(findings_json(findings) if output is OutputFormat.JSON else findings_text(findings))
    if not is_healthy(findings):
        raise typer.Exit(1)
