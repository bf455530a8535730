"""The timeline of decisions stays readable."""

from __future__ import annotations

from datetime import timedelta

from controller.reporting.decision_list import (
    MAX_VISIBLE_ROWS,
    decision_rows,
    decision_section,
    split_rows,
)
from controller.simulator.record import DecisionMark
from tests.reporting_samples import START


def mark(minute: float, *, kind: str = "nodes", region: str = "us-east", title: str = "More nodes") -> DecisionMark:
    """Return a decision at a minute of the run."""
    at = START + timedelta(minutes=minute)
    return DecisionMark(
        at=at, decision_id=f"d-{minute}", kind=kind, region=region, rung=2, title=title, reason="Because."
    )


def test_equal_actions_close_together_are_one_row() -> None:
    """The same action again within half an hour is counted, not repeated; a different region is its own row."""
    rows = decision_rows([mark(0), mark(10), mark(5, region="eu-west"), mark(35)])
    assert [(row.mark.region, row.num_marks) for row in rows] == [("us-east", 3), ("eu-west", 1)]
    assert rows[0].last_at == START + timedelta(minutes=35)


def test_equal_actions_far_apart_are_two_rows() -> None:
    """After more than half an hour the same action is news again."""
    assert len(decision_rows([mark(0), mark(31)])) == 2


def test_what_users_feel_stays_visible() -> None:
    """Among many node changes the limits and restores are never folded away, and order of time is kept."""
    marks = [mark(40 * index) for index in range(200)]
    marks += [mark(7900 + index, kind="limit", title=f"Limit {index}") for index in range(10)]
    visible, folded = split_rows(decision_rows(marks))
    assert len(visible) == MAX_VISIBLE_ROWS
    assert sum(row.mark.kind == "limit" for row in visible) == 10
    assert [row.mark.at for row in visible] == sorted(row.mark.at for row in visible)
    assert len(visible) + len(folded) == 210


def test_a_run_without_decisions_says_so() -> None:
    """No decision is a sentence, not an empty list."""
    assert "took no action" in decision_section([])


def test_an_endless_list_is_bounded_and_says_so() -> None:
    """Ten thousand decisions make a page of bounded size that points to the document."""
    page = decision_section([mark(index, title=f"Step {index}") for index in range(10_000)])
    assert page.count("<li") == 1500
    assert "the JSON document has all" in page
