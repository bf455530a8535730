"""What ``meltguard demo`` and ``meltguard replay`` share: run policies while people watch, then write the results."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import ControllerError, UsageError

if TYPE_CHECKING:
    from controller.reporting.live_view import LiveSample
    from controller.simulator.closed_loop import Progress
    from controller.simulator.record import RunSet
    from controller.simulator.scenario import Scenario

MAX_SEEDS = 1000
"""Most seeds of one replay; a bound on time, not on sense."""


class OutputFormat(StrEnum):
    """What a command writes to stdout."""

    TEXT = "text"
    JSON = "json"


def parse_policies(text: str) -> tuple[str, ...]:
    """Return the policies of a comma-separated list, each once, in the order given.

    Raises:
        UsageError: If one is not known; names those that are.
    """
    from controller.simulator.policies import CONTROLLERS

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in CONTROLLERS]
    if unknown or not names:
        wrong = unknown[0] if unknown else text
        raise UsageError(f"--policy: {wrong!r} is not a policy; known: {', '.join(CONTROLLERS)}")
    return names


def simulate(scenario: Scenario, *, policies: tuple[str, ...], seeds: tuple[int, ...]) -> RunSet:
    """Run every policy on every seed, shown on stderr as it goes.

    Args:
        scenario: What happens to which fleet.
        policies: Names of the policies to compare, at least one.
        seeds: Seeds of users and hardware, each >= 0, at most ``MAX_SEEDS``.

    Returns:
        All runs: the policies in the order given, on each seed.
    """
    from controller.reporting.live_view import LiveView
    from controller.simulator.closed_loop import run_set

    with LiveView(title=scenario.title) as view:
        return run_set(scenario, policies=policies, seeds=seeds, watch=lambda progress: view.update(_sample(progress)))


def check_report(report: Path | None) -> None:
    """Refuse a report path that cannot be written before the run, not after it.

    Raises:
        UsageError: If the folder does not exist or does not take files, or the path is a folder.
    """
    if report is None:
        return
    folder = report.resolve().parent
    problem = ""
    if not folder.is_dir():
        problem = f"the folder {folder} does not exist"
    elif report.is_dir():
        problem = "it is a folder"
    elif not os.access(folder, os.W_OK):
        problem = f"the folder {folder} is not writable"
    if problem:
        raise UsageError(f"{report}: the report cannot be written, {problem}; name another file with --report")


def write_results(
    results: RunSet, scenario: Scenario, *, report: Path | None, output: OutputFormat, command: str
) -> None:
    """Write the report to its file and the figures to stdout; say on stderr where the report is.

    Args:
        results: All runs.
        scenario: What they ran on, for the report.
        report: File of the HTML report, replaced where it exists; None writes none.
        output: Format of the figures.
        command: What the report says that made it.

    Raises:
        ControllerError: If the report cannot be written.
    """
    from controller.reporting.document import run_set_document
    from controller.reporting.html_report import render_report
    from controller.reporting.text_table import summary_table

    if output is OutputFormat.JSON:
        sys.stdout.write(run_set_document(results).decode())
    else:
        sys.stdout.write(summary_table(results))
    if report is None:
        return
    try:
        report.write_text(render_report(results, scenario, command=command), encoding="utf-8")
    except OSError as error:
        raise ControllerError(
            f"{report}: the report cannot be written ({error.strerror}); name another file with --report"
        ) from error
    print(f"Report: {report.resolve()}", file=sys.stderr)


def _sample(progress: Progress) -> LiveSample:
    """Return what the live view shows of a run at one moment."""
    import numpy as np

    from controller.reporting.live_view import LiveSample, RegionSample
    from controller.simulator.users import signup_rate_per_hour

    world = progress.world
    scenario = world.scenario
    die = np.where(world.serving_gpus(), world.fleet.die_celsius, -np.inf)
    regions = []
    pool = 0
    for index, region in enumerate(scenario.regions):
        pools = range(pool, pool + len(region.pools))
        pool += len(region.pools)
        regions.append(
            RegionSample(
                region=region.name,
                rung=progress.rungs.get(region.name, 0),
                hottest_celsius=float(die[world.fleet.region_of_gpu == index].max()),
                nodes_serving=sum(world.cloud.num_serving(number) for number in pools),
                nodes_pending=sum(world.cloud.num_pending(number) for number in pools),
            )
        )
    last = progress.marks[-1] if progress.marks else None
    return LiveSample(
        policy=progress.policy,
        at=world.now,
        progress=progress.progress_ratio,
        signups_per_hour=signup_rate_per_hour(scenario.users.wave, world.seconds),
        hottest_celsius=float(die.max()),
        slowdown_celsius=scenario.gpu.slowdown_celsius,
        regions=tuple(regions),
        last_decision=f"{last.region}: {last.title}" if last is not None else None,
    )
