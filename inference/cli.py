"""``meltguard serve`` and ``meltguard load``: the inference pod, and what offers it load.

Mounted by the root command, which adds ``--config`` and ``--log-level`` and turns errors into one line. Only typer and
the standard library are imported here; everything else is imported when a command runs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class OutputFormat(StrEnum):
    """How results are written to standard output."""

    TEXT = "text"
    JSON = "json"


def require_extra(command: str, *modules: str) -> None:
    """Check that a command's optional packages are installed.

    Raises:
        InferenceError: If one is not; says how to get it.
    """
    from importlib.util import find_spec

    from inference.errors import InferenceError

    for module in modules:
        if find_spec(module) is None:
            raise InferenceError(
                f"`meltguard {command}` needs {module}; install it with `pip install 'meltguard[serve]'`"
            )


Output = Annotated[OutputFormat, typer.Option("--output", help="How results are written to stdout.")]


Listen = Annotated[str, typer.Option("--listen", help="HOST:PORT to serve at; port 0 chooses one.")]
Model = Annotated[
    str, typer.Option("--model", help="digits, a model directory, or test-pattern[:TOKENS_PER_SECOND] (no torch).")
]
Upstream = Annotated[
    str | None, typer.Option("--upstream", help="Stand before the OpenAI-compatible image server at this address.")
]
UpstreamModel = Annotated[
    str | None, typer.Option("--upstream-model", help="Its model; default: the first one that it lists.")
]
UpstreamKey = Annotated[
    str | None, typer.Option("--upstream-key", help="Bearer token for it; better set as MELTGUARD_SERVE__UPSTREAM_KEY.")
]
UpstreamSizes = Annotated[
    str, typer.Option("--upstream-sizes", help="Its sizes and their tokens, such as 1024x1024=4096, with commas.")
]
Flags = Annotated[
    str | None, typer.Option("--flags", help="flagd JSON file, or grpc://HOST:PORT of a flagd sync stream.")
]
Region = Annotated[str, typer.Option("--region", help="Region of this pod.")]
OtherRegions = Annotated[
    str, typer.Option("--other-regions", help="Regions whose users may be routed here, with commas.")
]
Redis = Annotated[str | None, typer.Option("--redis", help="redis://HOST:PORT/DB for quotas; default: in memory.")]
Exporter = Annotated[
    str | None,
    typer.Option("--exporter", help="http://HOST_IP:9400/api/v1/gpus of the node's exporter, for the local guard."),
]
Gpu = Annotated[
    str, typer.Option("--gpu", help="UUID or index of the engine's GPU at the exporter; auto: the one that we see.")
]
TrustedProxies = Annotated[
    str, typer.Option("--trusted-proxies", help="Networks whose headers about users are believed, with commas.")
]
DrainDelay = Annotated[
    str, typer.Option("--drain-delay", help="Time after SIGTERM in which readiness fails before admission stops.")
]
Grace = Annotated[str, typer.Option("--grace", help="Time that work gets to finish once admission has stopped.")]
MaxWait = Annotated[str, typer.Option("--max-wait", help="Longest wait for a slot that is admitted.")]
TrainDigits = Annotated[
    bool, typer.Option("--train-digits", help="Train the digit model first where it is not there yet.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Slots = Annotated[int, typer.Option("--slots", min=2, max=1024, help="Rows of a full batch.")]


def serve(
    listen: Listen = "0.0.0.0:8000",
    model: Model = "digits",
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
    upstream_key: UpstreamKey = None,
    upstream_sizes: UpstreamSizes = "",
    flags: Flags = None,
    region: Region = "local",
    other_regions: OtherRegions = "",
    redis: Redis = None,
    exporter: Exporter = None,
    gpu: Gpu = "auto",
    trusted_proxies: TrustedProxies = "127.0.0.0/8,::1/128",
    drain_delay: DrainDelay = "0s",
    grace: Grace = "30s",
    max_wait: MaxWait = "30s",
    train_digits: TrainDigits = False,
    device: Device = "auto",
    slots: Slots = 16,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Serve images under quotas, flags and the heat of the GPU."""
    require_extra("serve", "aiohttp", "limits", "openfeature")
    from inference.admission.callers import parse_networks
    from inference.serving import settings as options
    from inference.serving.engines import EngineChoice, gpu_in_sight, open_chosen

    host, port = options.parse_address(listen)
    settings = options.ServeSettings(
        host=host,
        port=port,
        region=region,
        other_regions=options.parse_regions(other_regions),
        flags=flags,
        redis_url=options.parse_redis(redis),
        exporter_url=options.parse_url(exporter, "--exporter"),
        gpu=gpu_in_sight(device) if gpu == "auto" and exporter is not None else gpu,
        trusted=parse_networks(trusted_proxies),
        drain_delay_seconds=options.parse_seconds(drain_delay, "--drain-delay"),
        grace_seconds=options.parse_seconds(grace, "--grace"),
        max_wait_seconds=options.parse_seconds(max_wait, "--max-wait"),
    )
    choice = EngineChoice(
        model=model,
        num_slots=slots,
        device=device,
        trains_digits=train_digits,
        upstream_url=options.parse_url(upstream, "--upstream"),
        upstream_model=upstream_model,
        upstream_key=upstream_key,
        upstream_sizes=upstream_sizes,
    )
    engine = open_chosen(choice)
    from inference.serving.command import run_server

    run_server(settings, engine, announces=output is OutputFormat.JSON)


def load(
    url: Annotated[str, typer.Argument(help="Address of the server, such as http://127.0.0.1:8000.")],
    rate: Annotated[float, typer.Option("--rate", min=0.0, help="Requests per second of the standing users.")] = 10.0,
    duration: Annotated[str, typer.Option("--duration", help="How long load is offered.")] = "30s",
    tiers: Annotated[str, typer.Option("--tiers", help="Shares of users by tier.")] = "free=0.9,paid=0.1",
    regions: Annotated[str, typer.Option("--regions", help="Shares of users by region.")] = "",
    users: Annotated[int, typer.Option("--users", min=1, max=1_000_000, help="Standing users.")] = 1_000,
    signups: Annotated[float, typer.Option("--signups", min=0.0, help="New users per second.")] = 0.0,
    requests_per_signup: Annotated[
        float, typer.Option("--requests-per-signup", min=1.0, help="Mean requests of a new user.")
    ] = 3.0,
    pause: Annotated[str, typer.Option("--pause", help="Mean pause between a new user's requests.")] = "20s",
    honour: Annotated[
        float, typer.Option("--honour", min=0.0, max=1.0, help="Share of users who wait as Retry-After says.")
    ] = 0.8,
    retries: Annotated[int, typer.Option("--retries", min=0, max=100, help="Retries after a refusal.")] = 3,
    images: Annotated[int, typer.Option("--images", min=1, max=10, help="Images a request.")] = 1,
    size: Annotated[str, typer.Option("--size", help="Size of the images.")] = "auto",
    timeout: Annotated[str, typer.Option("--timeout", help="Longest wait for an answer.")] = "120s",
    seed: Annotated[int, typer.Option("--seed", help="Of everything that is drawn.")] = 0,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Offer a server open-loop load and say what its users saw."""
    require_extra("load", "aiohttp")
    from inference.load.command import load_json, load_text, run_load
    from inference.load.generator import RequestShape
    from inference.load.plan import LoadSettings, parse_shares
    from inference.serving.settings import parse_seconds, parse_url

    parse_url(url, "URL")
    settings = LoadSettings(
        requests_per_second=rate,
        duration_seconds=max(parse_seconds(duration, "--duration"), 0.1),
        tiers=parse_shares(tiers, "--tiers") or {"free": 1.0},
        regions=parse_shares(regions, "--regions"),
        num_users=users,
        signups_per_second=signups,
        requests_per_signup=requests_per_signup,
        pause_seconds=max(parse_seconds(pause, "--pause"), 0.001),
        honouring_ratio=honour,
        max_retries=retries,
        seed=seed,
    )
    shape = RequestShape(num_images=images, size=size, timeout_seconds=parse_seconds(timeout, "--timeout"))
    found = run_load(url.rstrip("/"), settings, shape)
    typer.echo(load_json(found) if output is OutputFormat.JSON else load_text(found))
