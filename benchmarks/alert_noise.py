"""How often alerts fire without a cause, and which fire when there is one: rules replayed over simulated fleets.

The simulator runs a scenario under a policy; what Prometheus would have seen is fed to promtool, which evaluates the
shipped rules in virtual time, a sample a minute. `--healthy DAYS` replays ordinary days in place of a scenario, with
planner, forecasts and thermal model at work. `--recorded DIRECTORY` replays recorded telemetry of loaded GPUs against
their slowdown temperature. Prints one JSON line. A notification is one group (alert, severity, region, pool) that
begins to fire; inhibition, which would take some away, is not applied.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from controller.simulator.builtin import load_builtin
from controller.simulator.scenario import Scenario, WavePoint
from tests.simulated_telemetry import SAMPLE_SECONDS, Firing, Telemetry, firing_alerts, notifications, record
from tools.monitoring.hardware_alerts import HARDWARE_ALERTS
from tools.monitoring.thresholds import RUNG_USERS_NOTICE
from tools.real_parts.processes import find_program

SLOWDOWN_CELSIUS = 87.0
FIRST_LIMIT_RUNG = 4


def ordinary_days(days: float) -> Scenario:
    """Return the built-in fleet without a wave, for some days, planned every minute."""
    scenario = load_builtin("march-2025")
    normal = scenario.users.wave[0].signups_per_hour
    wave = tuple(WavePoint(at_seconds=at, signups_per_hour=normal) for at in (0.0, days * 86400.0))
    return msgspec.structs.replace(
        scenario,
        name=f"{days:g} ordinary days",
        duration_seconds=days * 86400.0,
        step_seconds=30.0,
        plan_period_seconds=60.0,
        users=msgspec.structs.replace(scenario.users, wave=wave),
    )


def recorded_telemetry(directory: Path) -> Telemetry:
    """Return the margin to 87 °C of every recorded GPU, from the same start, a value a minute (the hottest in it)."""
    telemetry = Telemetry()
    tracks: dict[str, dict[int, float]] = {}
    for file in sorted(directory.glob("*.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as text:
            rows = list(csv.DictReader(text))
        time_column, celsius_column = columns_of(rows[0])
        start = float(rows[0][time_column])
        for row in rows:
            if row[celsius_column] in ("", "nan"):
                continue
            minute = int((float(row[time_column]) - start) // SAMPLE_SECONDS)
            name = f"{file.name.removesuffix('.csv.gz')}-{row.get('gpu', '0')}"
            minutes = tracks.setdefault(name, {})
            minutes[minute] = max(minutes.get(minute, 0.0), float(row[celsius_column]))
    for minute in range(1 + max(max(minutes) for minutes in tracks.values())):
        for number, (name, minutes) in enumerate(sorted(tracks.items())):
            place = f'region="recorded",pool="recorded",node="n{number}",gpu="0",uuid="{name}"'
            celsius = minutes.get(minute)
            margin = None if celsius is None else SLOWDOWN_CELSIUS - celsius
            telemetry.put(f"meltguard_gpu_thermal_margin_celsius{{{place}}}", margin)
        telemetry.close_sample()
    return telemetry


def columns_of(row: dict[str, str]) -> tuple[str, str]:
    """Return the names of the columns of time (seconds) and core temperature."""
    time_column = next(name for name in row if name in ("t_s", "seconds", "time_s", "t"))
    celsius_column = next(name for name in row if "temp" in name.lower() or name.endswith("_c"))
    return time_column, celsius_column


def summary(firings: list[Firing], telemetry: Telemetry) -> dict[str, object]:
    """Return what a person wants to know of a replay."""
    found = notifications(firings)
    first: dict[str, float] = {}
    for each in found:
        first.setdefault(f"{each.alert} ({each.severity})", round(each.seconds / 60.0, 1))
    limits = [
        minute for rungs in telemetry.rungs.values() for minute, rung in enumerate(rungs) if rung >= FIRST_LIMIT_RUNG
    ]
    shaped = [
        minute
        for rungs in telemetry.rungs.values()
        for minute, rung in enumerate(rungs)
        if rung >= RUNG_USERS_NOTICE.value
    ]
    tickets = [each.seconds / 60.0 for each in found if each.severity == "warning"]
    return {
        "hours": round(telemetry.length * SAMPLE_SECONDS / 3600.0, 2),
        "first_rung_3_minute": min(shaped, default=None),
        "first_limit_minute": min(limits, default=None),
        "first_ticket_minute": min(tickets, default=None),
        "pages": sum(each.severity == "critical" for each in found),
        "tickets": sum(each.severity == "warning" for each in found),
        "notifications": dict(sorted(Counter(f"{each.alert} ({each.severity})" for each in found).items())),
        "first_minute": first,
    }


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="march-2025", help="name of a built-in scenario")
    parser.add_argument("--policy", default="meltguard", help="who controls the fleet")
    parser.add_argument("--seed", type=int, default=0, help="of the world")
    parser.add_argument("--healthy", type=float, default=0.0, help="days without a wave, in place of a scenario")
    parser.add_argument("--recorded", type=Path, default=None, help="a folder of recorded telemetry, *.csv.gz")
    options = parser.parse_args()
    if options.recorded is not None:
        name, telemetry = str(options.recorded.name), recorded_telemetry(options.recorded)
    else:
        scenario = ordinary_days(options.healthy) if options.healthy else load_builtin(options.scenario)
        name, telemetry = scenario.name, record(scenario, policy=options.policy, seed=options.seed)
    with tempfile.TemporaryDirectory() as directory:
        firings = firing_alerts(
            telemetry.notation(),
            num_samples=telemetry.length,
            promtool=find_program("promtool"),
            directory=Path(directory),
        )
    if options.recorded is not None:
        # Only GPUs were recorded: that nobody sees a controller or an exporter is no finding.
        hardware = {alert.name for alert in HARDWARE_ALERTS}
        firings = [each for each in firings if each.alert in hardware]
    result = {"replayed": name, "policy": options.policy, "seed": options.seed, **summary(firings, telemetry)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
