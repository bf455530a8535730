"""Every alert fires when it should, not a step earlier, and not on what only looks like it; run by promtool."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.alert_cases import STEP_SECONDS, Case
from tests.alert_cases_control import CASES
from tests.replayed_rules import files_of
from tools.checks.repository import ROOT
from tools.monitoring.catalogue import ALERT_NAMES, ALERTS, GROUPS
from tools.monitoring.files import FOLDER
from tools.monitoring.model import duration_seconds


def _expectations(case: Case) -> list[dict[str, Any]]:
    """Return the promtool expectations of a case: how many alerts fire, at which moments."""
    more = f",{case.where}" if case.where else ""
    expr = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"{more}}})'
    firing = [{"labels": "{}", "value": case.count}]
    if case.fires is None:
        ever = f'count_over_time(ALERTS{{alertname="{case.alert}",alertstate="firing"{more}}}[{case.until}])'
        return [{"expr": ever, "eval_time": case.until, "exp_samples": []}]
    at = duration_seconds(case.fires)
    found = [{"expr": expr, "eval_time": f"{at}s", "exp_samples": firing}]
    if at >= case.step:
        found.append({"expr": expr, "eval_time": f"{at - case.step}s", "exp_samples": []})
    if case.ends is not None:
        end = duration_seconds(case.ends)
        found.append({"expr": expr, "eval_time": f"{end - case.step}s", "exp_samples": firing})
        found.append({"expr": expr, "eval_time": f"{end}s", "exp_samples": []})
    return found


def _series(case: Case) -> dict[str, str]:
    """Return the series of a case; where it says nothing of leaders, there is one."""
    if (
        any(name.startswith("meltguard_controller_leader") for name in case.series)
        or case.alert == "ControllerNoLeader"
    ):
        return case.series
    leads = "1x600" if case.fires is None or case.step == STEP_SECONDS else "1x700"
    return {**case.series, 'meltguard_controller_leader{cluster="c"}': leads}


def _files(case: Case) -> tuple[str, ...]:
    return case.files or files_of(case.alert)


def _document(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the promtool document of cases that share their files and their step."""
    files, step = _files(cases[0]), cases[0].step
    return {
        "rule_files": [str(ROOT / FOLDER / "rules" / f"{file}.yaml") for file in files],
        "evaluation_interval": f"{step}s",
        "group_eval_order": [group.name for group in GROUPS if group.file in files],
        "tests": [
            {
                "name": f"{case.alert}: {case.why}",
                "interval": f"{step}s",
                "input_series": [{"series": series, "values": values} for series, values in _series(case).items()],
                "promql_expr_test": _expectations(case),
            }
            for case in cases
        ],
    }


def _complaint(promtool: str, cases: Sequence[Case], file: Path) -> str:
    """Return what promtool says of cases that do not hold; nothing if all do."""
    # Every JSON document is a YAML document.
    file.write_text(json.dumps(_document(cases)), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=200)
    return (done.stdout + done.stderr)[:3000] if done.returncode != 0 else ""


def _key(case: Case) -> tuple[int, tuple[str, ...]]:
    return (case.step, _files(case))


TOGETHER = {key: tuple(cases) for key, cases in itertools.groupby(sorted(CASES, key=_key), key=_key)}
"""The cases that one run of promtool can judge."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.why}")
def test_the_alert_says_what_the_series_say(case: Case, promtool: str, tmp_path: Path):
    """The alert fires at the stated step and not before, or stays silent throughout."""
    assert not _complaint(promtool, [case], tmp_path / "test.yaml")


@pytest.mark.parametrize("key", TOGETHER, ids=lambda key: f"{key[0]} s, {' '.join(key[1])}")
def test_prometheus_3_says_the_same(key: tuple[int, tuple[str, ...]], newer_promtool: str, tmp_path: Path):
    """A current Prometheus, whose ranges differ by a sample, fires and keeps silent in the same cases."""
    assert not _complaint(newer_promtool, TOGETHER[key], tmp_path / "test.yaml")


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_every_alert_has_a_case_that_fires_and_one_that_does_not(name):
    """No alert is shipped without a course that fires it and a look-alike; the Watchdog has none by design."""
    kinds = {case.fires is not None for case in CASES if case.alert == name}
    assert kinds == ({True} if name == "Watchdog" else {True, False})


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name} {alert.severity} {alert.labels}")
def test_every_rule_of_an_alert_has_a_case_that_fires_it(alert):
    """Where an alert has several rules, each of them is fired by a case of its own."""
    firing = [case for case in CASES if case.alert == alert.name and case.fires is not None]
    if alert.name == "MonitoringRulesMissing" or not alert.labels:
        assert firing
        return
    key, value = next(iter(alert.labels.items()))
    assert any(f'{key}="{value}"' in case.where for case in firing)
