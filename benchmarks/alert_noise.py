"""How often alerts fire without a cause, and which events they miss: rules replayed over weeks, faults and recordings.

    alert_noise.py ordinary --seed 0     a fleet-week of ordinary life: false alarms (about 4 minutes on two cores)
    alert_noise.py faults                20 events of every kind: called, late, missed, delay (about 5 minutes)
    alert_noise.py scenario              a scenario of the simulator, March 2025 by default, under a policy
    alert_noise.py recorded DIRECTORY    recorded telemetry of loaded GPUs, *.csv.gz, against 87 °C

Every part prints one JSON line; `--keep` also writes it to docs/reference/alert-noise.json, from which `make docs`
makes the page. promtool evaluates the shipped rules in virtual time. A notification is one group (alert, severity,
region, pool) that begins to fire; inhibition, which would take some away, is not applied.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from controller.simulator.builtin import load_builtin
from tests.fault_replay import FAULTS, Outcome, call_faults
from tests.healthy_fleet import healthy
from tests.injected_faults import Fault
from tests.ordinary_life import DISTURBANCES, STEP_SECONDS, OrdinaryLife
from tests.recorded_margins import recorded_margins
from tests.replayed_rules import Answer, Series, ask
from tests.simulated_telemetry import SAMPLE_SECONDS, Telemetry, firing_alerts, notifications, record
from tools.checks.repository import ROOT
from tools.docs.noise_reference import MEASURED
from tools.monitoring.hardware_alerts import HARDWARE_ALERTS
from tools.monitoring.thresholds import RUNG_USERS_NOTICE
from tools.real_parts.processes import find_newer_program, find_program

FIRST_LIMIT_RUNG = 4
LOOK_SECONDS = 600
"""The ordinary weeks are asked what fired within this time, so that an alert of seconds is not overlooked."""
FLEETS_A_BATCH = 2
MAX_ALONE = 5
"""Events that need a replay each; they differ little."""
DAY_SECONDS = 86400.0


def main() -> None:
    """Run one part and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for name, function in (("ordinary", ordinary), ("faults", faults), ("scenario", scenario), ("recorded", recorded)):
        part = parts.add_parser(name)
        part.set_defaults(function=function)
        part.add_argument("--seed", type=int, default=0, help="of everything random")
        part.add_argument("--keep", action="store_true", help=f"write the result to {MEASURED}, too")
        part.add_argument("--newer", action="store_true", help="promtool 3 in place of the installed one")
        part.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at a time")
        if name == "ordinary":
            part.add_argument("--fleets", type=int, default=4, help="how many fleets, each with its own seed")
            part.add_argument("--days", type=float, default=1.75, help="how long each of them is looked at")
        elif name == "faults":
            part.add_argument("--events", type=int, default=20, help="of every kind")
            part.add_argument("--only", default="", help="kinds whose alert and labels contain this")
        elif name == "scenario":
            part.add_argument("--name", default="march-2025", help="name of a built-in scenario")
            part.add_argument("--policy", default="meltguard", help="who controls the fleet")
        else:
            part.add_argument("directory", type=Path, help="where the recordings lie")
    options = parser.parse_args()
    function: Callable[[argparse.Namespace], dict[str, Any]] = options.function
    print(json.dumps(function(options)))


def promtool_of(options: argparse.Namespace) -> str:
    """Return the path of the promtool that was asked for."""
    return find_newer_program("promtool") if options.newer else find_program("promtool")


def keep(options: argparse.Namespace, *place: str, value: object) -> None:
    """Write a result into the file of measurements, if that was asked for."""
    if not options.keep:
        return
    path = ROOT / MEASURED
    measured = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    inner = measured
    for name in place[:-1]:
        inner = inner.setdefault(name, {})
    inner[place[-1]] = value
    path.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def ordinary(options: argparse.Namespace) -> dict[str, Any]:
    """Replay ordinary days of several fleets and count what fired."""
    numbers = list(range(options.fleets))
    batches = [numbers[at : at + FLEETS_A_BATCH] for at in range(0, len(numbers), FLEETS_A_BATCH)]
    promtool = promtool_of(options)
    with ProcessPoolExecutor(max_workers=options.processes) as pool:
        jobs = [pool.submit(ordinary_batch, batch, options.seed, options.days, promtool) for batch in batches]
        found = [answer for job in jobs for answer in job.result()]
    result = {
        "weeks": options.fleets * options.days / 7.0,
        "step_seconds": STEP_SECONDS,
        "notifications": dict(sorted(begun(found).items())),
        "disturbances": [list(each) for each in DISTURBANCES],
    }
    keep(options, "ordinary", f"seed {options.seed}", value=result)
    return {**result, "seed": options.seed, "disturbances": len(DISTURBANCES)}


def ordinary_batch(numbers: list[int], seed: int, days: float, promtool: str) -> list[Answer]:
    """Simulate some fleets and replay them side by side."""
    series: Series = {}
    for number in numbers:
        world = 1000 * seed + number
        telemetry = record(healthy(days * DAY_SECONDS), policy="meltguard", seed=world)
        series |= OrdinaryLife(telemetry, seed=world).fleet(f"fleet-{number}")
    firing = f'ALERTS{{alertstate="firing",alertname!="Watchdog"}}[{LOOK_SECONDS}s]'
    expr = f"sum by (cluster, alertname, severity, region, pool) (count_over_time({firing}))"
    last = int(days * DAY_SECONDS) - STEP_SECONDS
    questions = [(expr, at) for at in range(LOOK_SECONDS - STEP_SECONDS, last + 1, LOOK_SECONDS)]
    with tempfile.TemporaryDirectory() as directory:
        return ask(series, questions, step_seconds=STEP_SECONDS, promtool=promtool, directory=Path(directory))


def begun(answers: list[Answer]) -> Counter[str]:
    """Return how often each alert began to fire; firing in one look and the next is one time."""
    last: dict[tuple[tuple[str, str], ...], int] = {}
    counts = Counter[str]()
    for answer in sorted(answers, key=lambda each: each.seconds):
        key = tuple(sorted(answer.labels.items()))
        if answer.seconds - last.get(key, -(10**9)) > LOOK_SECONDS:
            counts[f"{answer.labels['alertname']} {answer.labels['severity']}"] += 1
        last[key] = answer.seconds
    return counts


def faults(options: argparse.Namespace) -> dict[str, Any]:
    """Replay events of every kind and say which of them were called."""
    chosen = [fault for fault in FAULTS if options.only in " ".join(fault.key)]
    promtool = promtool_of(options)
    with ProcessPoolExecutor(max_workers=options.processes) as pool:
        jobs = [
            pool.submit(fault_of, number, options.events, options.seed, promtool)
            for number in range(len(FAULTS))
            if FAULTS[number] in chosen
        ]
        rows = []
        for job in jobs:
            rows.append(job.result())
            keep(options, "faults", name_of(rows[-1]), value=rows[-1])
    bad = {name_of(row): row for row in rows if row["called"] < row["drawn"]}
    return {
        "kinds": len(rows),
        "drawn": sum(row["drawn"] for row in rows),
        "called": sum(row["called"] for row in rows),
        "not_all_called": {
            name: [row["called"], row["late"], row["missed"], row["early"]] for name, row in bad.items()
        },
    }


def name_of(row: dict[str, Any]) -> str:
    """Return the name of a kind of event."""
    return " ".join((row["alert"], *row["labels"]))


def fault_of(number: int, num_events: int, seed: int, promtool: str) -> dict[str, Any]:
    """Replay the events of one kind, by its place in the list: what draws them cannot be sent to a process."""
    if FAULTS[number].alone:
        num_events = min(num_events, MAX_ALONE)
    with tempfile.TemporaryDirectory() as directory:
        (outcome,) = call_faults(
            [FAULTS[number]], num_events=num_events, seed=seed, promtool=promtool, directory=Path(directory)
        )
    return fault_row(outcome)


def fault_row(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as it is kept."""
    fault: Fault = outcome.fault
    delays = outcome.delays_seconds
    return {
        "alert": fault.alert,
        "labels": list(fault.labels.values()),
        "says": fault.says,
        "drawn": outcome.num_events,
        "called": len(delays),
        "late": outcome.num_late,
        "missed": outcome.num_missed,
        "early": outcome.num_early,
        "median_seconds": round(statistics.median(delays), 1) if delays else None,
        "longest_seconds": round(max(delays), 1) if delays else None,
        "within_seconds": fault.within_seconds,
    }


def scenario(options: argparse.Namespace) -> dict[str, Any]:
    """Replay a scenario of the simulator."""
    chosen = load_builtin(options.name)
    telemetry = record(chosen, policy=options.policy, seed=options.seed)
    result = summary(telemetry, promtool_of(options), only=None)
    command = f"alert_noise.py scenario --name {options.name} --policy {options.policy} --seed {options.seed}"
    name = f"{options.name} under {options.policy}, {sum(len(r.pools) for r in chosen.regions)} pools"
    keep(options, "elsewhere", name, value={**result, "command": command})
    return {"replayed": options.name, "policy": options.policy, "seed": options.seed, **result}


def recorded(options: argparse.Namespace) -> dict[str, Any]:
    """Replay recorded telemetry; that nobody sees a controller or an exporter in it is no finding."""
    margins = recorded_margins(options.directory)
    hardware = {alert.name for alert in HARDWARE_ALERTS}
    result = summary(margins.telemetry, promtool_of(options), only=hardware)
    result |= {
        "num_gpus": margins.num_gpus,
        "gpu_hours": round(margins.gpu_hours, 1),
        "hottest": margins.hottest_celsius,
    }
    name = (
        f"recorded telemetry of {margins.num_gpus} GPUs ({margins.gpu_hours:.0f} GPU-hours), hottest "
        f"{margins.hottest_celsius:.0f} °C, against {margins.slowdown_celsius:.0f} °C"
    )
    keep(options, "elsewhere", name, value={**result, "command": "alert_noise.py recorded DIRECTORY"})
    return {"replayed": str(options.directory.name), **result}


def summary(telemetry: Telemetry, promtool: str, *, only: set[str] | None) -> dict[str, Any]:
    """Return what a person wants to know of a replay.

    Args:
        telemetry: The series.
        promtool: Path of the program.
        only: Alerts that count; None: all.
    """
    with tempfile.TemporaryDirectory() as directory:
        firings = firing_alerts(
            telemetry.notation(), num_samples=telemetry.length, promtool=promtool, directory=Path(directory)
        )
    found = notifications([each for each in firings if only is None or each.alert in only])
    first: dict[str, float] = {}
    for each in found:
        first.setdefault(f"{each.alert} {each.severity}", round(each.seconds / 60.0, 1))
    tickets = [each.seconds / 60.0 for each in found if each.severity == "warning"]
    return {
        "hours": round(telemetry.length * SAMPLE_SECONDS / 3600.0, 2),
        "first_rung_3_minute": first_minute(telemetry, RUNG_USERS_NOTICE.value),
        "first_limit_minute": first_minute(telemetry, FIRST_LIMIT_RUNG),
        "first_ticket_minute": min(tickets, default=None),
        "pages": sum(each.severity == "critical" for each in found),
        "tickets": len(tickets),
        "notifications": dict(sorted(Counter(f"{each.alert} {each.severity}" for each in found).items())),
        "first_minute": first,
    }


def first_minute(telemetry: Telemetry, rung: float) -> int | None:
    """Return the first minute in which any region is on a rung or above."""
    return min(
        (minute for rungs in telemetry.rungs.values() for minute, each in enumerate(rungs) if each >= rung),
        default=None,
    )


if __name__ == "__main__":
    main()
