"""The catalogue of rules and what is written from it."""

from __future__ import annotations

import subprocess

import pytest

from exporters.metric_names import INFERENCE_TIME_TO_FIRST_TOKEN
from inference.serving.buckets import BOUNDS
from tools.checks.repository import ROOT
from tools.monitoring.catalogue import ALERTS, GROUPS
from tools.monitoring.files import FOLDER, generated_files
from tools.monitoring.model import duration_seconds
from tools.monitoring.slo import AVAILABILITY, BURN_WINDOWS, TIME_TO_FIRST_TOKEN, Objective, detection_seconds

GENERATED = generated_files()


@pytest.mark.parametrize("name", GENERATED)
def test_what_stands_in_the_repository_is_what_the_catalogue_writes(name):
    """A generated file is the one that the catalogue writes today."""
    written = (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).exists() else ""
    assert written == GENERATED[name], "it has drifted: run `python -m tools.monitoring`"


def test_promtool_finds_nothing_to_say(each_promtool):
    """Prometheus accepts every rule file with all of its lints fatal."""
    files = sorted(str(path) for path in (ROOT / FOLDER / "rules").glob("*.yaml"))
    command = [each_promtool, "check", "rules", "--lint=all", "--lint-fatal", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(files) == len({group.file for group in GROUPS})


def test_group_names_are_unique():
    """Two groups never share a name, in whatever file they stand."""
    names = [group.name for group in GROUPS]
    assert len(names) == len(set(names))


def test_rules_of_one_name_can_be_told_apart():
    """Two rules of one alert differ in their static labels, or one would hide the other."""
    keys = [(alert.name, alert.severity, *sorted(alert.labels.items())) for alert in ALERTS]
    assert len(keys) == len(set(keys))


def test_a_dead_exporter_does_not_resolve_its_alerts_before_it_is_called_dead():
    """What an exporter reports of its hardware is kept for longer than GPUExporterDown takes to fire."""
    down = next(alert for alert in ALERTS if alert.name == "GPUExporterDown" and alert.labels["scope"] == "target")
    for alert in ALERTS:
        if alert.component.value == "gpu-hardware":
            assert duration_seconds(alert.keep) > duration_seconds(down.hold), alert.name


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("3d", 259200)])
def test_durations_are_read_as_prometheus_reads_them(text, seconds):
    """A duration is a sum of whole seconds, minutes, hours and days."""
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5x", "1.5h"])
def test_what_is_no_duration_is_refused(text):
    """A text that is no duration stops the writer."""
    with pytest.raises(ValueError, match="no duration"):
        duration_seconds(text)


def test_an_objective_that_could_never_page_is_refused():
    """A promise of 93 % is refused, because 14.4 times its budget is more than everything."""
    fields = {name: getattr(TIME_TO_FIRST_TOKEN, name) for name in Objective.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"promise more than 93\.1 %"):
        Objective(**{**fields, "objective": 0.93})
    assert Objective(**{**fields, "objective": 0.932}).budget == pytest.approx(0.068)


@pytest.mark.parametrize(("objective", "minutes"), [(TIME_TO_FIRST_TOKEN, 10.64), (AVAILABILITY, 10.64)])
def test_a_total_outage_pages_within_eleven_minutes(objective, minutes):
    """At 99 % a total outage takes 14.4 % of an hour and the hold of two minutes to page."""
    assert detection_seconds(objective, BURN_WINDOWS[0], error_ratio=1.0) == pytest.approx(60 * minutes)
    assert detection_seconds(objective, BURN_WINDOWS[0], error_ratio=0.14) is None


def test_the_promise_of_the_first_token_stands_on_an_edge_of_its_buckets():
    """The pod's histogram has a bucket that ends where the promise does, spelled as the rules spell it."""
    edges = {repr(float(edge)) for edge in BOUNDS[INFERENCE_TIME_TO_FIRST_TOKEN]}
    assert "2.5" in edges
    assert 'le="2.5"' in TIME_TO_FIRST_TOKEN.bad.format(window="5m")
