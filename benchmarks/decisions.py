"""Every policy on every built-in scenario: heat, harm, waits and hours against the clairvoyant bound.

    python benchmarks/decisions.py [--seeds 20] [--rival-seeds 3] [--scenario march-2025] [--policies ...] [--no-guard]

Prints one line a run and a verdict for each requirement: throttled GPU-seconds where the oracle has none, lost requests
against the oracle's, waits, GPU-hours, rungs left within the flap budget, and that no policy beats the oracle.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import msgspec

from controller.simulator.builtin import builtin_names, load_builtin
from controller.simulator.closed_loop import run_harm, run_policy
from controller.simulator.record import RunRecord
from controller.simulator.scenario import Scenario

FULL_SEEDS = ("meltguard", "oracle", "reactive")
ALL = ("none", "reactive", "keda", "predictive", "dynamo", "capacity-only", "shaping-only", "meltguard", "oracle")
FLOOR_LOST_RATIO = 0.02
FLOOR_PAID_RATIO = 0.001
FLOOR_HOURS_RATIO = 1.2
FLOOR_WAIT_RATIO = 2.0
WAIT_SLACK_SECONDS = 1.0
"""Resolution of recorded waits; a wait of nothing has no multiple."""


def lost_ratio(run: RunRecord, tier: str | None = None) -> float:
    """Return the share of offered requests that were limited, dropped or abandoned."""
    chosen = [figures for name, figures in run.figures.tiers.items() if tier in (None, name)]
    lost = sum(f.requests.limited + f.requests.dropped + f.requests.abandoned for f in chosen)
    return lost / max(sum(f.requests.offered for f in chosen), 1.0)


def worst_wait_seconds(run: RunRecord) -> float:
    """Return the longest p95 of any tier."""
    return max(figures.wait_seconds.p95 for figures in run.figures.tiers.values())


def rungs_left_per_hour(run: RunRecord) -> int:
    """Return how often a rung was left for a milder one, at most in any region and hour; steps of a rung are a ramp."""
    times, rungs = defaultdict(list), defaultdict(int)
    for mark in run.decisions:
        if mark.kind == "restore" and mark.rung < rungs[mark.region]:
            times[mark.region].append(mark.at)
        if mark.kind in ("limit", "restore"):
            rungs[mark.region] = mark.rung
    most = 0
    for marks in times.values():
        most = max([most, *(sum(0.0 <= (b - a).total_seconds() < 3600.0 for b in marks) for a in marks)])
    return most


def verdicts(scenario: Scenario, run: RunRecord, bound: RunRecord) -> list[tuple[str, bool, str]]:
    """Return the requirements on our policy for one seed: name, met or not, and the figures."""
    ours, best = run.figures, bound.figures
    budget = scenario.bounds.flap_budget_per_hour
    highest = max(max(track.rung) for track in run.regions.values())
    rows = [
        (
            "no throttling where the oracle has none",
            best.throttled_gpu_seconds > 0.0 or ours.throttled_gpu_seconds == 0.0,
            f"{ours.throttled_gpu_seconds:.0f} GPU-seconds",
        ),
        (
            "lost at most the oracle's plus 2 %",
            lost_ratio(run) <= lost_ratio(bound) + FLOOR_LOST_RATIO,
            f"{lost_ratio(run):.2%} against {lost_ratio(bound):.2%}",
        ),
        (
            "paid lost at most the oracle's plus 0.1 %",
            lost_ratio(run, "paid") <= lost_ratio(bound, "paid") + FLOOR_PAID_RATIO,
            f"{lost_ratio(run, 'paid'):.3%} against {lost_ratio(bound, 'paid'):.3%}",
        ),
        (
            "p95 wait at most twice the oracle's",
            worst_wait_seconds(run) <= FLOOR_WAIT_RATIO * worst_wait_seconds(bound) + WAIT_SLACK_SECONDS,
            f"{worst_wait_seconds(run):.0f} s against {worst_wait_seconds(bound):.0f} s",
        ),
        (
            "GPU-hours at most 1.2 times the oracle's",
            ours.gpu_hours <= FLOOR_HOURS_RATIO * best.gpu_hours,
            f"{ours.gpu_hours:.0f} against {best.gpu_hours:.0f}",
        ),
        (
            "rungs left within the flap budget",
            rungs_left_per_hour(run) <= budget,
            f"{rungs_left_per_hour(run)} of {budget}, {run.figures.flag_changes} changes of flags",
        ),
    ]
    if scenario.name in ("false-surge", "failed-fan"):
        rows.append(("no rung above 1", highest <= 1, f"rung {highest}"))
    return rows


def run_scenario(scenario: Scenario, policies: tuple[str, ...], seeds: int, rival_seeds: int) -> list[RunRecord]:
    """Run the policies on their seeds, printing each run."""
    runs = []
    for policy in policies:
        for seed in range(seeds if policy in FULL_SEEDS else min(rival_seeds, seeds)):
            began = time.process_time()
            run = run_policy(scenario, policy=policy, seed=seed)
            figures = run.figures
            print(
                f"{scenario.name:16} {policy:14} {seed:3} throttled {figures.throttled_gpu_seconds:8.0f} "
                f"max {figures.max_temperature_celsius:6.2f} lost {lost_ratio(run):7.2%} "
                f"paid {lost_ratio(run, 'paid'):7.3%} p95 {worst_wait_seconds(run):4.0f} s "
                f"GPU-hours {figures.gpu_hours:7.1f} harm {run_harm(run, scenario):9.1f} "
                f"flags {figures.flag_changes:4} "
                f"processor {time.process_time() - began:5.1f} s",
                flush=True,
            )
            runs.append(run)
    return runs


def main() -> None:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="seeds of ours, the oracle and reactive")
    parser.add_argument("--rival-seeds", type=int, default=3, help="seeds of the others")
    parser.add_argument("--scenario", default=",".join(builtin_names()))
    parser.add_argument("--policies", default=",".join(ALL))
    parser.add_argument("--no-guard", action="store_true", help="without the pods' local guard")
    options = parser.parse_args()
    met: dict[str, list[bool]] = defaultdict(list)
    missed = []
    for name in options.scenario.split(","):
        scenario = msgspec.structs.replace(load_builtin(name), local_guard=not options.no_guard)
        runs = run_scenario(scenario, tuple(options.policies.split(",")), options.seeds, options.rival_seeds)
        bounds = {run.seed: run for run in runs if run.policy == "oracle"}
        for run in runs:
            if run.seed not in bounds:
                continue
            bound = bounds[run.seed]
            beaten = run.policy != "oracle" and run_harm(run, scenario) < run_harm(bound, scenario)
            cool = run.figures.throttled_gpu_seconds <= bound.figures.throttled_gpu_seconds
            met["no policy without heat beats the oracle"].append(not (beaten and cool))
            if run.policy == "meltguard":
                for requirement, holds, figures in verdicts(scenario, run, bound):
                    met[requirement].append(holds)
                    if not holds:
                        missed.append(f"{name} seed {run.seed}: {requirement}: {figures}")
    print()
    for requirement, results in met.items():
        print(f"{sum(results):4} of {len(results):4}  {requirement}")
    print()
    print("\n".join(missed))


if __name__ == "__main__":
    main()
