"""In the surge of March 2025 a ticket precedes the first limit, and nobody is paged while the controller works on it.

Its first 200 of 480 minutes are replayed here, in which demand passes what can be bought and limits come. The whole of
it is measured by ``benchmarks/alert_noise.py scenario``, whose kept result is held to the same rules.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from controller.simulator.builtin import load_builtin
from tests.simulated_telemetry import SAMPLE_SECONDS, Telemetry, firing_alerts, notifications, record
from tools.checks.repository import ROOT
from tools.docs.noise_reference import MEASURED
from tools.monitoring.thresholds import RUNG_USERS_NOTICE

MINUTES = 200
WAVE_BEGINS_MINUTE = 120
MAX_PAGES = 3

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def surge() -> Telemetry:
    """The fleet under meltguard through the rise of the surge."""
    scenario = msgspec.structs.replace(load_builtin("march-2025"), duration_seconds=MINUTES * 60.0)
    return record(scenario, policy="meltguard", seed=0)


def first_limit_minute(telemetry: Telemetry) -> int:
    """Return the first minute in which any region is on a rung that touches work."""
    return min(
        minute
        for rungs in telemetry.rungs.values()
        for minute, rung in enumerate(rungs)
        if rung >= RUNG_USERS_NOTICE.value
    )


def test_a_ticket_precedes_the_first_limit_and_no_page_comes(surge: Telemetry, promtool: str, tmp_path: Path):
    """The calm is silent, the first ticket on the surge comes before the first limit, and no page with them."""
    firings = firing_alerts(surge.notation(), num_samples=surge.length, promtool=promtool, directory=tmp_path)
    found = notifications(firings)
    tickets = [each.seconds / SAMPLE_SECONDS for each in found if each.severity == "warning"]
    assert WAVE_BEGINS_MINUTE < min(tickets) < first_limit_minute(surge) < MINUTES
    assert [each for each in found if each.severity == "critical"] == []
    assert min(each.seconds for each in found) >= WAVE_BEGINS_MINUTE * 60


def test_the_whole_scenario_was_measured_to_hold_the_same():
    """The kept result of all eight hours: a ticket before the first limit, and at most three pages."""
    measured = json.loads((ROOT / MEASURED).read_text(encoding="utf-8"))["elsewhere"]
    (whole,) = [each for name, each in measured.items() if name.startswith("march-2025 under meltguard")]
    assert whole["hours"] == 8.0
    assert whole["first_ticket_minute"] < whole["first_rung_3_minute"]
    assert whole["pages"] <= MAX_PAGES
