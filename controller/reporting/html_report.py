"""Writes one run set as one self-contained HTML page.

``meltguard demo`` and ``meltguard replay --report`` call :func:`render_report` and write the text to a file. The page
loads nothing from anywhere, needs no script, and holds no number that is not in the run set or the scenario. This
module arranges the page; it draws and computes nothing itself.
"""

from __future__ import annotations

import shlex
from functools import partial

from controller.reporting.decision_list import decision_section
from controller.reporting.demand_panels import requests_strip, shown_tiers, signups_panel
from controller.reporting.fleet_panels import heat_panel, line_class, nodes_panel, rung_panel
from controller.reporting.hover import hover_assets
from controller.reporting.markup import Html, joined, tag
from controller.reporting.page_tables import (
    facts_section,
    figures_table,
    scenario_words,
    seeds_table,
    seeds_words,
)
from controller.reporting.quantities import Quantity, figure, quantity, request_share, shown
from controller.reporting.selection import Selection, select_runs
from controller.reporting.story import headline, line_sentence, price_sentence, tier_caption
from controller.reporting.stylesheet import STYLESHEET
from controller.reporting.wording import (
    capitalised,
    celsius_text,
    duration_text,
    number_text,
    policy_name,
    rung_name,
    short_name,
    with_policy,
)
from controller.simulator.record import RunRecord, RunSet
from controller.simulator.scenario import Scenario


def render_report(
    run_set: RunSet,
    scenario: Scenario,
    *,
    featured: str = "meltguard",
    reference: str = "none",
    command: str | None = None,
) -> str:
    """Return the report as the text of one HTML file.

    Args:
        run_set: All runs; the page shows the first seed of ``featured`` and lists the others.
        scenario: What was run; gives description, margins and the origin of the numbers.
        featured: Policy that the page is about; where it did not run, the first that did.
        reference: Policy that it is compared with; the page does without where it did not run.
        command: What a reader types to get the same file; None writes the replay command.

    Returns:
        The page; the same bytes for the same input.

    Raises:
        UsageError: If the run set has no run.
    """
    selection = select_runs(run_set, featured=featured, reference=reference)
    body = [
        _opening(run_set, selection),
        _tiles(run_set, selection),
        tag("main", None, *_panels(run_set, scenario, selection), *_appendix(run_set, scenario, selection, command)),
        tag("footer", None, f"{run_set.schema} · scenario {short_name(run_set.scenario)} · {seeds_words(run_set)}"),
        hover_assets(selection),
    ]
    head = tag(
        "head",
        None,
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "color-scheme", "content": "light dark"}),
        tag("title", None, f"meltguard: {scenario_words(run_set)}"),
        Html(f"<style>{STYLESHEET}</style>"),
    )
    return "<!DOCTYPE html>\n" + tag("html", {"lang": "en"}, head, tag("body", None, *body)) + "\n"


def _opening(run_set: RunSet, selection: Selection) -> Html:
    """Return what a reader takes in first: the headline and its price."""
    return tag(
        "header",
        {"class": "opening"},
        tag("p", {"class": "eyebrow"}, f"meltguard · {scenario_words(run_set)}"),
        tag("h1", {"id": "headline"}, headline(selection, run_set.slowdown_celsius)),
        tag(
            "p",
            {"class": "lead", "id": "price"},
            price_sentence(selection),
            " ",
            line_sentence(run_set.slowdown_celsius),
        ),
    )


def _tiles(run_set: RunSet, selection: Selection) -> Html:
    """Return the few figures that matter most, featured beside reference."""
    celsius = partial(celsius_text, against=run_set.slowdown_celsius)
    tiles = [
        _tile(
            selection, "Hottest GPU", [figure(run, "max_temperature_celsius", celsius) for run in selection.runs[:2]]
        ),
        _tile(
            selection,
            "GPU time slowed down",
            [figure(run, "throttled_gpu_seconds", duration_text) for run in selection.runs[:2]],
        ),
        _tile(selection, "Requests served", [request_share(run, "served") for run in selection.runs[:2]]),
        _tile(
            selection,
            f"Cost, {short_name(run_set.currency)}",
            [figure(run, "cost", number_text) for run in selection.runs[:2]],
        ),
    ]
    return tag("section", {"class": "tiles", "aria-label": "Key figures"}, *tiles)


def _tile(selection: Selection, label: str, numbers: list[Quantity]) -> Html:
    """Return one figure: the featured run large, the reference below."""
    words_of_featured = with_policy(selection.featured.policy)
    compared = None
    if selection.reference is not None:
        words = with_policy(selection.reference.policy)
        compared = tag("p", {"class": "compared"}, shown(numbers[1]), " ", tag("small", None, words))
    return tag(
        "div",
        {"class": "tile"},
        tag("p", {"class": "tile-label"}, label),
        tag("p", {"class": "tile-value"}, shown(numbers[0]), " ", tag("small", None, words_of_featured)),
        compared,
    )


def _panels(run_set: RunSet, scenario: Scenario, selection: Selection) -> list[Html]:
    """Return the aligned panels, in the order in which things happen."""
    signups = signups_panel(selection)
    margin = max(pool.margin_target_celsius for region in scenario.regions for pool in region.pools)
    heat = heat_panel(selection, slowdown_celsius=run_set.slowdown_celsius, margin_celsius=margin)
    featured = with_policy(selection.featured.policy)
    heat_words = "The hottest GPU of the whole fleet. Above the line the hardware slows itself down."
    return [
        _panel(
            "signups", "Sign-ups per hour, whole world", f"{signups.scale_words} {signups.fan_words}", signups.drawing
        ),
        _panel("heat", "Hottest GPU, °C", heat_words, heat, _legend(selection)),
        _panel(
            "rungs",
            f"Rung of each region, {featured}",
            "How hard each region is limited: 0 only observes, 2 buys nodes, from 4 on free users notice.",
            rung_panel(selection),
            _rung_legend(),
        ),
        _panel(
            "nodes",
            f"Nodes, {featured}",
            "Filled: nodes that serve. Pale above: ordered and on their way.",
            nodes_panel(selection),
            _legend(selection, num_runs=2),
        ),
        _requests_panel(selection),
    ]


def _panel(name: str, heading: str, words: str, drawing: Html, legend: Html | None = None) -> Html:
    """Return one section: heading, one line that says how to see it, drawing."""
    frame = tag("div", {"class": "frame"}, drawing)
    return tag(
        "section",
        {"class": "panel", "id": f"panel-{name}"},
        tag("h2", None, heading),
        tag("p", {"class": "sub"}, words),
        legend,
        frame,
    )


def _legend(selection: Selection, num_runs: int = 6) -> Html:
    """Return the names of the lines, for narrow screens, where lines carry no name at their ends."""
    items = [
        tag("li", {"class": f"legend-{line_class(selection, run)}"}, policy_name(run.policy))
        for run in selection.runs[:num_runs]
    ]
    return tag("ul", {"class": "legend lines"}, *items)


def _rung_legend() -> Html:
    """Return the ladder, mildest first."""
    items = [
        tag("li", None, tag("span", {"class": f"swatch rung-chip-{rung}"}, str(rung)), f" {rung_name(rung)}")
        for rung in range(8)
    ]
    return tag("ul", {"class": "legend ladder"}, *items)


def _requests_panel(selection: Selection) -> Html:
    """Return the request strips: each tier with the featured policy, then with the reference, on one scale."""
    strips: list[Html] = []
    runs: list[RunRecord] = [selection.featured, *([selection.reference] if selection.reference else [])]
    tiers = shown_tiers(selection)
    for number, tier in enumerate(tiers):
        for place, run in enumerate(runs):
            last = number == len(tiers) - 1 and place == len(runs) - 1
            title = tag("span", {"class": "strip-title"}, f"{capitalised(short_name(tier))}, {with_policy(run.policy)}")
            caption = tag("p", {"class": "strip-caption"}, title, tier_caption(run, tier))
            strip = requests_strip(selection, run, tier, 2 * number + place, shows_times=last)
            strips.append(tag("div", {"class": "strip" if place else "strip tier-start"}, caption, strip))
    words = (
        "Requests per second by tier; both strips of a tier share one scale. "
        "The line is what was offered, retries included."
    )
    return _panel("requests", "What became of the requests", words, joined(strips))


def _appendix(run_set: RunSet, scenario: Scenario, selection: Selection, command: str | None) -> list[Html]:
    """Return what a reader looks up: decisions, figures, origins, method."""
    figures = figures_table(selection.runs, slowdown_celsius=run_set.slowdown_celsius, currency=run_set.currency)
    return [
        _section("figures", "Figures per policy", figures, seeds_table(run_set)),
        _section(
            "decisions",
            f"What was decided, {with_policy(selection.featured.policy)}",
            decision_section(selection.featured.decisions),
        ),
        _section(
            "facts",
            "Where the numbers of the scenario come from",
            tag("p", {"class": "prose"}, scenario.description) if scenario.description else None,
            facts_section(scenario.facts),
        ),
        _section("reading", "How to read this page", *_reading(selection)),
        _section("again", "Get the same page", *_again(run_set, command)),
    ]


def _section(name: str, heading: str, *children: Html | None) -> Html:
    return tag("section", {"class": "text", "id": name}, tag("h2", None, heading), *children)


def _reading(selection: Selection) -> list[Html]:
    """Return the notes that keep a reader from wrong conclusions."""
    step = quantity(
        selection.featured.sample_seconds,
        duration_text,
        f"runs/{selection.featured.policy}@{selection.featured.seed}/sample_seconds",
    )
    notes: list[Html] = [
        joined(
            [
                "All panels share one time axis, in UTC. Each point covers ",
                shown(step),
                "; temperatures are the highest, rates the mean of that time.",
            ]
        ),
        joined(["Every policy met the same users, weather and hidden differences between GPUs: the same seed."]),
        joined(
            [
                "Everything here was simulated in virtual time. The forecaster and the planner are the ones that run "
                "in a cluster; the fleet and the users are models, whose numbers are listed above with their origin."
            ]
        ),
        joined(
            [
                "Offered requests are those served, limited (refused with a reason), dropped (the queue was full), "
                "abandoned (the user gave up) or still waiting at the end; the last two are the pale area "
                "below the line. Refused requests may come back as retries, so policies see different offered numbers."
            ]
        ),
        joined(
            [
                "Percentages are never rounded to nothing or to everything, and each number carries its unrounded "
                "value and its place in the JSON document."
            ]
        ),
    ]
    return [tag("ul", {"class": "prose"}, *[tag("li", None, note) for note in notes])]


def _again(run_set: RunSet, command: str | None) -> list[Html]:
    """Return the command and the seeds."""
    policies = ",".join(dict.fromkeys(run.policy for run in run_set.runs))
    seeds = sorted({run.seed for run in run_set.runs})
    many = ["--seeds", str(len(seeds))] if len(seeds) > 1 else []
    words = [
        "meltguard",
        "replay",
        f"{run_set.scenario}.yaml",
        "--policy",
        policies,
        "--seed",
        str(seeds[0]),
        *many,
        "--report",
        "report.html",
    ]
    line = command if command is not None else shlex.join(words)
    return [
        tag("p", {"class": "prose"}, f"Run with {seeds_words(run_set)}; the same seed gives the same bytes:"),
        tag("pre", None, tag("code", {"id": "command"}, line)),
    ]
