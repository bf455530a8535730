"""``meltguard demo``: the built-in surge, with and without meltguard, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli.simulation import OutputFormat, check_report, parse_policies, simulate, write_results

DEFAULT_REPORT = Path("meltguard-demo.html")


def demo(
    report: Annotated[
        Path, typer.Option("--report", metavar="FILE", help="Where the HTML report goes.")
    ] = DEFAULT_REPORT,
    policy: Annotated[
        str, typer.Option("--policy", help="Policies to compare, comma separated.")
    ] = "none,reactive,meltguard",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of users and hardware.")] = 0,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Replay the surge of March 2025 in virtual time and write a report; needs no cluster, GPU or network."""
    from controller.simulator.builtin import load_builtin

    policies = parse_policies(policy)
    check_report(report)
    scenario = load_builtin("march-2025")
    results = simulate(scenario, policies=policies, seeds=(seed,))
    command = "meltguard demo" if seed == 0 else f"meltguard demo --seed {seed}"
    write_results(results, scenario, report=report, output=output, command=command)
