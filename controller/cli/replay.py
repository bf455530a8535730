"""``meltguard replay``: any scenario, in virtual time, under the policies of one's choice."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.recording import Recording, with_duration
from controller.cli.simulation import MAX_SEEDS, OutputFormat, check_report, parse_policies, simulate, write_results
from controller.errors import UsageError


def replay(
    scenario: Annotated[
        str | None, typer.Argument(metavar="SCENARIO", help="A scenario file, or the name of a built-in one.")
    ] = None,
    policy: Annotated[
        str, typer.Option("--policy", help="Policies to compare, comma separated.")
    ] = "none,reactive,meltguard",
    seed: Annotated[int, typer.Option("--seed", min=0, help="First seed of users and hardware.")] = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=MAX_SEEDS, help="Number of seeds.")] = 1,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML report here.")] = None,
    example: Annotated[bool, typer.Option("--example", help="Print a scenario file to begin with.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of scenario files.")] = False,
    signups: Annotated[
        str | None, typer.Option("--signups", help="FILE[:COLUMN]: recorded sign-ups in place of the scenario's.")
    ] = None,
    requests: Annotated[
        str | None, typer.Option("--requests", help="FILE[:COLUMN]: recorded load; needs --signups.")
    ] = None,
    time_column: Annotated[
        str, typer.Option("--time-column", help="NAME[:end]: time column of the recording.")
    ] = "timestamp",
    counter: Annotated[bool, typer.Option("--counter", help="The recorded columns are cumulative.")] = False,
    start: Annotated[str | None, typer.Option("--start", help="Begin of the replay in the recording.")] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", help="Length of the replay, such as 24h; default: the scenario's.")
    ] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Run a scenario in a closed loop in virtual time and compare policies."""
    from controller.simulator.builtin import load_named

    if example or schema:
        _print_reference(schema=schema)
        return
    if scenario is None:
        raise UsageError("SCENARIO is missing; give a file or a built-in name such as march-2025")
    policies = parse_policies(policy)
    check_report(report)
    chosen = with_duration(load_named(scenario), duration)
    if signups is not None:
        recording = Recording(signups=signups, requests=requests, time_column=time_column, counter=counter, start=start)
        chosen = recording.put_into(chosen)
    elif requests is not None or start is not None or counter:
        raise UsageError("--requests, --start and --counter describe a recording; name its sign-ups with --signups")
    results = simulate(chosen, policies=policies, seeds=tuple(range(seed, seed + seeds)))
    write_results(results, chosen, report=report, output=output, command=_as_typed())


def _print_reference(*, schema: bool) -> None:
    """Print the schema of scenario files, or an example of one."""
    import json

    from controller.simulator.builtin import builtin_text
    from controller.simulator.scenario import scenario_json_schema

    sys.stdout.write(json.dumps(scenario_json_schema(), indent=2) + "\n" if schema else builtin_text("march-2025"))


def _as_typed() -> str:
    """Return the command as it was typed, for the report."""
    return shlex.join(["meltguard", *sys.argv[1:]])
