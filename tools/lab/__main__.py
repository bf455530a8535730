"""`make lab`: starts the whole loop, plays a surge, and says what was seen. Ctrl-C ends it in order."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tools.lab.play import perform
from tools.lab.settings import SHORT, LabSettings
from tools.lab.stage import Stage, running_stage
from tools.lab.verdict import Claim, claims_killed, claims_with, claims_without
from tools.real_parts.processes import RealPartError

EXIT_INTERRUPTED = 130


class OutputFormat(StrEnum):
    """How the verdict is written to standard output."""

    TEXT = "text"
    JSON = "json"


def main(
    without_meltguard: Annotated[
        bool, typer.Option("--without-meltguard", help="Let the operator report only, and see what happens.")
    ] = False,
    kill_every: Annotated[
        float | None, typer.Option("--kill-every", min=1.0, help="Kill a process at random every so many seconds.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="Play a shorter surge.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Stay up after the play, until Ctrl-C.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of users, and of what is killed.")] = LabSettings().seed,
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Folder for logs and reports, made anew; default: a new one.")
    ] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format of the verdict.")] = OutputFormat.TEXT,
) -> None:
    """Run the whole loop with real processes on this machine, play a surge, and judge what happened."""
    settings = replace(
        SHORT if short else LabSettings(),
        with_meltguard=not without_meltguard,
        kill_every_seconds=kill_every,
        seed=seed,
    )
    place = directory or Path(tempfile.mkdtemp(prefix="meltguard-lab-"))
    place.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    began_at = time.monotonic()
    try:
        with running_stage(settings, place, stop) as stage:
            show(f"ready after {time.monotonic() - began_at:.0f} s")
            show_places(stage)
            evidence = perform(stage, show)
            if stay and not stop.is_set():
                show("the play is over; Ctrl-C ends the lab")
                stop.wait()
                stop.clear()
    except RealPartError as error:
        print(f"lab: error: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED if stop.is_set() else 1) from error
    if stop.is_set():
        show("ended early; every process is stopped")
        raise typer.Exit(EXIT_INTERRUPTED)
    judge = claims_without if without_meltguard else claims_killed if kill_every is not None else claims_with
    claims = judge(evidence)
    report(claims, evidence.restarts, output)
    show(f"logs and reports: {place}; {time.monotonic() - began_at:.0f} s in all")
    raise typer.Exit(0 if all(claim.holds for claim in claims) else 1)


def show(text: str) -> None:
    """Write a line for people."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def show_places(stage: Stage) -> None:
    """Say where to look."""
    show(f"status page   http://{stage.operator_address}/")
    show(f"Prometheus    {stage.prometheus.url}/")
    show(f"Alertmanager  {stage.alertmanager_url}/")
    show(f"users ask at  {stage.front.url}/v1/images/generations")
    show(f"objects       KUBECONFIG={stage.control_plane.kubeconfig} kubectl -n meltguard-lab get surge,gpool -o wide")
    show(f"why           meltguard explain last --audit {stage.audit}")


def report(claims: tuple[Claim, ...], restarts: Mapping[str, int], output: OutputFormat) -> None:
    """Write the verdict to standard output."""
    if output is OutputFormat.JSON:
        document = {
            "schema": "meltguard.lab/v1",
            "claims": [asdict(claim) for claim in claims],
            "restarts": dict(restarts),
        }
        print(json.dumps(document))
        return
    for claim in claims:
        print(f"{'yes' if claim.holds else 'NO '}  {claim.name}: {claim.evidence}")
    if restarts:
        print(f"killed and back: {dict(restarts)}")


if __name__ == "__main__":
    typer.run(main)
