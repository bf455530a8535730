"""The page and the JSON document cannot disagree: every number of the page's prose and tables is compared."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from controller.reporting.document import run_set_document
from controller.reporting.html_report import render_report
from controller.simulator.record import RunSet
from tests.reporting_samples import sample_run_set, sample_scenario

UNITS = {"": 1.0, "million": 1e6, "billion": 1e9, "%": 0.01, "°C": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "°C·s": 1.0}


def page_of(run_set: RunSet, **options: str) -> ElementTree.Element:
    """Render and parse the page as strict XML."""
    text = render_report(run_set, sample_scenario(), **options)
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def looked_up(document: object, keys: list[str]) -> float:
    """Follow keys through the document; ``*`` adds up a whole level and ``policy@seed`` picks a run."""
    if not keys:
        assert isinstance(document, (int, float))
        return float(document)
    key, rest = keys[0], keys[1:]
    if isinstance(document, list):
        policy, seed = key.rsplit("@", 1)
        return looked_up(next(r for r in document if (r["policy"], r["seed"]) == (policy, int(seed))), rest)
    assert isinstance(document, dict)
    if key == "*":
        return sum(looked_up(value, rest) for value in document.values())
    return looked_up(document[key], rest)


def document_value(document: object, source: str) -> float:
    """Evaluate a source: a place, or the ratio of two."""
    places = [looked_up(document, part.split("/")) for part in source.split(" : ")]
    return places[0] / places[1] if len(places) == 2 else places[0]


def assert_text_means(text: str, value: float) -> None:
    """Compare a written number with a value, within half a unit of its last digit."""
    if text.startswith(("<", ">")):
        bound = float(re.findall(r"[0-9.]+", text)[0]) / 100
        assert (0 < value < bound) if text.startswith("<") else (bound < value < 1)
        return
    match = re.fullmatch(r"(-?[0-9,]+)(\.[0-9]+)? ?(.*)", text)
    assert match, text
    whole, fraction, unit = match.group(1), match.group(2) or "", match.group(3)
    size = UNITS[unit]
    written = float(whole.replace(",", "") + fraction) * size
    half = 0.5 * 10.0 ** -max(len(fraction) - 1, 0) * size
    assert abs(written - value) <= half * (1 + 1e-6) + 1e-9, (text, value)


@pytest.mark.parametrize("seeds", [1, 2])
def test_every_number_of_the_page_is_the_documents(seeds: int) -> None:
    """Each data element's value is the one at its place in the document, and its text is that value rounded."""
    run_set = sample_run_set(seeds=seeds)
    document = json.loads(run_set_document(run_set))
    numbers = page_of(run_set).findall(".//data")
    assert len(numbers) > 100
    for number in numbers:
        source, text = number.attrib["data-source"], number.text or ""
        value = document_value(document, source)
        assert float(number.attrib["value"]) == pytest.approx(value, rel=1e-12, abs=1e-12), source
        # The document has minutes there, the page any unit of time.
        assert_text_means(text, value * 60 if "minutes_limited" in source else abs(value) if text[0] != "-" else value)


def without_numbers(element: ElementTree.Element) -> str:
    """Return an element's text but for its data elements."""
    own = "" if element.tag == "data" else element.text or ""
    return own + "".join(without_numbers(child) + (child.tail or "") for child in element)


@pytest.mark.parametrize("identifier", ["headline", "price"])
def test_no_sentence_holds_a_number_of_its_own(identifier: str) -> None:
    """The headline and its price contain no digit outside data elements."""
    element = page_of(sample_run_set()).find(f".//*[@id='{identifier}']")
    assert element is not None
    assert element.findall(".//data")
    assert not re.search(r"\d", without_numbers(element))


def test_table_of_figures_names_every_figure_of_every_policy() -> None:
    """Every number of every run's figures stands in the table, but for limits that never held and absent ones."""
    run_set = sample_run_set()
    page = page_of(run_set)
    sources = {number.attrib["data-source"] for number in page.findall(".//section[@id='figures']//data")}

    def leaves(place: str, value: object) -> list[str]:
        if isinstance(value, dict):
            return [leaf for key, part in value.items() for leaf in leaves(f"{place}/{key}", part)]
        return [] if value is None or "/paid" in place and "minutes_limited" in place else [place]

    for run in json.loads(run_set_document(run_set))["runs"]:
        expected = leaves(f"runs/{run['policy']}@{run['seed']}/figures", run["figures"])
        assert set(expected) <= sources


def test_same_run_set_gives_the_same_page_and_document() -> None:
    """Rendering reads no clock and no random source."""
    first, second = sample_run_set(num_samples=60), sample_run_set(num_samples=60)
    assert render_report(first, sample_scenario()) == render_report(second, sample_scenario())
    assert run_set_document(first) == run_set_document(second)
