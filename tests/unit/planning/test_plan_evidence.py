"""What a decision may rest on: no data is never zero, and old data lifts nothing."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.planning import plan
from controller.types import (
    FlagInForce,
    ForecastSet,
    Freshness,
    NodeCounts,
    PlanMemory,
    PoolMargin,
    PoolMemory,
    RegionMemory,
    Sample,
)
from tests.planning_samples import (
    NOW,
    decide,
    forecasts,
    limited,
    policy,
    pool_actions,
    pool_state,
    snapshot,
    thermal,
    with_pool,
    with_tier,
)

RULES = policy()
CALM = snapshot(RULES)
AHEAD = forecasts(RULES)
STALE_AT = NOW - timedelta(minutes=5)
NAN = float("nan")


def _stale(sample: Sample) -> Sample:
    return Sample(value=sample.value, as_of=STALE_AT, freshness=Freshness.FRESH)


SPOILED = {
    "rate is absent": with_tier(CALM, 0, 0, first_attempt_rate=Sample.absent()),
    "rate is stale": with_tier(CALM, 0, 0, first_attempt_rate=Sample.fresh(0.0, STALE_AT)),
    "rate is not a number": with_tier(CALM, 0, 0, first_attempt_rate=Sample.fresh(NAN, NOW)),
    "rate is negative": with_tier(CALM, 0, 0, first_attempt_rate=Sample.fresh(-1.0, NOW)),
    "queue is not a number": with_tier(CALM, 0, 0, queue_requests=Sample.fresh(NAN, NOW)),
    "margin is absent": with_pool(CALM, 0, margin=Sample.absent()),
    "margin is stale": with_pool(CALM, 0, margin=_stale(CALM.pools[0].margin)),
    "margin is from the future": with_pool(
        CALM, 0, margin=Sample.fresh(CALM.pools[0].margin.value, NOW + timedelta(hours=1))
    ),
    "margin is not a number": with_pool(
        CALM,
        0,
        margin=Sample.fresh(PoolMargin(minimum_celsius=NAN, low_celsius=NAN, median_celsius=NAN, num_nodes_low=1), NOW),
    ),
    "margin is out of order": with_pool(
        CALM,
        0,
        margin=Sample.fresh(
            PoolMargin(minimum_celsius=30.0, low_celsius=20.0, median_celsius=10.0, num_nodes_low=1), NOW
        ),
    ),
    "response is absent": with_pool(CALM, 0, thermal=Sample.absent()),
    "response is not a number": with_pool(
        CALM, 0, thermal=Sample.fresh(replace(thermal(0.4), offset_celsius=NAN), NOW)
    ),
    "response has no shape": with_pool(
        CALM, 0, thermal=Sample.fresh(replace(thermal(0.4), gains_celsius_per_watt=(0.1,)), NOW)
    ),
    "nodes are absent": with_pool(CALM, 0, nodes=Sample.absent()),
    "nodes are impossible": with_pool(
        CALM, 0, nodes=Sample.fresh(NodeCounts(desired=4, created=2, ready=2, serving=4, pending=0), NOW)
    ),
    "tier is missing": replace(CALM, regions=(replace(CALM.regions[0], tiers=()), CALM.regions[1])),
    "region is missing": replace(CALM, regions=CALM.regions[1:]),
    "pool is missing": replace(CALM, pools=CALM.pools[1:]),
    "everything is missing": replace(CALM, regions=(), pools=()),
}


@pytest.mark.parametrize("what", SPOILED)
def test_input_that_is_not_fresh_lifts_no_limit(what: str) -> None:
    """A region with an input that is not fresh keeps its position however calm the rest looks."""
    memory = limited(RULES, 6)
    assert decide(RULES, CALM, AHEAD, memory).regions[0].step_index == 5, "with fresh inputs the limit is lifted"
    assert decide(RULES, SPOILED[what], AHEAD, memory).regions[0].step_index >= 6


@pytest.mark.parametrize("what", SPOILED)
def test_input_that_is_not_fresh_takes_no_node_away(what: str) -> None:
    """A pool whose region has an input that is not fresh never shrinks."""
    idle = snapshot(RULES, 0.05)
    memory = decide(RULES, idle, forecasts(RULES, 0.05)).memory
    surplus = tuple(replace(entry, surplus_since=NOW - timedelta(hours=1)) for entry in memory.pools)
    memory = replace(memory, pools=surplus)
    shrunk = pool_actions(decide(RULES, idle, forecasts(RULES, 0.05), memory))
    assert [action.to_nodes for action in shrunk] == [3, 3], "with fresh inputs both pools shrink"
    spoiled = decide(RULES, SPOILED[what], forecasts(RULES, 0.05), memory)
    assert all(action.to_nodes >= action.from_nodes for action in pool_actions(spoiled) if action.pool == "r0-h")


@pytest.mark.parametrize("what", SPOILED)
def test_missing_input_alone_limits_nobody(what: str) -> None:
    """What cannot be seen is no evidence of heat or of a shortage."""
    assert decide(RULES, SPOILED[what], AHEAD).regions[0].step_index == 0


@pytest.mark.parametrize("what", SPOILED)
def test_every_number_of_a_plan_is_a_number(what: str) -> None:
    """Not-a-number in the inputs never reaches a verdict or an alternative."""
    made = decide(RULES, SPOILED[what], AHEAD)
    margins = [verdict.predicted_min_margin_celsius for verdict in made.regions]
    harms = [row.harm for row in made.alternatives]
    assert not any(np.isnan(value) for value in (*margins, *harms) if value is not None)


def test_region_that_nobody_sees_keeps_its_limits_in_force() -> None:
    """A region that fell out of the snapshot has its limits renewed, not returned to normal."""
    memory = limited(RULES, 6)
    flags = decide(RULES, CALM, AHEAD, memory).flags or ()
    blind = replace(CALM, regions=CALM.regions[1:], flags=flags)
    made = decide(RULES, blind, AHEAD, memory)
    assert made.regions[0].step_index == 6
    quota = RULES.ladder.steps[6].images_per_day
    assert {flag.value for flag in made.flags or () if flag.region == "r0" and flag.key == "images-per-day"} == {quota}


def test_forecast_that_is_absent_old_or_broken_lifts_no_limit() -> None:
    """A restore needs a forecast that is there, recent and made of numbers."""
    memory = limited(RULES, 6)
    broken = ForecastSet(demand=tuple(replace(f, mean=f.mean * NAN) for f in AHEAD.demand))
    old = forecasts(RULES, now=NOW - timedelta(hours=1))
    early = forecasts(RULES, now=NOW + timedelta(hours=1))
    for ahead in (ForecastSet(demand=()), broken, old, early):
        assert decide(RULES, CALM, ahead, memory).regions[0].step_index == 6


def test_forecast_counts_from_its_own_time_of_issue() -> None:
    """A growing forecast that is two minutes old promises more for the next step than one issued now."""
    hot = snapshot(RULES, 0.6)
    fresh = decide(RULES, hot, forecasts(RULES, 0.6, growth=6.0))
    older = decide(RULES, hot, forecasts(RULES, 0.6, growth=6.0, now=NOW - timedelta(minutes=2)))
    assert older.alternatives[0].harm > fresh.alternatives[0].harm


def test_seen_heat_limits_without_a_thermal_model() -> None:
    """A margin of two degrees escalates although no response was fitted: other evidence is enough."""
    hot = with_pool(
        snapshot(RULES, 0.9),
        0,
        thermal=Sample.absent(),
        margin=Sample.fresh(PoolMargin(minimum_celsius=1.0, low_celsius=2.0, median_celsius=3.0, num_nodes_low=3), NOW),
    )
    made = decide(RULES, hot, forecasts(RULES, 0.9))
    assert made.regions[0].step_index > 0
    assert made.regions[1].rung < made.regions[0].rung


def test_one_hot_node_limits_nobody() -> None:
    """A low margin on a single node is an outlier for the guard, not a reason to limit a region."""
    calm = snapshot(RULES, 0.4)
    margin = PoolMargin(minimum_celsius=-1.0, low_celsius=0.0, median_celsius=26.0, num_nodes_low=1)
    made = decide(RULES, with_pool(calm, 0, margin=Sample.fresh(margin, NOW)), AHEAD)
    assert made.regions[0].step_index == 0
    common = replace(margin, num_nodes_low=2)
    made = decide(RULES, with_pool(calm, 0, margin=Sample.fresh(common, NOW)), AHEAD)
    assert made.regions[0].step_index > 0


def test_unknown_nodes_stand_at_what_was_last_counted() -> None:
    """A pool that cannot be counted counts with the nodes that served when it was last seen."""
    busy = snapshot(RULES, 0.9)
    memory = decide(RULES, busy, forecasts(RULES, 0.9)).memory
    assert memory.pool("r0-h").seen_nodes == 4
    blind = with_pool(busy, 0, nodes=Sample.absent())
    overload = forecasts(RULES, 1.6)
    assert decide(RULES, blind, overload, memory).regions[0].step_index > 0, "a shortage of known capacity is evidence"
    assert decide(RULES, blind, forecasts(RULES, 0.4), memory).regions[0].step_index == 0


def test_reading_from_before_an_order_does_not_order_again() -> None:
    """While the reading is older than the last order, the order stands for it."""
    hot = snapshot(RULES, 0.95)
    ahead = forecasts(RULES, 0.95, growth=1.5)
    first = decide(RULES, hot, ahead)
    ordered = {action.pool: action.to_nodes for action in pool_actions(first)}
    later = NOW + timedelta(seconds=10)
    again = plan(hot, ahead, RULES, first.memory, later)
    assert all(action.from_nodes == ordered[action.pool] for action in pool_actions(again))


def test_lost_memory_takes_its_position_from_limits_in_force() -> None:
    """A planner that forgot everything keeps the limits that consumers hold, and goes on from their revision."""
    held = decide(RULES, CALM, AHEAD, limited(RULES, 8)).flags or ()
    held = tuple(replace(flag, revision=41) for flag in held)
    made = decide(RULES, replace(CALM, flags=held), AHEAD, PlanMemory())
    assert made.regions[0].step_index == 7, "the limits in force were those of position 7, and its dwell begins afresh"
    assert made.memory.flag_revision >= 41
    assert all(flag.revision > 41 for flag in made.flags or ())


def test_foreign_flags_are_left_alone() -> None:
    """A flag that no limit of ours uses, or of a region that the policy does not know, causes no action."""
    foreign = tuple(
        FlagInForce(key=key, region=region, tier=who, value=1, revision=1, expires_at=NOW + timedelta(hours=1))
        for key, region, who in [
            ("max-concurrent-images", "r0", "free"),
            ("images-per-day", "elsewhere", "free"),
            ("images-per-day", "r0", "unknown"),
            ("images-per-day", "r0", None),
        ]
    )
    assert decide(RULES, replace(CALM, flags=foreign), AHEAD).actions == ()


def test_position_beyond_todays_ladder_is_clamped() -> None:
    """A memory from a longer ladder counts as the last position of this one, and one below zero as the first."""
    for wild in (99, -5):
        memory = PlanMemory(regions=(RegionMemory(region="r0", step_index=wild),))
        index = decide(RULES, CALM, AHEAD, memory).regions[0].step_index
        assert 0 <= index < len(RULES.ladder.steps)


def test_clock_that_jumped_back_starts_the_dwell_afresh() -> None:
    """Times in the future count as now: the dwell is neither over nor endless."""
    dwell = RULES.ladder.steps[6].min_dwell_seconds
    memory = limited(RULES, 6, since=NOW + timedelta(hours=5))
    first = decide(RULES, CALM, AHEAD, memory)
    assert first.regions[0].step_index == 6
    later = NOW + timedelta(seconds=dwell)
    made = plan(snapshot(RULES, now=later), forecasts(RULES, now=later), RULES, first.memory, later)
    assert made.regions[0].step_index == 5


def test_future_orders_and_restores_still_count_and_then_fade() -> None:
    """After a jump back the budgets of the hour stay spent for one hour, not for the length of the jump."""
    ahead = NOW + timedelta(days=2)
    memory = replace(limited(RULES, 4), added_nodes=((ahead, 6),))
    memory = replace(memory, regions=tuple(replace(r, relaxations=(ahead,) * 4) for r in memory.regions))
    first = decide(RULES, snapshot(RULES, 0.95), forecasts(RULES, 0.95, growth=2.0), memory)
    assert not pool_actions(first)
    assert decide(RULES, CALM, AHEAD, memory).regions[0].step_index == 4
    assert max(at for at, _ in first.memory.added_nodes) <= NOW


def test_time_without_zone_is_refused() -> None:
    """A naive ``now`` is an error of the caller, said at once."""
    with pytest.raises(ValueError, match="time zone"):
        plan(CALM, AHEAD, RULES, PlanMemory(), NOW.replace(tzinfo=None))


def test_budget_counts_pools_that_nobody_can_count() -> None:
    """An unseen pool costs what it was last asked to be, or its largest size, never nothing."""
    rules = policy(limits=replace(RULES.limits, max_cost_per_hour=100.0))
    hot, ahead = snapshot(rules, 0.95), forecasts(rules, 0.95, growth=2.0)
    assert pool_actions(decide(rules, hot, ahead)), "ten nodes are allowed and eight exist"
    blind = with_pool(hot, 1, nodes=Sample.absent())
    assert not pool_actions(decide(rules, blind, ahead)), "four seen and eight assumed leave no room"
    memory = PlanMemory(pools=(PoolMemory(pool="r1-h", desired_nodes=4),))
    assert pool_actions(decide(rules, blind, ahead, memory))


def test_duplicate_entries_count_once() -> None:
    """A snapshot that lists a pool twice is read as if the first stood alone."""
    twin = pool_state("r0-h", "r0", 0.99, as_of=NOW, response=thermal(0.99, offset_celsius=48.0))
    doubled = replace(CALM, pools=(*CALM.pools, twin))
    assert decide(RULES, doubled, AHEAD) == decide(RULES, CALM, AHEAD)


def test_queue_that_nobody_counts_is_not_empty() -> None:
    """Without a count the wait and the service tell the queue, and a long one limits as if it had been counted."""
    rules = policy(1)
    busy, ahead = snapshot(rules, 1.0), forecasts(rules, 1.0)
    counted = with_tier(busy, 0, 0, queue_requests=Sample.fresh(150.0, NOW))
    waited = with_tier(
        busy,
        0,
        0,
        queue_requests=Sample.absent(),
        wait_seconds=Sample.fresh(50.0, NOW),
        served_rate=Sample.fresh(3.0, NOW),
    )
    assert decide(rules, counted, ahead).alternatives[0].harm == decide(rules, waited, ahead).alternatives[0].harm
    blind = with_tier(busy, 0, 0, queue_requests=Sample.absent(), wait_seconds=Sample.absent())
    blind = with_tier(blind, 0, 0, served_rate=Sample.absent())
    assert decide(rules, blind, ahead).alternatives[0].harm > decide(rules, busy, ahead).alternatives[0].harm
