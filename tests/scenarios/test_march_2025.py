"""The built-in surge: without meltguard the fleet passes its slowdown temperature, with it it does not."""

from __future__ import annotations

import pytest

from controller.reporting.document import run_set_document
from controller.reporting.html_report import render_report
from controller.simulator.builtin import load_builtin
from controller.simulator.closed_loop import run_set
from controller.simulator.record import RunRecord, RunSet
from controller.simulator.scenario import FactKind, Scenario


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The scenario of the demo."""
    return load_builtin("march-2025")


@pytest.fixture(scope="module")
def results(scenario: Scenario) -> RunSet:
    """The demo's runs, without the reactive policy that no rule here is about."""
    return run_set(scenario, policies=("none", "meltguard"), seeds=(0,))


def run_of(results: RunSet, policy: str) -> RunRecord:
    """Return the run of one policy."""
    return next(run for run in results.runs if run.policy == policy)


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_unmitigated_the_fleet_passes_slowdown(results: RunSet) -> None:
    """Without a controller the hottest GPU reaches the slowdown temperature and GPUs are slowed down."""
    figures = run_of(results, "none").figures
    assert figures.max_temperature_celsius >= results.slowdown_celsius
    assert figures.throttled_gpu_seconds > 0.0


def test_with_meltguard_no_gpu_reaches_slowdown(results: RunSet) -> None:
    """With meltguard no GPU reaches the slowdown temperature at any step."""
    figures = run_of(results, "meltguard").figures
    assert figures.max_temperature_celsius < results.slowdown_celsius
    assert figures.throttled_gpu_seconds == 0.0
    assert figures.gpus_shut_down == 0


def test_it_acts_ahead_of_time(results: RunSet) -> None:
    """The first action comes before the moment at which the unmitigated fleet would slow down."""
    lead_seconds = run_of(results, "meltguard").figures.first_action_lead_seconds
    assert lead_seconds is not None
    assert lead_seconds > 0.0


def test_paid_users_are_never_limited(results: RunSet) -> None:
    """No request of the protected tier is refused by a limit or for a full queue."""
    paid = run_of(results, "meltguard").figures.tiers["paid"].requests
    assert paid.limited == 0.0
    assert paid.dropped == 0.0


def test_everything_is_given_back(results: RunSet) -> None:
    """At the end of the surge every region is back below the rungs that touch users."""
    run = run_of(results, "meltguard")
    assert {region.rung[-1] for region in run.regions.values()} <= {0, 1, 2}
    assert max(max(region.rung) for region in run.regions.values()) >= 4


def test_every_decision_has_a_reason(results: RunSet) -> None:
    """Each line of the timeline carries its decision's id and a reason; what touches users or cost has numbers."""
    decisions = run_of(results, "meltguard").decisions
    assert decisions
    for mark in decisions:
        assert mark.decision_id
        assert mark.reason
        assert mark.kind == "rung" or any(letter.isdigit() for letter in mark.reason)


def test_report_and_json_agree(results: RunSet, scenario: Scenario) -> None:
    """The hottest temperatures that the report's headline names are those of the JSON document."""
    page = render_report(results, scenario)
    document = run_set_document(results).decode()
    for policy in ("none", "meltguard"):
        hottest = run_of(results, policy).figures.max_temperature_celsius
        assert f"{hottest:.1f}" in page
        assert f'"max_temperature_celsius":{hottest}' in document.replace(": ", ":")


def test_the_scenario_says_where_its_numbers_come_from(scenario: Scenario) -> None:
    """Published and assumed numbers are both there, and each names its source."""
    kinds = {fact.kind for fact in scenario.facts}
    assert {FactKind.PUBLISHED, FactKind.ASSUMED} <= kinds
    assert all(fact.source.strip() for fact in scenario.facts)
