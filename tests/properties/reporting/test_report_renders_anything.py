"""Any run set renders: odd values make an odd page, never an error and never broken markup."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reporting.document import run_set_document
from controller.reporting.html_report import render_report
from controller.reporting.scales import TimeScale, count_scale, drawable, linear_scale
from controller.reporting.text_table import summary_table
from controller.simulator.record import (
    REPLAY_SCHEMA,
    DecisionMark,
    FanRecord,
    Figures,
    RegionFigures,
    RegionTrack,
    Requests,
    RunRecord,
    RunSet,
    TierFigures,
    TierTrack,
    WaitSeconds,
)
from tests.reporting_samples import sample_scenario

START = datetime(2025, 3, 31, 14, tzinfo=UTC)
ANY_FLOAT = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -0.0, 1.0, 87.0, 1e-320, 1e308, -1e308])
)
ANY_TEXT = st.text(max_size=20)
TRACK = st.lists(ANY_FLOAT, max_size=6).map(tuple)
COUNTS = st.lists(st.integers(min_value=-3, max_value=10**12), max_size=6).map(tuple)
TIMES = st.integers(min_value=-100_000, max_value=10_000_000).map(lambda second: START + timedelta(seconds=second))


def built(record: type, /, **parts: st.SearchStrategy) -> st.SearchStrategy:
    """Return a strategy for one part of a record."""
    return st.builds(record, **parts)


TIER_TRACKS = built(TierTrack, offered=TRACK, served=TRACK, limited=TRACK, dropped=TRACK)
REGION_TRACKS = built(
    RegionTrack,
    hottest_celsius=TRACK,
    nodes_serving=COUNTS,
    nodes_pending=COUNTS,
    rung=COUNTS,
    utilization_ratio=TRACK,
    inlet_celsius=TRACK,
)
MARKS = built(
    DecisionMark,
    at=TIMES,
    decision_id=ANY_TEXT,
    kind=st.one_of(st.sampled_from(["nodes", "limit", "rung"]), ANY_TEXT),
    region=ANY_TEXT,
    rung=st.integers(-5, 100),
    title=ANY_TEXT,
    reason=ANY_TEXT,
)
FANS = built(
    FanRecord,
    issued_at=TIMES,
    step_seconds=st.floats(0.001, 1e9),
    levels=st.lists(st.floats(0, 1), max_size=4).map(tuple),
    quantiles=st.lists(TRACK, max_size=4).map(tuple),
    phase=st.one_of(st.sampled_from(["calm", "onset"]), ANY_TEXT),
)
REQUESTS = built(Requests, **dict.fromkeys(("offered", "served", "limited", "dropped", "abandoned"), ANY_FLOAT))
TIER_FIGURES = built(
    TierFigures, requests=REQUESTS, wait_seconds=built(WaitSeconds, p50=ANY_FLOAT, p95=ANY_FLOAT, p99=ANY_FLOAT)
)
FIGURES = built(
    Figures,
    throttled_gpu_seconds=ANY_FLOAT,
    over_limit_degree_seconds=ANY_FLOAT,
    max_temperature_celsius=ANY_FLOAT,
    gpus_shut_down=st.integers(-1, 10**18),
    tiers=st.dictionaries(ANY_TEXT, TIER_FIGURES, max_size=2),
    regions=st.dictionaries(
        ANY_TEXT, built(RegionFigures, minutes_limited=st.dictionaries(ANY_TEXT, ANY_FLOAT, max_size=2)), max_size=2
    ),
    gpu_hours=ANY_FLOAT,
    cost=ANY_FLOAT,
    actions=st.integers(-1, 10**18),
    flag_changes=st.integers(-1, 10**18),
    first_action_lead_seconds=st.none() | ANY_FLOAT,
    regret=st.none() | ANY_FLOAT,
)
RUNS = built(
    RunRecord,
    policy=st.one_of(st.sampled_from(["none", "meltguard", "reactive"]), ANY_TEXT),
    seed=st.integers(0, 2),
    start=st.just(START),
    sample_seconds=st.floats(0.001, 1e9),
    seconds=TRACK,
    signups_per_hour=TRACK,
    hottest_celsius=TRACK,
    tiers=st.dictionaries(ANY_TEXT, TIER_TRACKS, max_size=2),
    regions=st.dictionaries(ANY_TEXT, REGION_TRACKS, max_size=2),
    decisions=st.lists(MARKS, max_size=4).map(tuple),
    fans=st.lists(FANS, max_size=4).map(tuple),
    figures=FIGURES,
)
RUN_SETS = built(
    RunSet,
    schema=st.just(REPLAY_SCHEMA),
    scenario=ANY_TEXT,
    title=ANY_TEXT,
    slowdown_celsius=ANY_FLOAT,
    currency=ANY_TEXT,
    runs=st.lists(RUNS, min_size=1, max_size=4).map(tuple),
)
SCENARIO = sample_scenario()


@given(run_set=RUN_SETS)
@settings(max_examples=60)
def test_any_run_set_renders_as_strict_markup(run_set: RunSet) -> None:
    """Whatever the values and names, the page parses as XML, holds every panel and draws no NaN."""
    page = render_report(run_set, SCENARIO)
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    for name in ("signups", "heat", "rungs", "nodes", "requests"):
        assert root.find(f".//section[@id='panel-{name}']") is not None
    for element in root.iter():
        for key, value in element.attrib.items():
            if key in ("d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
                assert "nan" not in value and "inf" not in value, (element.tag, key, value)


@given(run_set=RUN_SETS)
@settings(max_examples=30)
def test_any_run_set_has_a_table_and_a_document(run_set: RunSet) -> None:
    """The text table has no control codes and the document is JSON with sorted keys."""
    assert all(line.isprintable() for line in summary_table(run_set, brief=False).splitlines())
    document = run_set_document(run_set)
    parsed = json.loads(document)
    assert list(parsed) == sorted(parsed)
    assert len(parsed["runs"]) == len(run_set.runs)


@given(values=st.lists(ANY_FLOAT, max_size=20), log=st.booleans())
def test_every_scale_holds_its_values_in_order(values: list[float], log: bool) -> None:
    """Positions lie inside the panel and fall as values rise, ticks lie inside and are few."""
    scale = count_scale(values, height=200.0, log_from_ratio=5.0) if log else linear_scale(values, height=200.0)
    ordered = drawable(sorted(value for value in values if value == value))
    positions = scale.position(ordered)
    assert ((positions >= 0.0) & (positions <= 200.0)).all()
    assert (positions[1:] <= positions[:-1]).all()
    ticks = scale.ticks()
    assert len(ticks) <= 20
    slack = 1e-9 * max(abs(scale.low), abs(scale.high))
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)


@given(seconds=ANY_FLOAT, duration=st.floats(1.0, 3.2e9))
def test_every_time_has_a_place(seconds: float, duration: float) -> None:
    """Places lie inside 0..1 and labels exist for any length of run."""
    scale = TimeScale(start=START, duration_seconds=duration)
    assert 0.0 <= scale.ratio(seconds) <= 1.0
    assert all(0.0 <= place <= 1.0 for place, _ in scale.ticks())
