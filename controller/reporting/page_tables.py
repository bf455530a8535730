"""The tables of the page: figures per policy, all seeds, and where the scenario's numbers come from. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from controller.reporting.figure_rows import FigureRow, figure_rows
from controller.reporting.markup import Html, joined, tag
from controller.reporting.quantities import figure, request_share, shown
from controller.reporting.wording import celsius_text, duration_text, number_text, policy_name, short_name
from controller.simulator.record import RunRecord, RunSet
from controller.simulator.scenario import Fact, FactKind

MAX_POLICIES = 8
"""Columns of the table of figures; the JSON document has all."""
MAX_SEED_ROWS = 60
_WEB_ADDRESS = re.compile(r"https?://[A-Za-z0-9./_~%#?=&+,:@-]{3,300}")
_FACT_HEADINGS = {
    FactKind.PUBLISHED: ("Published", "Numbers that others have published, with their source."),
    FactKind.MEASURED: ("Measured", "Numbers from measurements, with their source."),
    FactKind.ASSUMED: ("Assumed", "Numbers that we chose, each for the reason given."),
}


def figures_table(runs: Sequence[RunRecord], *, slowdown_celsius: float, currency: str) -> Html:
    """Return the figures of the replay, policies side by side.

    Args:
        runs: The columns, at least one, all of one seed; those beyond ``MAX_POLICIES`` are left out.
        slowdown_celsius: The line that temperatures are compared with.
        currency: Unit of the cost.

    Returns:
        The table in a box that scrolls where the page is narrow.
    """
    columns = runs[:MAX_POLICIES]
    head = [tag("th", {"scope": "col"}, policy_name(run.policy)) for run in columns]
    body: list[Html] = []
    group = ""
    for row in figure_rows(columns, slowdown_celsius=slowdown_celsius, currency=currency):
        if row.group != group:
            group = row.group
            heading = tag("th", {"scope": "rowgroup", "colspan": len(columns) + 1}, group)
            body.append(tag("tr", {"class": "group"}, heading))
        body.append(_figure_line(row))
    caption = tag("caption", None, f"Seed {columns[0].seed}; every figure of the replay document.")
    table = tag(
        "table",
        {"class": "figures"},
        caption,
        tag("thead", None, tag("tr", None, tag("td"), *head)),
        tag("tbody", None, *body),
    )
    return tag("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": "Figures per policy"}, table)


def _figure_line(row: FigureRow) -> Html:
    """Return one row: label, then a value a run, with its share in small print."""
    shares = row.shares or (None,) * len(row.quantities)
    cells = [
        tag("td", None, shown(number), joined([" ", tag("small", None, shown(share))]) if share else None)
        for number, share in zip(row.quantities, shares, strict=True)
    ]
    return tag("tr", None, tag("th", {"scope": "row"}, row.label), *cells)


def seeds_table(run_set: RunSet) -> Html | None:
    """Return one row a policy and seed; None when the run set has one seed only."""
    if len({run.seed for run in run_set.runs}) < 2:
        return None
    heads = ("Policy", "Seed", "Hottest GPU", "GPU time slowed down", "Requests served", "GPU hours", "Actions")
    celsius = partial(celsius_text, against=run_set.slowdown_celsius)
    rows = [
        tag(
            "tr",
            None,
            tag("th", {"scope": "row"}, policy_name(run.policy)),
            tag("td", None, str(run.seed)),
            tag("td", None, shown(figure(run, "max_temperature_celsius", celsius))),
            tag("td", None, shown(figure(run, "throttled_gpu_seconds", duration_text))),
            tag("td", None, shown(request_share(run, "served"))),
            tag("td", None, shown(figure(run, "gpu_hours", partial(number_text, decimals=1)))),
            tag("td", None, shown(figure(run, "actions", number_text))),
        )
        for run in run_set.runs[:MAX_SEED_ROWS]
    ]
    more = len(run_set.runs) - len(rows)
    caption = tag("caption", None, "All seeds" + (f"; {more} more in the document." if more > 0 else "."))
    head = tag("thead", None, tag("tr", None, *[tag("th", {"scope": "col"}, text) for text in heads]))
    table = tag("table", {"class": "figures"}, caption, head, tag("tbody", None, *rows))
    return tag("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": "All seeds"}, table)


def facts_section(facts: Sequence[Fact]) -> Html:
    """Return the scenario's numbers by where they come from; says so when the file names none."""
    if not facts:
        return tag("p", {"class": "sub"}, "The scenario file does not say where its numbers come from.")
    groups: list[Html] = []
    for kind, (heading, words) in _FACT_HEADINGS.items():
        chosen = [fact for fact in facts if fact.kind is kind]
        if chosen:
            items = [
                tag(
                    "li",
                    None,
                    tag("span", {"class": "fact"}, fact.what),
                    tag("span", {"class": "source"}, _linked(fact.source)),
                )
                for fact in chosen
            ]
            groups.append(
                tag(
                    "div",
                    {"class": f"facts {kind.value}"},
                    tag("h3", None, heading),
                    tag("p", {"class": "sub"}, words),
                    tag("ul", None, *items),
                )
            )
    return joined(groups)


def _linked(text: str) -> Html:
    """Return the text with its web addresses as links; nothing else in it can become one."""
    parts: list[str] = []
    end = 0
    for match in _WEB_ADDRESS.finditer(text):
        address = match.group().rstrip(".,:")
        parts += [text[end : match.start()], tag("a", {"href": address, "rel": "noreferrer"}, address)]
        end = match.start() + len(address)
    return joined([*parts, text[end:]])


def seeds_words(run_set: RunSet) -> str:
    """Return the seeds of the run set in words."""
    seeds = sorted({run.seed for run in run_set.runs})
    listed = ", ".join(str(seed) for seed in seeds[:20]) + (" …" if len(seeds) > 20 else "")
    return f"seed {listed}" if len(seeds) == 1 else f"seeds {listed}"


def scenario_words(run_set: RunSet) -> str:
    """Return the scenario's title, or its name where it has none."""
    return short_name(run_set.title or run_set.scenario)
