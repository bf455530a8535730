"""Nothing in the data can leave its place in the page, and the page fetches nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from controller.reporting.html_report import render_report
from controller.reporting.text_table import summary_table
from controller.simulator.record import RunSet
from controller.simulator.scenario import Fact, FactKind
from tests.reporting_samples import sample_run_set, sample_scenario

HOSTILE = "</script></title><img src=x onerror=alert(1)><script>alert('&\"')</script>\x1b[2J"
SMALL = sample_run_set(num_samples=30)


class Elements(HTMLParser):
    """Collects elements and attributes as a browser sees them."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep one element."""
        self.found.append((tag, dict(attrs)))


def elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """Parse a page leniently, as a browser would."""
    parser = Elements()
    parser.feed(page)
    parser.close()
    return parser.found


def hostile_run_set() -> RunSet:
    """Return a run set in which every name and text is an attack."""
    runs = []
    for run in SMALL.runs:
        track, tier = next(iter(run.regions.values())), next(iter(run.tiers.values()))
        marks = tuple(
            msgspec.structs.replace(
                mark, decision_id=HOSTILE, kind=HOSTILE, region=HOSTILE, title=HOSTILE, reason=HOSTILE
            )
            for mark in sample_run_set(("meltguard",)).runs[0].decisions[:3]
        )
        fans = tuple(msgspec.structs.replace(fan, phase=HOSTILE) for fan in run.fans)
        figures = msgspec.structs.replace(
            run.figures,
            tiers={HOSTILE: next(iter(run.figures.tiers.values()))},
            regions={
                HOSTILE: msgspec.structs.replace(
                    next(iter(run.figures.regions.values())), minutes_limited={HOSTILE: 3.0}
                )
            },
        )
        runs.append(
            msgspec.structs.replace(
                run,
                policy=run.policy + HOSTILE,
                regions={HOSTILE: track},
                tiers={HOSTILE: tier},
                decisions=marks,
                fans=fans,
                figures=figures,
            )
        )
    return msgspec.structs.replace(
        SMALL, runs=tuple(runs), scenario=HOSTILE, title=HOSTILE, currency=HOSTILE, schema=HOSTILE
    )


def hostile_page() -> str:
    """Render the attack."""
    facts = tuple(Fact(what=HOSTILE, kind=kind, source=f"https://example.org/{HOSTILE}") for kind in FactKind)
    scenario = msgspec.structs.replace(sample_scenario(facts=facts), description=HOSTILE)
    return render_report(hostile_run_set(), scenario, command=HOSTILE)


def test_hostile_names_do_not_become_markup() -> None:
    """Names full of tags add no element and no event handler to the page."""
    found = elements(hostile_page())
    assert sum(tag == "script" for tag, _ in found) == 2
    assert not [tag for tag, _ in found if tag in ("img", "iframe", "object", "embed", "link")]
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert "\x1b" not in hostile_page()


def test_hostile_names_do_not_steer_a_terminal() -> None:
    """The text table shows escape sequences instead of obeying them."""
    assert "\x1b" not in summary_table(hostile_run_set())


def test_the_page_fetches_nothing() -> None:
    """No element names something to load; addresses appear only as links and name spaces."""
    page = render_report(SMALL, sample_scenario())
    for tag, attributes in elements(page):
        assert not {"src", "srcset", "data", "poster", "action", "background"} & set(attributes), tag
        assert tag == "a" or "href" not in attributes
    style = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)[0]
    assert "url(" not in style and "@import" not in style


def test_only_plain_web_addresses_become_links() -> None:
    """A source with a web address is a link to it; a script address stays text."""
    facts = (
        Fact(what="a", kind=FactKind.PUBLISHED, source="See https://example.org/a?b=1&c=2, page 3."),
        Fact(what="b", kind=FactKind.PUBLISHED, source="javascript:alert(1)"),
    )
    page = render_report(SMALL, sample_scenario(facts=facts))
    assert [attributes["href"] for tag, attributes in elements(page) if tag == "a"] == ["https://example.org/a?b=1&c=2"]


@pytest.mark.parametrize("identifier", ["plot-signups", "plot-heat", "plot-rungs", "plot-nodes", "plot-requests-0"])
def test_every_drawing_has_a_name_and_a_description(identifier: str) -> None:
    """A screen reader is told what each drawing shows."""
    page = render_report(SMALL, sample_scenario())
    match = re.search(
        rf'<svg id="{identifier}"[^>]*aria-labelledby="(\S+) (\S+)"[^>]*><title id="(\S+)">([^<]+)</title>'
        rf'<desc id="(\S+)">([^<]+)</desc>',
        page,
    )
    assert match is not None
    assert (match.group(1), match.group(2)) == (match.group(3), match.group(5))


def test_identifiers_are_unique() -> None:
    """No two elements share an id, so that labels point to one thing."""
    found = [
        attributes["id"] for _, attributes in elements(render_report(SMALL, sample_scenario())) if "id" in attributes
    ]
    assert len(found) == len(set(found))
