"""Every policy on every built-in scenario: heat, harm, waits and hours against the clairvoyant bound.

    python benchmarks/decisions.py [--seeds 20] [--rival-seeds 3] [--scenario march-2025] [--policies ...] [--no-guard]
        [--resume rows.jsonl] [--for-seconds 450] [--jobs 2]

Prints one line a run and a verdict for each requirement: throttled GPU-seconds where the oracle has none, lost requests
against the oracle's, waits, GPU-hours, rungs left within the flap budget, and that no policy beats the oracle.

With ``--resume`` every run is appended to a file as one line of JSON and is not run again; with ``--for-seconds`` no
run begins after that time. So the whole can be done in slices: repeat the command until it says that nothing is left.
Each row names the state of the code that made it; rows of another state are kept and counted, for a change of the
planner does not touch the oracle. Delete them where it does.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import msgspec

from controller.simulator.builtin import builtin_names, load_builtin
from controller.simulator.closed_loop import run_harm, run_policy
from controller.simulator.record import RunRecord

ROOT = Path(__file__).resolve().parents[1]
DECIDING_PACKAGES = ("controller/planning", "controller/simulator", "controller/types", "forecasting")
FULL_SEEDS = ("meltguard", "oracle", "reactive")
ALL = ("none", "reactive", "keda", "predictive", "dynamo", "capacity-only", "shaping-only", "meltguard", "oracle")
FLOOR_LOST_RATIO = 0.02
FLOOR_PAID_RATIO = 0.001
FLOOR_HOURS_RATIO = 1.2
FLOOR_WAIT_RATIO = 2.0
UNGUARDED_THROTTLED_RATIO = 0.05
"""Without the pods' guard: throttled GPU-seconds against the best rival's."""
WAIT_SLACK_SECONDS = 1.0
"""Resolution of recorded waits; a wait of nothing has no multiple."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One run that is asked for."""

    scenario: str
    policy: str
    seed: int
    guard: bool


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What a run leaves behind here: the figures that are judged, and the state of the code that made them."""

    task: Task
    code: str
    throttled_gpu_seconds: float
    max_temperature_celsius: float
    lost_ratio: float
    paid_lost_ratio: float
    worst_wait_seconds: float
    gpu_hours: float
    harm: float
    flag_changes: int
    rungs_left_per_hour: int
    flap_budget_per_hour: int
    highest_rung: int
    processor_seconds: float


@functools.cache
def code_state() -> str:
    """Return a short digest of the sources that decide a run's figures."""
    digest = hashlib.sha256()
    for package in DECIDING_PACKAGES:
        for path in sorted((ROOT / package).rglob("*.[py]*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def lost_ratio(run: RunRecord, tier: str | None = None) -> float:
    """Return the share of offered requests that were limited, dropped or abandoned."""
    chosen = [figures for name, figures in run.figures.tiers.items() if tier in (None, name)]
    lost = sum(f.requests.limited + f.requests.dropped + f.requests.abandoned for f in chosen)
    return lost / max(sum(f.requests.offered for f in chosen), 1.0)


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


def run_task(task: Task) -> Row:
    """Run one policy on one seed of one scenario."""
    began = time.process_time()
    scenario = msgspec.structs.replace(load_builtin(task.scenario), local_guard=task.guard)
    run = run_policy(scenario, policy=task.policy, seed=task.seed)
    figures = run.figures
    return Row(
        task=task,
        code=code_state(),
        throttled_gpu_seconds=figures.throttled_gpu_seconds,
        max_temperature_celsius=figures.max_temperature_celsius,
        lost_ratio=lost_ratio(run),
        paid_lost_ratio=lost_ratio(run, "paid"),
        worst_wait_seconds=max(tier.wait_seconds.p95 for tier in figures.tiers.values()),
        gpu_hours=figures.gpu_hours,
        harm=run_harm(run, scenario),
        flag_changes=figures.flag_changes,
        rungs_left_per_hour=rungs_left_per_hour(run),
        flap_budget_per_hour=scenario.bounds.flap_budget_per_hour,
        highest_rung=max(max(track.rung) for track in run.regions.values()),
        processor_seconds=time.process_time() - began,
    )


def verdicts(row: Row, bound: Row) -> list[tuple[str, bool, str]]:
    """Return the requirements on our policy for one seed: name, met or not, and the figures."""
    rows = [
        (
            "no throttling where the oracle has none",
            bound.throttled_gpu_seconds > 0.0 or row.throttled_gpu_seconds == 0.0,
            f"{row.throttled_gpu_seconds:.0f} GPU-seconds",
        ),
        (
            "lost at most the oracle's plus 2 %",
            row.lost_ratio <= bound.lost_ratio + FLOOR_LOST_RATIO,
            f"{row.lost_ratio:.2%} against {bound.lost_ratio:.2%}",
        ),
        (
            "paid lost at most the oracle's plus 0.1 %",
            row.paid_lost_ratio <= bound.paid_lost_ratio + FLOOR_PAID_RATIO,
            f"{row.paid_lost_ratio:.3%} against {bound.paid_lost_ratio:.3%}",
        ),
        (
            "p95 wait at most twice the oracle's",
            row.worst_wait_seconds <= FLOOR_WAIT_RATIO * bound.worst_wait_seconds + WAIT_SLACK_SECONDS,
            f"{row.worst_wait_seconds:.0f} s against {bound.worst_wait_seconds:.0f} s",
        ),
        (
            "GPU-hours at most 1.2 times the oracle's",
            row.gpu_hours <= FLOOR_HOURS_RATIO * bound.gpu_hours,
            f"{row.gpu_hours:.1f} against {bound.gpu_hours:.1f}, {row.gpu_hours / bound.gpu_hours:.4f} times",
        ),
        (
            "rungs left within the flap budget",
            row.rungs_left_per_hour <= row.flap_budget_per_hour,
            f"{row.rungs_left_per_hour} of {row.flap_budget_per_hour}, {row.flag_changes} changes of flags",
        ),
    ]
    if row.task.scenario in ("false-surge", "failed-fan"):
        rows.append(("no rung above 1", row.highest_rung <= 1, f"rung {row.highest_rung}"))
    return rows


def tell(row: Row) -> None:
    """Print one run."""
    task = row.task
    print(
        f"{task.scenario:16} {task.policy:14} {task.seed:3} throttled {row.throttled_gpu_seconds:8.0f} "
        f"max {row.max_temperature_celsius:6.2f} lost {row.lost_ratio:7.2%} "
        f"paid {row.paid_lost_ratio:7.3%} p95 {row.worst_wait_seconds:4.0f} s "
        f"GPU-hours {row.gpu_hours:7.1f} harm {row.harm:9.1f} "
        f"flags {row.flag_changes:4} processor {row.processor_seconds:5.1f} s",
        flush=True,
    )


def finished(tasks: list[Task], *, jobs: int, for_seconds: float) -> Iterator[Row]:
    """Run tasks in separate processes; yield the rows as they come, and begin no run after the time."""
    ends_at = time.monotonic() + for_seconds
    waiting = iter(tasks)
    running: set[Future[Row]] = set()
    # Not forked: numerical libraries may hold threads.
    with ProcessPoolExecutor(max_workers=jobs, mp_context=multiprocessing.get_context("spawn")) as workers:
        while True:
            while len(running) < jobs and time.monotonic() < ends_at and (task := next(waiting, None)) is not None:
                running.add(workers.submit(run_task, task))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def judge(rows: list[Row]) -> None:
    """Print how many runs meet each requirement, and those that do not."""
    bounds = {(row.task.scenario, row.task.seed): row for row in rows if row.task.policy == "oracle"}
    met: dict[str, list[bool]] = defaultdict(list)
    missed = []
    for row in rows:
        task, bound = row.task, bounds.get((row.task.scenario, row.task.seed))
        if bound is None:
            continue
        beaten = task.policy != "oracle" and row.harm < bound.harm
        cool = row.throttled_gpu_seconds <= bound.throttled_gpu_seconds
        met["no policy without heat beats the oracle"].append(not (beaten and cool))
        if beaten and cool:
            missed.append(f"{task.scenario} seed {task.seed}: {task.policy} beats the oracle: {row.harm:.1f}")
        if task.policy == "meltguard":
            for requirement, holds, figures in verdicts(row, bound):
                met[requirement].append(holds)
                if not holds:
                    missed.append(f"{task.scenario} seed {task.seed}: {requirement}: {figures}")
    for requirement, results in met.items():
        print(f"{sum(results):4} of {len(results):4}  {requirement}")
    print("\n".join(["", *sorted(missed)]))


def judge_unguarded(rows: list[Row]) -> None:
    """Print our throttled GPU-seconds beside the best rival's; capacity-only and shaping-only are parts of ours."""
    ours_and_bound = ("meltguard", "oracle", "capacity-only", "shaping-only")
    groups: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for row in rows:
        groups[row.task.scenario, row.task.seed][row.task.policy] = row.throttled_gpu_seconds
    ours_sum = best_sum = 0.0
    for (scenario, seed), by_policy in sorted(groups.items()):
        rivals = {name: seconds for name, seconds in by_policy.items() if name not in ours_and_bound}
        if "meltguard" not in by_policy or not rivals:
            continue
        best = min(rivals, key=lambda name: (rivals[name], name))
        ours_sum, best_sum = ours_sum + by_policy["meltguard"], best_sum + rivals[best]
        verdict = "met" if by_policy["meltguard"] <= UNGUARDED_THROTTLED_RATIO * rivals[best] else "not met"
        print(
            f"{scenario:16} {seed:3} throttled {by_policy['meltguard']:8.0f} against {rivals[best]:8.0f} of {best}"
            f" ({verdict}); oracle {by_policy.get('oracle', float('nan')):.0f}"
        )
    if best_sum > 0.0:
        print(f"together {ours_sum:.0f} against {best_sum:.0f}: {1.0 - ours_sum / best_sum:.1%} fewer")


def main() -> None:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="seeds of ours, the oracle and reactive")
    parser.add_argument("--rival-seeds", type=int, default=3, help="seeds of the others")
    parser.add_argument("--scenario", default=",".join(builtin_names()))
    parser.add_argument("--policies", default=",".join(ALL))
    parser.add_argument("--no-guard", action="store_true", help="without the pods' local guard")
    parser.add_argument("--resume", type=Path, help="file of rows: read what is done, append what is run")
    parser.add_argument("--for-seconds", type=float, default=float("inf"), help="begin no run after this time")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    wanted = [
        Task(scenario=scenario, policy=policy, seed=seed, guard=not options.no_guard)
        for scenario in options.scenario.split(",")
        for seed in range(options.seeds)
        for policy in options.policies.split(",")
        if policy in FULL_SEEDS or seed < options.rival_seeds
    ]
    kept: dict[Task, Row] = {}
    if options.resume is not None and options.resume.exists():
        found = (msgspec.json.decode(line, type=Row) for line in options.resume.read_bytes().splitlines() if line)
        kept = {row.task: row for row in found}
    rows = [kept[task] for task in wanted if task in kept]
    for row in finished(
        [task for task in wanted if task not in kept], jobs=options.jobs, for_seconds=options.for_seconds
    ):
        if options.resume is not None:
            with options.resume.open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")
        tell(row)
        rows.append(row)
    print()
    judge(rows)
    if options.no_guard:
        judge_unguarded(rows)
    others = sum(row.code != code_state() for row in rows)
    left = len(wanted) - len(rows)
    spent = sum(row.processor_seconds for row in rows)
    print(f"{len(rows)} runs, {left} left; {spent:.0f} s of processor time; {others} rows of another state of the code")


if __name__ == "__main__":
    main()
