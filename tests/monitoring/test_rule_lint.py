"""The lint of rules finds each kind of mistake, and nothing in the shipped rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tools.monitoring.catalogue import ALERTS, GROUPS, RECORDINGS
from tools.monitoring.labels import LabelReader
from tools.monitoring.lint import lint_expr, lint_groups
from tools.monitoring.model import Alert, Board, Component, Group, Recording, Severity
from tools.monitoring.promql import PromqlError, selectors

READER = LabelReader(RECORDINGS)
GOOD = next(alert for alert in ALERTS if alert.name == "GPUThermalMarginLow")


def checks(expr: str) -> set[str]:
    """Return the names of the checks that an expression fails."""
    return {check for check, _ in lint_expr(expr, READER)}


def of_alert(**changes: object) -> set[str]:
    """Return the names of the checks that a good alert fails after some changes."""
    group = Group(name="g", file="f", interval="15s", rules=(*RECORDINGS, replace(GOOD, **changes)))
    return {finding.check for finding in lint_groups((group,))}


def test_the_shipped_rules_are_clean():
    """No check finds anything in the catalogue."""
    assert lint_groups(GROUPS) == ()


@pytest.mark.parametrize(
    ("expr", "check"),
    [
        ("meltguard_no_such_metric > 1", "promql/series"),
        ('meltguard_gpu_up{reasn="lost"} == 0', "promql/series"),
        ("gpu:no_such_record:min < 5", "promql/series"),
        ("rate(meltguard_gpu_throttled_seconds_total[30s]) > 0", "promql/rate"),
        ("rate(meltguard_gpu_temperature_celsius[5m]) > 0", "promql/counter"),
        ("meltguard_gpu_energy_joules_total > 5", "promql/counter"),
        ("sum(meltguard_inference_time_to_first_token_seconds_bucket) > 5", "promql/counter"),
        ("sum without (gpu) (meltguard_gpu_power_watts) > 5", "promql/fragile"),
        ("max by (zone) (meltguard_gpu_power_watts) > 5", "promql/aggregate"),
        ("meltguard_gpu_power_watts / (meltguard_controller_rung > 0) > 1", "promql/vector_matching"),
        ("meltguard_gpu_power_watts > on (tier) meltguard_controller_rung", "promql/vector_matching"),
        ("meltguard_gpu_power_watts > on (region) meltguard_controller_rung", "promql/vector_matching"),
        ("sum(meltguard_gpu_power_watts) / sum(meltguard_gpu_power_limit_watts) > 0.9", "promql/nan"),
        ("absent(sum(up))", "alerts/absent"),
        ("absent(up)", "alerts/absent"),
    ],
)
def test_a_mistake_in_an_expression_is_found(expr, check):
    """Each kind of mistake in PromQL is found by its own check."""
    assert check in checks(expr)


@pytest.mark.parametrize(
    "expr",
    [
        "max by (region, pool) (meltguard_gpu_power_watts) > 5",
        "meltguard_gpu_power_watts > on (uuid) group_left () max by (uuid) (meltguard_gpu_power_limit_watts)",
        'sum by (region) (rate(meltguard_controller_actions_total{result="done"}[5m])) > 0',
        "meltguard_gpu_power_watts > 5 unless on (region) meltguard_controller_rung > 1",
        'absent(up{job="x"})',
        "changes(meltguard_controller_rung[1h]) > 4",
        "sum(up) / count(up) < 0.5",
    ],
)
def test_good_expressions_pass(expr):
    """What is written well is not complained about."""
    assert checks(expr) == set()


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"expr": "gpu:meltguard_gpu_thermal_margin_celsius:min"}, "alerts/comparison"),
        ({"expr": "gpu:meltguard_gpu_thermal_margin_celsius:min < bool 5"}, "alerts/comparison"),
        ({"expr": "gpu:meltguard_gpu_thermal_margin_celsius:min < 5 or vector(1)"}, "alerts/comparison"),
        ({"expr": "topk(3, gpu:meltguard_gpu_thermal_margin_celsius:min) < 5"}, "promql/fragile"),
        ({"expr": 'absent(up{job="x"})', "hold": ""}, "alerts/absent"),
        ({"hold": "5m", "expr": "meltguard_gpu_power_watts > 700"}, "alerts/lost_scrape"),
        ({"hold": "5m"}, "alerts/lost_scrape"),
        ({"summary": "GPU {{ $labels.gpus }}"}, "alerts/template"),
        ({"summary": "", "expr": "max by (pool) (meltguard_gpu_power_watts) > 1"}, "alerts/template"),
        ({"labels": {"heat": "{{ $value }}"}}, "alerts/template"),
        ({"controller": "{{ with query `max(meltguard_controller_rungs)` }}{{ end }}"}, "promql/series"),
    ],
)
def test_a_mistake_in_an_alert_is_found(changes, check):
    """Each kind of mistake of an alert is found by its own check."""
    if changes.get("summary") == "":
        changes = {**changes, "summary": "GPU {{ $labels.gpu }}"}
    assert check in of_alert(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"hold": "5m", "expr": "last_over_time(meltguard_gpu_power_watts[1m]) > 700"},
        {"hold": "2m", "expr": "meltguard_gpu_power_watts > 700"},
        {"hold": "5m", "expr": "last_over_time(meltguard_gpu_up[1m]) == 0 unless on (uuid) meltguard_gpu_mig_enabled"},
    ],
)
def test_a_hold_that_outlasts_lost_scrapes_passes(changes):
    """A short hold, a range, and what only excuses an alert need no bridge over a lost scrape."""
    assert "alerts/lost_scrape" not in of_alert(**changes)


def test_series_that_are_recorded_twice_and_slow_groups_are_found():
    """The same series from two rules, and a group that is slower than series stay fresh, are mistakes."""
    rule = Recording(record="a:b:c", expr="vector(1)")
    found = lint_groups((Group(name="slow", file="f", interval="6m", rules=(rule, rule)),))
    assert {finding.check for finding in found} == {"group/interval", "rule/duplicate"}


def test_a_label_that_an_aggregation_drops_is_not_there():
    """Labels are followed through recording rules, aggregations, joins and label_replace."""
    assert READER.series["pool:meltguard_gpu_thermal_margin_celsius:min"] == {"cluster", "region", "pool"}
    assert "rung" in READER.series["region:meltguard_controller_rung_crossings:changes1h"]
    assert "kind" in READER.series["kind:meltguard_controller_actions_failed:ratio_rate10m"]
    assert "uuid" in READER.series["gpu:meltguard_gpu_thermal_margin_celsius:min"]


def test_selectors_know_their_range_function_and_labels():
    """A selector says over which range, by which function and with which fixed labels it is used."""
    (found,) = selectors('sum(rate(up{job="x", instance=~"y.*"}[5m] offset 1h))')
    assert (found.metric, found.range_seconds, found.function) == ("up", 300.0, "rate")
    assert found.labels == {"job"}


def test_what_is_no_promql_is_refused_by_name():
    """An expression that cannot be read is named in the error."""
    with pytest.raises(PromqlError, match="sum by"):
        selectors("sum by (")


def test_every_alert_of_the_catalogue_is_an_alert():
    """The helper of these tests starts from an alert that is itself clean."""
    assert of_alert() == set()
    assert isinstance(GOOD, Alert)
    assert GOOD.severity is Severity.WARNING
    assert (GOOD.component, GOOD.board) == (Component.HARDWARE, Board.THERMAL)
