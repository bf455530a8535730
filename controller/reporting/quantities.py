"""Numbers that know where they come from.

Every number in the report's prose and tables is a :class:`Quantity`: it carries the unrounded value and its place in
the JSON document, so that anyone (and a test) can compare page and document. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from controller.reporting.markup import Html, tag
from controller.reporting.wording import ABSENT, ratio_text
from controller.simulator.record import RunRecord, TierFigures

Value: TypeAlias = float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One number of the run set.

    Attributes:
        value: Unrounded; None when the run set has none.
        text: As people read it, with its unit.
        source: Where it stands in the JSON document: keys joined with ``/``, a run as ``policy@seed``; a ``*`` adds
            up all keys of its level, and ``A : B`` is the ratio of two such places.
    """

    value: Value
    text: str
    source: str


def quantity(value: Value, words: Callable[[float], str], source: str) -> Quantity:
    """Return a number put into words; absent and unusable ones become a dash.

    Args:
        value: Unrounded; None where the run set has none.
        words: Puts a finite value into words, with its unit.
        source: Its place in the JSON document, as :class:`Quantity` says.

    Returns:
        The number; one that is not finite keeps its value and is shown as absent.
    """
    usable = value is not None and math.isfinite(value)
    return Quantity(value=value, text=words(value) if usable and value is not None else ABSENT, source=source)


def shown(number: Quantity) -> Html:
    """Return the number as a ``data`` element with its unrounded value and its place."""
    value = number.value
    if value is None or not math.isfinite(value):
        return tag("span", {"class": "absent"}, number.text)
    return tag("data", {"value": repr(value), "data-source": number.source}, number.text)


def run_source(run: RunRecord, *keys: str) -> str:
    """Return the place of something in a run."""
    return "/".join(["runs", f"{run.policy}@{run.seed}", *keys])


def figure(run: RunRecord, name: str, words: Callable[[float], str]) -> Quantity:
    """Return one of the run's own figures.

    Args:
        run: The run.
        name: A field of the record's ``Figures``.
        words: Puts it into words, with its unit.

    Returns:
        The figure with its place in the document.
    """
    return quantity(getattr(run.figures, name), words, run_source(run, "figures", name))


def request_share(run: RunRecord, outcome: str, tier: str | None = None) -> Quantity:
    """Return the share of offered requests with one outcome, of one tier or of all.

    Args:
        run: The run.
        outcome: A field of the record's ``Requests``.
        tier: One tier; None adds up all.

    Returns:
        The share; absent where nothing was offered.
    """
    place = run_source(run, "figures", "tiers", tier or "*", "requests")
    tiers: list[TierFigures] = [run.figures.tiers[tier]] if tier else list(run.figures.tiers.values())
    # Plain addition: sum() rounds differently from one version of Python to the next, and pages are compared.
    offered = part = 0.0
    for each in tiers:
        offered += each.requests.offered
        part += getattr(each.requests, outcome)
    share = part / offered if offered > 0.0 else None
    return quantity(share, ratio_text, f"{place}/{outcome} : {place}/offered")
