"""The status page: everything on it, nothing broken by the words inside it, the most urgent first."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from controller.operator.status_page import MAX_FANS, MAX_POOLS, duration_text, render_status_page
from controller.operator.status_view import StatusView
from tests.status_samples import fan, pool, status_in_a_surge

VOID = {"meta"}


class Strict(HTMLParser):
    """Reads a page, keeps its text, and refuses elements that are left open or closed twice."""

    def __init__(self) -> None:
        """Start outside of everything."""
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter an element."""
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Pass an empty element."""
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text that people see."""
        if "style" not in self.open:
            self.words.append(data)


def read(view: StatusView) -> Strict:
    """Render and read a page."""
    page = Strict()
    page.feed(render_status_page(view).decode())
    page.close()
    assert page.open == []
    return page


def text_of(view: StatusView) -> str:
    """Return what people read."""
    return " ".join(" ".join(read(view).words).split())


def with_policy(**changes: object) -> StatusView:
    """Return the sample with a changed policy."""
    view = status_in_a_surge()
    return replace(view, policies=(replace(view.policies[0], **changes),))  # type: ignore[arg-type]


def test_the_page_says_what_is_going_on() -> None:
    """Rungs and reasons, heat and time to slowdown, limits with their ends, decisions with results."""
    text = text_of(status_in_a_surge())
    for words in (
        "us-east sheds free requests",
        "surge, doubling every 23 min",
        "5 shed",
        "forecast margin falls to 1.8 °C in 14 min",
        "87.4 °C −0.4 °C 0 s",
        "81.7 °C 5.3 °C 5 min 20 s",
        "9 of 12 serve, 3 on the way",
        "admission-ratio 0.25 1 min 35 s (18:01:35 UTC)",
        "held by 23 of 24 consumers",
        "breaker open",
        "stock_out: no p5.48xlarge in us-east-1b",
        "InsufficientInstanceCapacity",
    ):
        assert words in text


def test_what_is_not_known_is_called_unknown() -> None:
    """A pool without metrics stands first, and none of its numbers is made up."""
    text = text_of(status_in_a_surge())
    places = [text.index(f"{name} (") for name in ("ap-south-a100", "us-east-h100-b", "us-east-h100-a")]
    assert places == sorted(places)
    assert "ap-south-a100 (ap-south, H100 SXM) unknown unknown unknown unknown metrics absent" in text


def test_a_limit_that_has_ended_is_not_shown() -> None:
    """An expired limit of the stored set is no active limit; without any the page says that nobody is limited."""
    assert "images-per-day 10" not in text_of(status_in_a_surge())
    assert "Nobody is limited" in text_of(with_policy(limits=()))


def test_words_from_outside_cannot_break_the_page() -> None:
    """Names, reasons and problems are shown as they are, whatever is in them."""
    evil = "<script>alert('x')</script>&\"'</p>"
    view = with_policy(
        doing=evil, name=evil, pools=(pool(evil, evil, 3.0, conditions=(evil,)),), forecasts=(fan(evil, evil, 1.0),)
    )
    page = read(replace(view, replica=evil))
    assert "script" not in {tag for tag, _ in page.seen}
    assert evil in "".join(page.words)


def test_nothing_is_fetched_and_no_script_runs() -> None:
    """The page is whole by itself: no script, no source, no style sheet from elsewhere; it refreshes by itself."""
    page = read(status_in_a_surge())
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in page.seen}
    assert not any("src" in attributes for _, attributes in page.seen)
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in page.seen
    assert b"url(" not in render_status_page(status_in_a_surge())


def test_long_lists_are_cut_with_a_word() -> None:
    """A page over a thousand pools and fifty forecasts stays a page, and says where the rest is."""
    pools = tuple(pool(f"p{number}", "r", float(number)) for number in range(1000))
    fans = tuple(fan(f"r{number}", "free", 1.0 + number) for number in range(50))
    page = read(with_policy(pools=pools, forecasts=fans))
    text = " ".join(" ".join(page.words).split())

    assert sum(1 for tag, _ in page.seen if tag == "figure") == MAX_FANS
    assert f"{1000 - MAX_POOLS} further pools" in text
    assert "r49" in text


@pytest.mark.parametrize("values", [(), ((), (), ()), ((1.0,), (1.0,), (1.0,)), ((1.0, 2.0), (1.0,), (2.0, 3.0))])
def test_a_forecast_without_a_drawing_is_left_out(values: tuple[tuple[float, ...], ...]) -> None:
    """A fan of no, one or unequal points is not drawn and breaks nothing."""
    assert "No forecast yet" in text_of(with_policy(forecasts=(replace(fan("r", "free", 1.0), values=values),)))


def test_an_empty_operator_has_a_page() -> None:
    """Before the first decision, and on a replica that stands by, the page says so."""
    text = text_of(replace(status_in_a_surge(), policies=(), leading=False, epoch=None, advisory=True))
    assert "No SurgePolicy has been decided on yet" in text
    assert "standing by" in text
    assert "advisory" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (59.9, "59 s"), (80.0, "1 min 20 s"), (1386.0, "23 min"), (11100.0, "3 h 5 min"), (1e6, "11 days")],
)
def test_durations_are_written_as_people_say_them(seconds: float, text: str) -> None:
    """A duration is written in its two largest units and never rounded up."""
    assert duration_text(seconds) == text
