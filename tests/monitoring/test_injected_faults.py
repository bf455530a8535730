"""The measurement of missed events: every rule has events of its own, and the replay can tell called from missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fault_replay import FAULTS, call_faults
from tests.injected_faults import Fault
from tests.replayed_rules import notation
from tools.monitoring.catalogue import ALERTS
from tools.monitoring.model import Severity

CALLED = ("GPUThermalMarginLow", "NodePoolProvisioningStuck", "ForecastStale")


def fault_of(name: str) -> Fault:
    """Return the first kind of event of an alert."""
    return next(fault for fault in FAULTS if fault.alert == name)


def test_every_rule_of_the_catalogue_has_events_of_its_own():
    """No rule is left out of the measurement, but for the Watchdog, which nothing happens to."""
    rules = {
        (alert.name, tuple(alert.labels.get(key, "") for key in ("scope", "long", "rules")))
        for alert in ALERTS
        if alert.severity is not Severity.NONE
    }
    assert {
        (fault.alert, tuple(fault.labels.get(key, "") for key in ("scope", "long", "rules"))) for fault in FAULTS
    } == rules


@pytest.mark.parametrize("name", CALLED)
def test_events_are_called_through_lost_scrapes(name: str, promtool: str, tmp_path: Path):
    """Most of a few random events are called in time, though scrapes are lost while the rule waits."""
    (outcome,) = call_faults([fault_of(name)], num_events=5, seed=1, promtool=promtool, directory=tmp_path)
    assert outcome.num_events == 5
    assert len(outcome.delays_seconds) >= 4
    assert outcome.num_early == 0


def test_an_event_that_no_rule_calls_is_missed(promtool: str, tmp_path: Path):
    """Events of one kind do not count as called when another alert's rule is asked."""
    other = replace(fault_of("ForecastStale"), draw=fault_of("InferenceFlagsLagging").draw)
    (outcome,) = call_faults([other], num_events=3, seed=0, promtool=promtool, directory=tmp_path)
    assert (outcome.num_missed, outcome.delays_seconds) == (3, ())


def test_what_is_called_too_late_counts_as_late(promtool: str, tmp_path: Path):
    """An alert after its time does not count as called."""
    hasty = replace(fault_of("ForecastStale"), within_seconds=60.0)
    (outcome,) = call_faults([hasty], num_events=3, seed=0, promtool=promtool, directory=tmp_path)
    assert (outcome.num_late, outcome.delays_seconds) == (3, ())


def test_a_series_that_ends_is_marked_stale():
    """A gap begins with the mark that a failed scrape leaves, so that Prometheus does not go on with the old value."""
    gone = np.nan
    assert notation(np.array([1.0, 1.0, gone, gone, gone, 2.0])) == "1x1 stale _x2 2"
    assert notation(np.array([gone, gone, 3.0, gone])) == "_x2 3 stale"
