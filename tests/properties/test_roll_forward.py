"""The roll-forward against a thermal bank and a queue that are stepped one by one in plain Python."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from controller.planning.heat import TREND_MEMORY_SECONDS, heat_bank
from controller.planning.outlook import QUEUE_BOUND_SECONDS, USUAL_WAIT_SECONDS, Courses, RegionOutlook, roll_forward
from controller.types import PoolThermal

STEP_SECONDS = 60.0
GPU_SECONDS = 10.0
PATIENCE_SECONDS = 90.0
ratios = st.floats(0.0, 1.0)


@st.composite
def thermals(draw: st.DrawFn) -> PoolThermal:
    """A pool's response with one to four filters."""
    count = draw(st.integers(1, 4))
    vector = st.tuples(*[st.floats(0.0, 0.05)] * count)
    return PoolThermal(
        time_constants_seconds=tuple(sorted(draw(st.tuples(*[st.floats(1.0, 1200.0)] * count)))),
        gains_celsius_per_watt=draw(vector),
        filtered_power_watts=draw(st.tuples(*[st.floats(0.0, 700.0)] * count)),
        offset_celsius=draw(st.floats(10.0, 60.0)),
        offset_trend_celsius_per_second=draw(st.floats(-0.05, 0.05)),
        limit_celsius=87.0,
        idle_power_watts=75.0,
        busy_power_watts=690.0,
    )


def _margins_one_by_one(thermal: PoolThermal, load: list[float]) -> list[float]:
    filtered = list(thermal.filtered_power_watts)
    margins = []
    for index, ratio in enumerate(load):
        power = thermal.idle_power_watts + (thermal.busy_power_watts - thermal.idle_power_watts) * ratio
        for row, tau in enumerate(thermal.time_constants_seconds):
            keep = math.exp(-STEP_SECONDS / tau)
            filtered[row] = keep * filtered[row] + (1.0 - keep) * power
        elapsed = (index + 1) * STEP_SECONDS
        drift = max(thermal.offset_trend_celsius_per_second, 0.0)
        drifted = drift * TREND_MEMORY_SECONDS * (1.0 - math.exp(-elapsed / TREND_MEMORY_SECONDS))
        rise = sum(g * x for g, x in zip(thermal.gains_celsius_per_watt, filtered, strict=True))
        margins.append(thermal.limit_celsius - thermal.offset_celsius - drifted - rise)
    return margins


@given(st.lists(thermals(), min_size=1, max_size=3), st.lists(st.lists(ratios, min_size=12, max_size=12), min_size=1))
def test_margin_equals_a_bank_stepped_one_by_one(pools: list[PoolThermal], loads: list[list[float]]) -> None:
    """One product with the step response gives the margin that stepping each filter gives."""
    bank = heat_bank(tuple(pools), num_steps=12, step_seconds=STEP_SECONDS)
    assert bank is not None
    found = bank.margin_celsius(np.array(loads))
    for row, load in enumerate(loads):
        expected = np.min([_margins_one_by_one(pool, load) for pool in pools], axis=0)
        np.testing.assert_allclose(found[row], expected, atol=1e-9)


@given(thermals(), st.lists(ratios, min_size=12, max_size=12), st.integers(1, 12))
def test_shorter_horizon_is_the_beginning_of_a_longer_one(pool: PoolThermal, load: list[float], short: int) -> None:
    """The bank of a long horizon answers for a short one with the same numbers."""
    long_bank = heat_bank((pool,), num_steps=12, step_seconds=STEP_SECONDS)
    short_bank = heat_bank((pool,), num_steps=short, step_seconds=STEP_SECONDS)
    assert long_bank is not None and short_bank is not None
    path = np.array([load[:short]])
    np.testing.assert_allclose(long_bank.margin_celsius(path), short_bank.margin_celsius(path), atol=1e-9)


rates = st.lists(st.floats(0.0, 20.0), min_size=8, max_size=8)


@st.composite
def regions(draw: st.DrawFn) -> tuple[RegionOutlook, Courses, np.ndarray, float]:
    """A region of one pool with a few courses, a demand of two tiers and a backlog."""
    num_steps, num_courses = 8, draw(st.integers(1, 4))
    nodes = st.lists(st.integers(0, 6), min_size=num_steps, max_size=num_steps)
    outlook = RegionOutlook(
        gpus_per_node=np.array([8.0]),
        serving_nodes=np.array([draw(nodes)], dtype=np.float64),
        heat=None,
        gpu_seconds_per_request=GPU_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
        step_seconds=STEP_SECONDS,
    )
    shares = st.lists(st.tuples(ratios, ratios), min_size=num_courses, max_size=num_courses)
    courses = Courses(
        admitted_before=np.array(draw(shares)),
        admitted_after=np.array(draw(shares)),
        delay_steps=draw(st.integers(0, 3)),
        extra_nodes=np.array([[draw(nodes)] for _ in range(num_courses)], dtype=np.float64),
    )
    return outlook, courses, np.array([draw(rates), draw(rates)]), draw(st.floats(0.0, 500.0))


@given(regions())
def test_queue_equals_one_stepped_request_by_request(case: tuple[RegionOutlook, Courses, np.ndarray, float]) -> None:
    """Served, waiting and unserved work equal a queue that is stepped course by course."""
    outlook, courses, demand, backlog_requests = case
    found = roll_forward(outlook, courses, demand_per_second=demand, backlog_requests=backlog_requests)
    for row in range(courses.admitted_after.shape[0]):
        backlog, abandoned, dropped, waited = backlog_requests, 0.0, 0.0, 0.0
        for index in range(demand.shape[1]):
            share = courses.admitted_before[row] if index < courses.delay_steps else courses.admitted_after[row]
            nodes = outlook.serving_nodes[0, index] + courses.extra_nodes[row, 0, index]
            per_second = nodes * 8.0 / GPU_SECONDS
            arriving = float(share @ demand[:, index])
            served = min(backlog + arriving * STEP_SECONDS, per_second * STEP_SECONDS)
            left = backlog + arriving * STEP_SECONDS - served
            # A thousand small steps stand in for the differential equation that the code solves exactly.
            patient, tick = backlog, STEP_SECONDS / 1000.0
            for _ in range(1000):
                patient += (arriving - per_second - patient / PATIENCE_SECONDS) * tick
            patient = min(max(patient, 0.0), left)
            backlog = min(patient, per_second * QUEUE_BOUND_SECONDS)
            abandoned += left - patient
            dropped += patient - backlog
            waited += max(backlog - per_second * USUAL_WAIT_SECONDS, 0.0) * STEP_SECONDS
            load = served / (per_second * STEP_SECONDS) if per_second else 0.0
            np.testing.assert_allclose(found.load_ratio[row, index], load, atol=2e-3)
        if arriving > per_second:
            dropped += max(backlog - per_second * USUAL_WAIT_SECONDS, 0.0)
        np.testing.assert_allclose(found.abandoned[row], abandoned, rtol=2e-3, atol=0.5)
        np.testing.assert_allclose(found.dropped[row], dropped, rtol=2e-3, atol=0.5)
        np.testing.assert_allclose(found.waited_seconds[row], waited, rtol=2e-3, atol=30.0)


@given(regions(), thermals(), st.floats(1.0, 3.0))
def test_more_demand_never_cools(
    case: tuple[RegionOutlook, Courses, np.ndarray, float], pool: PoolThermal, factor: float
) -> None:
    """Under every course more demand means no more margin, no less lost and no shorter waits."""
    outlook, courses, demand, backlog = case
    heated = RegionOutlook(
        gpus_per_node=outlook.gpus_per_node,
        serving_nodes=outlook.serving_nodes,
        heat=heat_bank((pool,), num_steps=demand.shape[1], step_seconds=STEP_SECONDS),
        gpu_seconds_per_request=GPU_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
        step_seconds=STEP_SECONDS,
    )
    less = roll_forward(heated, courses, demand_per_second=demand, backlog_requests=backlog)
    more = roll_forward(heated, courses, demand_per_second=demand * factor, backlog_requests=backlog)
    assert (more.margin_celsius <= less.margin_celsius + 1e-9).all()
    lost = [found.abandoned + found.dropped for found in (less, more)]
    assert (lost[1] >= lost[0] - 1e-6).all()
    assert (more.waited_seconds >= less.waited_seconds - 1e-6).all()
