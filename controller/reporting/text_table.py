"""The figures of a run set as plain text, policies side by side, for ``--output text``. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controller.reporting.figure_rows import FigureRow, figure_rows
from controller.reporting.wording import celsius_text, policy_name, terminal_text
from controller.simulator.record import RunRecord, RunSet

MAX_SEED_TABLES = 5
"""Seeds that are printed; the JSON document has all."""
MAX_POLICIES = 8
_GAP = "  "
_BRIEF_LABELS = frozenset({
    "Hottest GPU", "GPU time slowed down", "GPUs switched off by heat", "served", "limited", "dropped",
    "wait, 95 of 100 below", "GPU hours", "Actions", "First action before slowdown",
})  # fmt: skip
"""Rows of the short table, besides the cost, whose label carries the currency."""


def summary_table(run_set: RunSet, *, brief: bool = True) -> str:
    """Return the figures as text, one table a seed, ending with a newline.

    Args:
        run_set: All runs.
        brief: Whether to leave out all but the rows that matter most.

    Returns:
        The text, at most ``MAX_SEED_TABLES`` tables; says how many seeds are left out.
    """
    seeds = list(dict.fromkeys(run.seed for run in run_set.runs))
    tables = [_seed_table(run_set, seed, brief) for seed in seeds[:MAX_SEED_TABLES]]
    if len(seeds) > MAX_SEED_TABLES:
        tables.append(f"{len(seeds) - MAX_SEED_TABLES} more seeds: see --output json\n")
    return "\n".join(tables) if tables else "no runs\n"


def _seed_table(run_set: RunSet, seed: int, brief: bool) -> str:
    """Return the table of one seed."""
    runs = [run for run in run_set.runs if run.seed == seed][:MAX_POLICIES]
    rows = figure_rows(runs, slowdown_celsius=run_set.slowdown_celsius, currency=run_set.currency)
    shown = [row for row in rows if not brief or row.label in _BRIEF_LABELS or row.label.startswith("Cost")]
    title = terminal_text(run_set.title or run_set.scenario)
    heading = f"{title}, seed {seed}; GPUs slow down at {celsius_text(run_set.slowdown_celsius)}"
    return "\n".join([heading, "", *_lines(runs, shown)]) + "\n"


def _lines(runs: Sequence[RunRecord], rows: Sequence[FigureRow]) -> list[str]:
    """Return the aligned lines: labels to the left, values to the right under their policy."""
    heads = [terminal_text(policy_name(run.policy)) for run in runs]
    cells = [_cells(row) for row in rows]
    labels = [f"  {terminal_text(row.label)}" for row in rows]
    groups = [terminal_text(row.group) for row in rows]
    label_width = max(map(len, [*labels, *groups]), default=0)
    widths = [max([len(head), *(len(row[column]) for row in cells)]) for column, head in enumerate(heads)]
    lines = [_line("", heads, label_width, widths)]
    group = ""
    for row, label, texts in zip(groups, labels, cells, strict=True):
        if row != group:
            group = row
            lines.append(group)
        lines.append(_line(label, texts, label_width, widths))
    return lines


def _cells(row: FigureRow) -> list[str]:
    """Return the values as text, each with its share where it has one."""
    if not row.shares:
        return [number.text for number in row.quantities]
    pairs = zip(row.quantities, row.shares, strict=True)
    return [f"{number.text} ({share.text})" for number, share in pairs]


def _line(label: str, cells: Sequence[str], label_width: int, widths: Sequence[int]) -> str:
    """Return one line without trailing spaces."""
    parts = [label.ljust(label_width), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]
    return _GAP.join(parts).rstrip()
