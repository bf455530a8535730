"""What servers, labels and people's objects say stays text: in log lines, on the page, in queries and in findings."""

import io
import json
import logging
import sys
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import hypothesis.strategies as st
import msgspec
import pytest
import structlog
from hypothesis import given

from controller.adapters.observation.reading import tabulate
from controller.adapters.observation.signals import Signal, SignalSettings, queries
from controller.adapters.prometheus import MAX_SERIES, Answer, PrometheusClient, Reading, parse_vector
from controller.operator.checkup.findings import MAX_TEXT, failed, findings_json, findings_text
from controller.operator.conditions import Problem
from controller.operator.status_page import render_status_page
from controller.telemetry.logs import LogLevel, configure_logging
from exporters.logs import Log
from tests.status_samples import status_in_a_surge

HOSTILE = "x\n2025-03-31 [error] all is lost \x1b[2J\x9b31m </ul><script>alert(1)</script><img src=x onerror=alert(1)>"
TEXTS = st.text(max_size=60) | st.just(HOSTILE)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


@pytest.fixture
def restored_logging():
    """Puts the logging of other tests back."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def lines_of(stream):
    """Return what was written, line by line."""
    return stream.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("stream", [Terminal, io.StringIO], ids=["terminal", "pipe"])
def test_a_log_line_of_the_controller_stays_one(stream, monkeypatch, restored_logging):
    """No text of anybody begins a second line, or moves a terminal's cursor."""
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("NO_COLOR", "1")
    configure_logging(LogLevel.INFO)
    structlog.get_logger().info("pool.refused", text=HOSTILE, name="\x1b[2J", user=HOSTILE)

    assert len(lines_of(written)) == 1
    # Without colours of our own, every control character would be somebody else's.
    shown = written.getvalue().rstrip("\n").replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[2m", "")
    assert not {"\n", "\x9b"} & set(shown) and "\x1b[2J" not in shown


@pytest.mark.parametrize("stream", [Terminal, io.StringIO], ids=["terminal", "pipe"])
def test_a_log_line_of_the_exporter_stays_one(stream):
    """The same holds for the exporter, whose names come from the driver and the kubelet."""
    written = stream()
    Log(logging.INFO, written).warning("pod.map.failed", reason=HOSTILE)

    assert len(lines_of(written)) == 1
    assert lines_of(written)[0].isprintable()


class Elements(HTMLParser):
    """Collects the names of elements and attributes as a browser sees them."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attrs):
        """Keep one element."""
        self.found |= {tag} | {f"{tag} {name}" for name, _ in attrs}


def elements(page):
    """Return the elements and attributes of a page."""
    parser = Elements()
    parser.feed(page.decode())
    parser.close()
    return parser.found


def hostile_view(text):
    """Return a status whose every free text is the same."""
    view = status_in_a_surge()
    policy = view.policies[0]
    problem = Problem(code=text, text=text)
    decisions = tuple(
        replace(
            decision,
            decision_id=text,
            reasons=(text,),
            actions=tuple(
                replace(action, subject=text, change=text, why=text, result=text) for action in decision.actions
            ),
        )
        for decision in policy.decisions
    )
    regions = tuple(replace(region, name=text, meaning=text, why=text) for region in policy.regions)
    pools = tuple(replace(pool, name=text, region=text, gpu_model=text, conditions=(text,)) for pool in policy.pools)
    limits = tuple(replace(limit, region=text, tier=text, value=text) for limit in policy.limits)
    forecasts = tuple(replace(fan, region=text, tier=text) for fan in policy.forecasts)
    changed = replace(
        policy,
        name=text,
        doing=text,
        surge=text,
        decision_id=text,
        regions=regions,
        pools=pools,
        limits=limits,
        forecasts=forecasts,
        decisions=decisions,
        problems=(problem,),
    )
    return replace(view, replica=text, policies=(changed,), problems=(problem,))


@given(TEXTS)
def test_no_text_becomes_markup_on_the_status_page(text):
    """Whatever names and reasons hold, the page has the elements of an ordinary one, and no script."""
    plain, hostile = (
        elements(render_status_page(hostile_view("plain"))),
        elements(render_status_page(hostile_view(text))),
    )
    assert hostile == plain
    assert "script" not in hostile and "img" not in hostile


def test_no_name_of_anybody_is_part_of_a_query():
    """Queries hold our own metric names and labels only: pools, tiers and users come back as labels, never go in."""
    asked = " ".join(queries(SignalSettings(busy_watts=600.0)).values())
    assert set(asked) <= set('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_(){}[]=~!",.|+-*/<> ')
    assert "pool=" not in asked and "user" not in asked


def vector(rows):
    """Return an answer of Prometheus."""
    result = [{"metric": labels, "value": [1.0, value]} for labels, value in rows]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def test_a_bomb_of_series_is_refused_whole():
    """More series than a fleet can have are a problem in words, not memory that is kept."""
    answer = parse_vector(vector(({"pool": f"p{number}"}, "1") for number in range(MAX_SERIES + 1)))
    assert answer.readings == () and "aggregate" in answer.problem


@given(
    st.lists(
        st.tuples(st.dictionaries(TEXTS, TEXTS, max_size=4), TEXTS | st.sampled_from(["1", "NaN", "+Inf"])), max_size=8
    )
)
def test_any_answer_is_read_or_refused(rows):
    """Labels and values of any text give readings or a problem, never an exception."""
    answer = parse_vector(vector(rows))
    assert (answer.problem is None) or answer.readings == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    """What is not Prometheus at all is a problem in one sentence."""
    fetched = PrometheusClient("http://prometheus", fetch=lambda url, limits: body).instant("up", datetime.now(UTC))
    assert fetched.problem is not None


@given(TEXTS, st.floats(allow_nan=False))
def test_a_stranger_among_the_labels_changes_no_pool(text, value):
    """A series that imitates ours under another name adds an entry of that name, and changes no other."""
    ours = Reading(labels={"pool": "eu-h100"}, value=20.0)
    theirs = Reading(labels={"pool": f"not-{text}"}, value=value)
    table = tabulate({Signal.MARGIN_MINIMUM: Answer(readings=(ours, theirs))})
    assert table.get(Signal.MARGIN_MINIMUM, "eu-h100") == 20.0


@given(TEXTS)
def test_a_finding_is_one_line_of_bounded_length(text):
    """Doctor shows what servers say on one line of printable characters, in text and in JSON."""
    finding = failed("metrics", "prometheus", text * 20, "look")
    assert len(finding.text) <= MAX_TEXT and (finding.text == "" or finding.text.isprintable())
    assert len(findings_text((finding,)).splitlines()) == 4
    assert msgspec.json.decode(findings_json((finding,)))["healthy"] is False
