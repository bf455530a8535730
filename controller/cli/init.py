"""``meltguard init``: writes a policy and pools to begin with, from what a live cluster holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli.steering import Kubeconfig

STDOUT = "-"
MAX_OBJECTS = 20_000


def init(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File to write, or - for stdout.")] = "meltguard.yaml",
    namespace: Annotated[str, typer.Option("--namespace", help="Where the objects will lie.")] = "meltguard-system",
    name: Annotated[str, typer.Option("--name", help="Name of the SurgePolicy.")] = "images",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Write a SurgePolicy and GPUPools to begin with from the GPU nodes of a cluster; never overwrites a file."""
    from controller.errors import ControllerError, UsageError
    from controller.operator.kubernetes.access import open_access
    from controller.operator.kubernetes.client import KubernetesClient
    from controller.operator.kubernetes.errors import ForbiddenError
    from controller.operator.kubernetes.resources import Resource
    from controller.operator.start.document import starting_text
    from controller.operator.start.inventory import as_name, find_pools, find_prometheus

    for option, value in (("--namespace", namespace), ("--name", name)):
        if as_name(value) != value:
            raise UsageError(f"{option}: {value!r} is no name; use lower case letters, digits and dashes")
    path = Path(file)
    if file != STDOUT and path.exists():
        raise UsageError(f"{path}: exists already; init never overwrites, give another name or remove it")
    client = KubernetesClient(open_access(kubeconfig), read_seconds=30.0)
    nodes = client.list(Resource(api_version="v1", plural="nodes"), limit=MAX_OBJECTS)["items"]
    try:
        services = client.list(Resource(api_version="v1", plural="services"), limit=MAX_OBJECTS)["items"]
    except ForbiddenError:
        # Prometheus only goes into a comment; who may not look for it writes its address.
        services = []
    client.close()
    pools = find_pools(nodes)
    if not pools:
        raise ControllerError(
            f"init: none of the {len(nodes)} nodes has nvidia.com/gpu; is the device plugin installed, and is this the "
            "right cluster?"
        )
    text = starting_text(pools, find_prometheus(services), namespace=namespace, policy=name)
    if file == STDOUT:
        typer.echo(text, nl=False)
        return
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    typer.echo(
        f"wrote {len(pools)} GPUPools and SurgePolicy {name} to {path}; read it, then kubectl apply -f it", err=True
    )
