"""A healthy fleet is silent: 24 hours with all that is ordinary in them, in promtool's virtual time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.healthy_fleet import healthy
from tests.ordinary_life import OrdinaryLife
from tests.replayed_rules import Series, ask
from tests.simulated_telemetry import SAMPLE_SECONDS, Telemetry, firing_alerts, notifications, record
from tools.monitoring.catalogue import ALERTS, RECORDINGS
from tools.monitoring.promql import selectors

DAY_SECONDS = 86400.0
LOOK_SECONDS = 3600

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def day() -> Telemetry:
    """A day of the fleet without a controller's help: it needs none."""
    return record(healthy(DAY_SECONDS), policy="none", seed=0)


@pytest.fixture(scope="module")
def life(day: Telemetry) -> Series:
    """The same day with restarts, lost scrapes and the other small things, forecasts of half of what can be had."""
    series = OrdinaryLife(day, seed=0, step_seconds=SAMPLE_SECONDS).fleet("fleet")
    place = f'cluster="fleet",region="{healthy(DAY_SECONDS).regions[0].name}",tier="free"'
    series[f'meltguard_forecast_gpus_needed{{{place},q="0.9",horizon="3600"}}'] = np.full(day.length, 12.0)
    series[f"meltguard_forecast_interval_coverage_ratio{{{place}}}"] = np.full(day.length, 0.9)
    usual = 'node="n0",gpu="0",uuid="GPU-0"'
    series[f"meltguard_gpu_seconds_to_slowdown{{{place.rpartition(',')[0]},{usual}}}"] = np.full(day.length, 9999.0)
    return series


def read_by_alerts() -> set[str]:
    """Return what the alerts ask of exporters, operator, pods and alerting, through the recorded series."""
    exprs: dict[str, list[str]] = {}
    for rule in RECORDINGS:
        exprs.setdefault(rule.record, []).append(rule.expr)
    waiting, read = [alert.expr for alert in ALERTS], set()
    while waiting:
        for selector in selectors(waiting.pop()):
            if selector.metric not in read:
                read.add(selector.metric)
                waiting += exprs.get(selector.metric, [])
    return {name for name in read if name not in exprs and not name.startswith("DCGM_")}


def test_the_day_has_every_series_that_an_alert_reads(life: Series):
    """Of what exporter, operator, pods and alerting publish, nothing that a rule asks for is left out of the day."""
    assert read_by_alerts() - {name.partition("{")[0] for name in life} == set()


def test_nothing_fires_in_a_healthy_day(day: Telemetry, life: Series, promtool: str, tmp_path: Path):
    """No alert of any severity but the Watchdog fires within 24 hours, whatever evaluation one looks at."""
    assert day.length * SAMPLE_SECONDS == DAY_SECONDS
    margins = [value for name, values in day.series.items() if "thermal_margin" in name for value in values if value]
    assert 5.0 < min(margins) < 40.0
    fired = f'count_over_time(ALERTS{{alertstate="firing",alertname!="Watchdog"}}[{LOOK_SECONDS}s])'
    questions = [(fired, at) for at in range(LOOK_SECONDS - SAMPLE_SECONDS, int(DAY_SECONDS), LOOK_SECONDS)]
    assert ask(life, questions, step_seconds=SAMPLE_SECONDS, promtool=promtool, directory=tmp_path) == []


def test_the_same_day_with_a_hot_node_is_not_silent(day: Telemetry, promtool: str, tmp_path: Path):
    """The replay can find something: one GPU that is hot for a quarter of an hour opens its ticket, and no page."""
    notation = day.notation()
    name = next(name for name in notation if "thermal_margin" in name)
    values = notation[name].split()
    values[600:615] = ["3"] * 15
    short = {key: " ".join(text.split()[580:640]) for key, text in {**notation, name: " ".join(values)}.items()}
    short = {key: text for key, text in short.items() if "timestamp" not in key}
    found = notifications(firing_alerts(short, num_samples=60, promtool=promtool, directory=tmp_path))
    assert {(each.alert, each.severity) for each in found} == {("GPUThermalMarginLow", "warning")}
