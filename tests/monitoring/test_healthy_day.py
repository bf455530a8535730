"""A healthy fleet is silent: 24 hours of a simulated day with ordinary traffic, in promtool's virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.healthy_fleet import healthy
from tests.simulated_telemetry import SAMPLE_SECONDS, Telemetry, firing_alerts, notifications, record

DAY_SECONDS = 86400.0

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def day() -> Telemetry:
    """A day of the fleet without a controller's help: it needs none."""
    return record(healthy(DAY_SECONDS), policy="none", seed=0)


def test_nothing_fires_in_a_healthy_day(day: Telemetry, promtool: str, tmp_path: Path):
    """No alert of any severity but the Watchdog fires within 24 hours, looked at every two minutes."""
    assert day.length * SAMPLE_SECONDS == DAY_SECONDS
    margins = [value for name, values in day.series.items() if "thermal_margin" in name for value in values if value]
    assert 5.0 < min(margins) < 40.0
    found = firing_alerts(
        day.notation(), num_samples=day.length, promtool=promtool, directory=tmp_path, every=day.length
    )
    assert notifications(found) == []


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
