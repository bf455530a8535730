"""The sentences claim only what the figures show."""

from __future__ import annotations

import re

import msgspec
import pytest

from controller.errors import UsageError
from controller.reporting.html_report import render_report
from controller.reporting.selection import select_runs
from controller.reporting.story import headline, price_sentence
from controller.simulator.record import Figures, RunSet
from tests.reporting_samples import sample_run_set, sample_scenario


def with_figures(run_set: RunSet, policy: str, **changes: float | None) -> RunSet:
    """Return the run set with other figures for one policy."""
    runs = []
    for run in run_set.runs:
        figures: Figures = msgspec.structs.replace(run.figures, **changes) if run.policy == policy else run.figures
        runs.append(msgspec.structs.replace(run, figures=figures))
    return msgspec.structs.replace(run_set, runs=tuple(runs))


def said(run_set: RunSet, *, featured: str = "meltguard", reference: str = "none") -> str:
    """Return the headline as plain text."""
    selection = select_runs(run_set, featured=featured, reference=reference)
    return re.sub(r"<[^>]+>", "", headline(selection, run_set.slowdown_celsius))


SMALL = sample_run_set(num_samples=40)


def test_success_is_said_when_it_is_one() -> None:
    """Over the line without, below it with: both temperatures and the lost time are in the headline."""
    run_set = with_figures(SMALL, "none", max_temperature_celsius=94.8, throttled_gpu_seconds=2460.0)
    run_set = with_figures(run_set, "meltguard", max_temperature_celsius=80.3, throttled_gpu_seconds=0.0)
    assert said(run_set) == (
        "Without meltguard the hottest GPU reached 94.8 °C and 41.0 min of GPU time ran slowed down; "
        "with meltguard it peaked at 80.3 °C and no GPU was slowed down."
    )


def test_failure_is_said_as_plainly() -> None:
    """With meltguard over the line the headline says reached and slowed down, never peaked."""
    run_set = with_figures(SMALL, "meltguard", max_temperature_celsius=88.0, throttled_gpu_seconds=60.0)
    assert "with meltguard it reached 88.0 °C and 60 s of GPU time ran slowed down" in said(run_set)


def test_a_guard_that_slowed_gpus_below_the_line_is_not_hidden() -> None:
    """Time lost below the slowdown line is said."""
    run_set = with_figures(SMALL, "meltguard", max_temperature_celsius=86.9, throttled_gpu_seconds=30.0)
    assert "peaked at 86.9 °C, yet 30 s of GPU time ran slowed down" in said(run_set)


def test_exactly_at_the_line_counts_as_reached() -> None:
    """The slowdown temperature itself is reached, not kept below."""
    run_set = with_figures(SMALL, "meltguard", max_temperature_celsius=87.0, throttled_gpu_seconds=0.0)
    assert "it reached 87.0 °C without time lost to slowdown" in said(run_set)


def test_a_late_first_action_is_said_to_be_late() -> None:
    """A negative lead reads as after, with its size."""
    run_set = with_figures(SMALL, "meltguard", first_action_lead_seconds=-240.0)
    words = re.sub(r"<[^>]+>", "", price_sentence(select_runs(run_set, featured="meltguard", reference="none")))
    assert "came 4.0 min after the fleet without control reached its slowdown line" in words


def test_a_page_without_reference_compares_with_nothing() -> None:
    """Where the reference did not run, the headline speaks of the featured policy alone."""
    only = sample_run_set(("meltguard",), num_samples=20)
    assert said(only).startswith("With meltguard the hottest GPU ")
    assert "without meltguard" not in said(only).lower()


def test_an_absent_featured_policy_is_not_claimed() -> None:
    """A replay of rivals alone features the first of them and never says with meltguard."""
    rivals = sample_run_set(("none", "reactive"), num_samples=20)
    assert "with the reactive policy" in said(rivals)
    assert "with meltguard" not in said(rivals)


def test_a_run_set_without_runs_is_refused() -> None:
    """An empty run set is a usage error that names the cure."""
    empty = msgspec.structs.replace(SMALL, runs=())
    with pytest.raises(UsageError, match="name at least one policy"):
        render_report(empty, sample_scenario())
