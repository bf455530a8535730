"""Says in plain words what happened, from the figures alone. Pure; called by the page.

Every sentence is chosen by cases of the figures, so that the page never claims success that the run does not show.
"""

from __future__ import annotations

from functools import partial

from controller.reporting.markup import Html, joined, tag
from controller.reporting.quantities import figure, quantity, request_share, shown
from controller.reporting.selection import Selection
from controller.reporting.wording import capitalised, celsius_text, duration_text, number_text, with_policy
from controller.simulator.record import RunRecord


def headline(selection: Selection, slowdown_celsius: float) -> Html:
    """Return the page's first sentence: how hot it got without and with the featured policy."""
    featured, reference = selection.featured, selection.reference
    if reference is None:
        return joined([capitalised(with_policy(featured.policy)), " ", _heat_clause(featured, slowdown_celsius), "."])
    harmed, saved = _reached(reference, slowdown_celsius), not _reached(featured, slowdown_celsius)
    link = "; " if harmed == saved else ", and "
    return joined(
        [
            capitalised(with_policy(reference.policy)),
            " ",
            _heat_clause(reference, slowdown_celsius),
            link,
            with_policy(featured.policy),
            " ",
            _heat_clause(featured, slowdown_celsius, again=True),
            ".",
        ]
    )


def _heat_clause(run: RunRecord, slowdown_celsius: float, *, again: bool = False) -> Html:
    """Return "the hottest GPU reached … and slowed down for …", by case.

    The cases: unknown temperature; below the line and never slowed; below the line but slowed all the same (a guard
    or another limit); at or above the line and slowed; above it without lost time.
    """
    subject = "it " if again else "the hottest GPU "
    hottest = figure(run, "max_temperature_celsius", partial(celsius_text, against=slowdown_celsius))
    slowed = figure(run, "throttled_gpu_seconds", duration_text)
    if hottest.text == "–":
        return joined([subject, "has no recorded temperature"])
    if _reached(run, slowdown_celsius):
        lost = (
            ["and ", shown(slowed), " of GPU time ran slowed down"]
            if slowed.value
            else ["without time lost to slowdown"]
        )
        off = figure(run, "gpus_shut_down", number_text)
        ended = [", ", shown(off), " GPUs switched off"] if off.value else []
        return joined([subject, "reached ", shown(hottest), " ", *lost, *ended])
    if slowed.value:
        return joined([subject, "peaked at ", shown(hottest), ", yet ", shown(slowed), " of GPU time ran slowed down"])
    return joined([subject, "peaked at ", shown(hottest), " and no GPU was slowed down"])


def _reached(run: RunRecord, slowdown_celsius: float) -> bool:
    """Whether the run's hottest GPU reached the slowdown line."""
    return run.figures.max_temperature_celsius >= slowdown_celsius


def price_sentence(selection: Selection) -> Html:
    """Return what it cost the users and when it began: the other half of the truth."""
    featured, reference = selection.featured, selection.reference
    parts: list[str | None] = [capitalised(with_policy(featured.policy)), ", "]
    parts += [shown(request_share(featured, "served")), " of all requests were served"]
    if reference is not None:
        parts += [" (", with_policy(reference.policy), ": ", shown(request_share(reference, "served")), ")"]
    parts += ["; ", *_limited_clause(featured), ". ", _lead_sentence(featured)]
    return joined(parts)


def _limited_clause(run: RunRecord) -> list[str | None]:
    """Return who was limited, tier by tier, or that nobody was."""
    limited = [tier for tier, figures in run.figures.tiers.items() if figures.requests.limited > 0.0]
    if not limited:
        return ["nobody was limited"]
    clauses: list[str | None] = ["limits refused "]
    for index, tier in enumerate(limited[:4]):
        clauses += [", " if index else None, shown(request_share(run, "limited", tier)), f" of {tier}"]
    if len(limited) > 4:
        clauses.append(" and further tiers")
    return [*clauses, " requests, each with a reason"]


def _lead_sentence(run: RunRecord) -> Html:
    """Return when the first action came; empty where there was none or nothing to be ahead of."""
    lead = figure(run, "first_action_lead_seconds", duration_text)
    if lead.value is None or lead.text == "–":
        return Html("")
    when = "before" if lead.value >= 0.0 else "after"
    early = figure(run, "first_action_lead_seconds", lambda seconds: duration_text(abs(seconds)))
    actions = figure(run, "actions", number_text)
    return joined(
        [
            "Its first of ",
            shown(actions),
            " actions came ",
            shown(early),
            " ",
            when,
            " the fleet without control reached its slowdown line.",
        ]
    )


def line_sentence(slowdown_celsius: float) -> Html:
    """Return what the slowdown line is."""
    line = quantity(slowdown_celsius, celsius_text, "slowdown_celsius")
    return joined(["The hardware slows a GPU down at ", shown(line), "."])


def tier_caption(run: RunRecord, tier: str) -> Html:
    """Return one line of shares for a strip of the request panel."""
    if tier not in run.figures.tiers:
        return Html("")
    parts: list[str | None] = []
    for outcome in ("served", "limited", "dropped", "abandoned"):
        share = request_share(run, outcome, tier)
        if share.value or outcome == "served":
            text = joined([f"{outcome} ", shown(share)])
            parts.append(tag("span", {"class": f"key {outcome}"}, text))
    return joined(parts)
