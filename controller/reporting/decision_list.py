"""The timeline of decisions: what was done when, where and why, with the id to ask further. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.reporting.markup import Html, joined, tag
from controller.reporting.wording import clock_text, rung_name, short_name, stamp_text
from controller.simulator.record import DecisionMark

MAX_VISIBLE_ROWS = 40
"""Rows that are open at once; the others are folded away below."""
MAX_ROWS = 1500
"""Rows in the page at all; the JSON document has all decisions."""
_MERGE_SECONDS = 1800.0
"""Equal actions in the same region closer than this to the one before are one row."""
_KIND_WORDS = {"rung": "ladder", "limit": "limit", "restore": "restore", "nodes": "nodes"}
_FIRST_KINDS = ("rung", "limit", "restore")
"""Kinds that users feel; they stay visible before changes of nodes do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One row: the first of a group of equal actions, the time of the last, and how many there were."""

    mark: DecisionMark
    last_at: datetime
    num_marks: int


def decision_rows(decisions: Sequence[DecisionMark]) -> tuple[DecisionRow, ...]:
    """Group equal actions of one region that follow one another, in the order of their times."""
    rows: list[DecisionRow] = []
    newest: dict[tuple[str, str], int] = {}
    for mark in sorted(decisions, key=lambda each: each.at):
        key = (mark.region, mark.kind)
        index = newest.get(key)
        if index is not None and _continues(rows[index], mark):
            row = rows[index]
            rows[index] = DecisionRow(mark=row.mark, last_at=mark.at, num_marks=row.num_marks + 1)
            continue
        newest[key] = len(rows)
        rows.append(DecisionRow(mark=mark, last_at=mark.at, num_marks=1))
    return tuple(rows)


def _continues(row: DecisionRow, mark: DecisionMark) -> bool:
    """Whether a mark says the same again soon after."""
    same = row.mark.title == mark.title and row.mark.rung == mark.rung
    return same and (mark.at - row.last_at).total_seconds() <= _MERGE_SECONDS


def split_rows(rows: Sequence[DecisionRow]) -> tuple[tuple[DecisionRow, ...], tuple[DecisionRow, ...]]:
    """Split into the visible rows and the folded ones, both in order of time.

    When there are too many, limits, restores and rungs stay visible before changes of nodes, earlier before later.
    """
    ranked = sorted(range(len(rows)), key=lambda index: (rows[index].mark.kind not in _FIRST_KINDS, index))
    visible = set(ranked[:MAX_VISIBLE_ROWS])
    first = tuple(row for index, row in enumerate(rows) if index in visible)
    rest = tuple(row for index, row in enumerate(rows) if index not in visible)
    return first, rest


def decision_section(decisions: Sequence[DecisionMark]) -> Html:
    """Return the timeline; says so when nothing was decided."""
    rows = decision_rows(decisions)
    if not rows:
        return tag("p", {"class": "sub"}, "This policy took no action.")
    visible, folded = split_rows(rows)
    parts = [_list(visible)]
    if folded:
        shown = folded[: MAX_ROWS - len(visible)]
        note = f"{len(folded)} further decisions"
        if len(shown) < len(folded):
            note += f", of which the first {len(shown)} are listed; the JSON document has all"
        parts.append(tag("details", {"class": "more"}, tag("summary", None, note), _list(shown)))
    return joined(parts)


def _list(rows: Sequence[DecisionRow]) -> Html:
    return tag("ol", {"class": "decisions"}, *[_item(row) for row in rows])


def _item(row: DecisionRow) -> Html:
    """Return one decision: time, place and rung, title, reason, id."""
    mark = row.mark
    shade = min(max(mark.rung, 0), 7)
    chip = tag("span", {"class": f"chip rung-chip-{shade}", "title": rung_name(mark.rung)}, f"rung {mark.rung}")
    again = tag("span", {"class": "again"}, f" {row.num_marks} times, last {clock_text(row.last_at)}")
    return tag(
        "li",
        {"class": f"decision kind-{mark.kind if mark.kind in _KIND_WORDS else 'other'}"},
        tag("time", {"datetime": mark.at.isoformat()}, stamp_text(mark.at)),
        tag("span", {"class": "where"}, chip, tag("span", {"class": "region"}, short_name(mark.region))),
        tag(
            "div",
            {"class": "what"},
            tag("strong", None, mark.title),
            again if row.num_marks > 1 else None,
            tag("p", None, mark.reason.removeprefix(f"{mark.region}: ")),
        ),
        tag("code", {"class": "decision-id", "title": "decision id"}, mark.decision_id),
    )
