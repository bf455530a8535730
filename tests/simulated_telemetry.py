"""What Prometheus would have seen of a simulated run, as series for promtool; and which alerts that would have fired.

The simulator has no exporter: margins, slowed time and node counts are its own, late and rounded as its sensors show
them. Time to slowdown is known per pool only, and stands on one GPU of the pool. A first token counts as slow when the
estimated wait alone is longer than the promise. Shares of the controller that the simulator does not have (its leader,
its passes, its actions' results, flags' revisions) are shown healthy.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from controller.simulator.controllers import Controller
from controller.simulator.demand_feed import DemandFeed, live_through_past
from controller.simulator.observer import Observer
from controller.simulator.policies import CONTROLLERS
from controller.simulator.policy_from_scenario import policy_of
from controller.simulator.scenario import Scenario
from controller.simulator.world import World, WorldStep
from controller.types import ForecastSet
from forecasting.capacity import with_gpus
from forecasting.types import Calibration, SurgePhase
from tools.checks.repository import ROOT
from tools.monitoring.catalogue import GROUPS
from tools.monitoring.files import FOLDER
from tools.monitoring.thresholds import DEMAND_QUANTILE

SAMPLE_SECONDS = 60
FIRST_TOKEN_SECONDS = 2.5
NEVER_SECONDS = 99999.0
OPERATOR = 'job="meltguard-operator"'
MIN_SCORED = 30
_FOUND = re.compile(r"time: (?P<time>[\dhms]+),?\s*exp: nil\s*got: (?P<got>[^\n]*)")
_SAMPLE = re.compile(r"\{([^}]*)\} [\d.E+]+")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Telemetry:
    """Series by name, one value every ``SAMPLE_SECONDS``; None where the series is absent."""

    series: dict[str, list[float | None]] = field(default_factory=dict)
    length: int = 0
    rungs: dict[str, list[int]] = field(default_factory=dict)

    def put(self, name: str, value: float | None) -> None:
        """Add the value of the present sample to a series; a new one was absent before."""
        values = self.series.setdefault(name, [])
        values.extend([None] * (self.length - len(values)))
        values.append(value)

    def close_sample(self) -> None:
        """End the present sample."""
        self.length += 1

    def notation(self) -> dict[str, str]:
        """Return every series in promtool's notation; an absent value ends the series."""
        found = {}
        for name, values in self.series.items():
            padded = [*values, *([None] * (self.length - len(values)))]
            found[name] = " ".join("_" if value is None else f"{value:.7g}" for value in padded)
        return found


@dataclass
class Counters:
    """What only ever rises in a run."""

    slowed_seconds: np.ndarray
    served: np.ndarray
    served_fast: np.ndarray
    admitted: np.ndarray
    limited: np.ndarray
    dropped: np.ndarray


def record(scenario: Scenario, *, policy: str, seed: int) -> Telemetry:
    """Run a policy and return what Prometheus would have seen.

    Args:
        scenario: The scenario.
        policy: A key of the simulator's controllers.
        seed: Seed of the world.

    Returns:
        The series.
    """
    rules = policy_of(scenario)
    controller: Controller = CONTROLLERS[policy](rules, scenario)
    world = World(scenario, seed=seed)
    past = live_through_past(scenario, world.users)
    feed = DemandFeed(scenario, past, horizon_seconds=rules.horizon_seconds) if controller.uses_models else None
    observer = Observer(world, with_models=controller.uses_models)
    shape = world.offered_total.shape
    counters = Counters(np.zeros(world.fleet.num_gpus), *(np.zeros(shape) for _ in range(5)))
    telemetry = Telemetry(rungs={region.name: [] for region in scenario.regions})
    rungs: dict[str, int] = {}
    plan_steps = max(1, round(scenario.plan_period_seconds / scenario.step_seconds))
    sample_steps = max(1, round(SAMPLE_SECONDS / scenario.step_seconds))
    for index in range(-round(scenario.lead_in_seconds / scenario.step_seconds), scenario.num_steps):
        step = world.step()
        observer.record(step)
        if feed is not None:
            feed.record(step)
        if index < 0:
            continue
        _count(counters, world, step)
        forecasts = feed.forecasts if feed is not None else ForecastSet(demand=())
        if (index + 1) % plan_steps == 0:
            decision = controller.decide(observer.snapshot(), forecasts, world.now)
            for pool, num_nodes in decision.pool_nodes.items():
                world.apply_nodes(pool, num_nodes)
            if decision.flags is not None:
                write = decision.flags
                world.write_flags(write.flags, revision=write.revision, ttl_seconds=write.ttl_seconds)
            rungs.update({region: int(rung) for region, rung in decision.rungs.items()})
        if index % sample_steps == 0:
            _sample_gpus(telemetry, world, counters)
            _sample_pools(telemetry, observer, scenario)
            _sample_service(telemetry, scenario, step, counters)
            _sample_controller(telemetry, scenario, forecasts, rungs, rules)
            telemetry.close_sample()
    return telemetry


def _count(counters: Counters, world: World, step: WorldStep) -> None:
    counters.slowed_seconds += world.scenario.step_seconds * (world.fleet.slowed & world.fleet.powered)
    counters.served += step.served
    counters.served_fast += step.served * (step.wait_seconds <= FIRST_TOKEN_SECONDS)
    counters.limited += step.limited
    counters.dropped += step.dropped
    counters.admitted += step.offered - step.limited - step.dropped


def _sample_gpus(telemetry: Telemetry, world: World, counters: Counters) -> None:
    fleet, scenario = world.fleet, world.scenario
    celsius = fleet.sensed_celsius()
    names = [(region.name, pool.name) for region in scenario.regions for pool in region.pools]
    for slot in range(fleet.num_gpus):
        region, pool = names[int(fleet.pool_of_gpu[slot])]
        place = f'region="{region}",pool="{pool}",node="n{fleet.node_of_gpu[slot]}",gpu="{slot % 8}",uuid="GPU-{slot}"'
        if fleet.powered[slot]:
            telemetry.put(f'meltguard_gpu_up{{{place},reason="ok"}}', 1.0)
            margin = scenario.gpu.slowdown_celsius - float(celsius[slot])
            telemetry.put(f"meltguard_gpu_thermal_margin_celsius{{{place}}}", margin)
            slowed = float(counters.slowed_seconds[slot])
            telemetry.put(f'meltguard_gpu_throttled_seconds_total{{{place},reason="sw_thermal"}}', slowed)


def _sample_pools(telemetry: Telemetry, observer: Observer, scenario: Scenario) -> None:
    limits = {pool.name: pool for region in scenario.regions for pool in region.pools}
    for state in observer.snapshot().pools:
        place = f'region="{state.region}",pool="{state.name}"'
        said = f"{OPERATOR},{place}"
        spec = limits[state.name]
        nodes = state.nodes.value
        if nodes is not None:
            for name in ("desired", "ready", "serving"):
                telemetry.put(f'meltguard_pool_nodes{{{said},state="{name}"}}', float(getattr(nodes, name)))
            for node in range(nodes.ready):
                target = f'job="meltguard-exporter",{place},node="{node}",instance="{state.name}-{node}"'
                telemetry.put(f"up{{{target}}}", 1.0)
        telemetry.put(f'meltguard_pool_nodes_limit{{{said},bound="max"}}', float(spec.max_nodes))
        telemetry.put(f"meltguard_pool_gpus_per_node{{{said}}}", float(spec.gpus_per_node))
        if (seconds := state.seconds_to_slowdown.value) is not None:
            lowest = min(seconds, NEVER_SECONDS)
            whole = f'{place},node="any",gpu="hottest",uuid="{state.name}"'
            telemetry.put(f"meltguard_gpu_seconds_to_slowdown{{{whole}}}", lowest)


def _sample_service(telemetry: Telemetry, scenario: Scenario, step: WorldStep, counters: Counters) -> None:
    received = 'meltguard_inference_requests_received_total{%s,tier="%s",attempt="first",outcome="%s"}'
    for row, region in enumerate(scenario.regions):
        place = f'region="{region.name}"'
        wait = float(step.wait_seconds[row].max())
        pods = f'{place},pool="{region.pools[0].name}",instance="{region.name}"'
        telemetry.put(f"meltguard_inference_estimated_wait_seconds{{{pods}}}", wait)
        telemetry.put(f"meltguard_flags_revision{{{pods}}}", 1.0)
        telemetry.put(
            f"meltguard_inference_time_to_first_token_seconds_count{{{pods}}}", float(counters.served[row].sum())
        )
        telemetry.put(
            f'meltguard_inference_time_to_first_token_seconds_bucket{{{pods},le="2.5"}}',
            float(counters.served_fast[row].sum()),
        )
        for column, tier in enumerate(scenario.tiers):
            for outcome, values in (
                ("admitted", counters.admitted),
                ("quota", counters.limited),
                ("contended", counters.dropped),
            ):
                telemetry.put(received % (place, tier.name, outcome), float(values[row, column]))


def _sample_controller(
    telemetry: Telemetry, scenario: Scenario, forecasts: ForecastSet, rungs: dict[str, int], rules: Any
) -> None:
    now = float(telemetry.length * SAMPLE_SECONDS)
    for region in scenario.regions:
        rung = rungs.get(region.name, 0)
        telemetry.rungs[region.name].append(rung)
        telemetry.put(f'meltguard_controller_rung{{{OPERATOR},region="{region.name}"}}', float(rung))
        telemetry.put(f'meltguard_controller_breaker_open{{{OPERATOR},region="{region.name}"}}', 0.0)
    for forecast in forecasts.demand:
        place = f'region="{forecast.key.region}",tier="{forecast.key.tier}"'
        for phase in SurgePhase:
            state = f'meltguard_forecast_surge_state{{{place},state="{phase.value}"}}'
            telemetry.put(state, float(forecast.surge.phase is phase))
        telemetry.put(f"meltguard_forecast_interval_coverage_ratio{{{place}}}", _coverage(forecast.calibration))
        gpus = with_gpus(forecast, rules.capacity).gpus_needed
        if gpus is None:
            continue
        level = int(np.argmin(np.abs(np.asarray(forecast.levels) - DEMAND_QUANTILE.value)))
        labels = f'region="{forecast.key.region}",tier="{forecast.key.tier}",q="0.9"'
        for minutes in (15, 30, 60):
            step = min(gpus.shape[1] - 1, max(0, round(minutes * 60 / forecast.step_seconds) - 1))
            horizon = f'horizon="{minutes * 60}"'
            telemetry.put(f"meltguard_forecast_gpus_needed{{{labels},{horizon}}}", float(gpus[level, step]))
    telemetry.put(f"meltguard_controller_leader{{{OPERATOR}}}", 1.0)
    telemetry.put("meltguard_controller_last_pass_timestamp_seconds", now)
    telemetry.put("meltguard_forecast_last_success_timestamp_seconds", now)
    telemetry.put(f'meltguard_controller_input_age_seconds{{{OPERATOR},input="thermal"}}', 5.0)
    telemetry.put('meltguard_controller_actions_total{kind="nodes",result="done"}', now / 60.0)


def _coverage(calibration: Calibration) -> float | None:
    """Return the observed coverage of a forecast, None before enough of it was scored to say so."""
    return calibration.observed if calibration.num_scored >= MIN_SCORED else None


@dataclass(frozen=True)
class Firing:
    """An alert that fires at a sample of a run."""

    seconds: int
    alert: str
    severity: str
    region: str
    pool: str


def firing_alerts(
    notation: dict[str, str],
    *,
    num_samples: int,
    promtool: str,
    directory: Path,
    every: int = 1,
    evaluation_seconds: int = SAMPLE_SECONDS,
) -> list[Firing]:
    """Return every alert that the shipped rules fire over series, sample by sample.

    promtool evaluates the rules in virtual time. It is told that nothing fires, and its complaint is the answer.

    Args:
        notation: Series in promtool's notation, one value every ``SAMPLE_SECONDS``.
        num_samples: How many there are.
        promtool: Path of the program.
        directory: Where the test file is written.
        every: Samples between two looks; a look finds whatever fired since the one before.
        evaluation_seconds: Distance of two evaluations of the rules, a multiple of ``SAMPLE_SECONDS``.

    Returns:
        What fires, by time; the Watchdog left out.
    """
    since = f"[{every * SAMPLE_SECONDS}s]" if every > 1 else ""
    selected = f'ALERTS{{alertstate="firing", alertname!="Watchdog"}}{since}'
    expr = f"count by (alertname, severity, region, pool) ({f'count_over_time({selected})' if since else selected})"
    document = {
        "rule_files": [str(path) for path in sorted((ROOT / FOLDER / "rules").glob("*.yaml"))],
        "evaluation_interval": f"{evaluation_seconds}s",
        "group_eval_order": [group.name for group in GROUPS],
        "tests": [
            {
                "interval": f"{SAMPLE_SECONDS}s",
                "input_series": [{"series": name, "values": values} for name, values in notation.items()],
                "promql_expr_test": [
                    {"expr": expr, "eval_time": f"{index * SAMPLE_SECONDS}s", "exp_samples": []}
                    for index in range(every - 1, num_samples, every)
                ],
            }
        ],
    }
    file = directory / "replay.yaml"
    file.write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=900)
    text = done.stdout + done.stderr
    found = []
    for match in _FOUND.finditer(text):
        for sample in _SAMPLE.finditer(match["got"]):
            labels = dict(_LABEL.findall(sample[1]))
            found.append(
                Firing(
                    seconds=_seconds(match["time"]),
                    alert=labels["alertname"],
                    severity=labels["severity"],
                    region=labels.get("region", ""),
                    pool=labels.get("pool", ""),
                )
            )
    if done.returncode != 0 and not found:
        raise RuntimeError(f"promtool failed without naming an alert: {text[:1000]}")
    return sorted(found, key=lambda firing: (firing.seconds, firing.alert, firing.region, firing.pool))


def _seconds(text: str) -> int:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def notifications(firings: list[Firing]) -> list[Firing]:
    """Return the first sample of every uninterrupted firing of a group (alert, severity, region, pool)."""
    last: dict[tuple[str, str, str, str], int] = {}
    found = []
    for firing in firings:
        key = (firing.alert, firing.severity, firing.region, firing.pool)
        if firing.seconds - last.get(key, -(10**9)) > SAMPLE_SECONDS:
            found.append(firing)
        last[key] = firing.seconds
    return found
