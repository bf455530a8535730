"""When a region moves on the ladder and a pool changes its size: bounds, dwell, budgets and people."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.planning import plan
from controller.planning.ladder import default_ladder
from controller.planning.scale_in import SURPLUS_SECONDS
from controller.types import (
    Approval,
    ApprovalGrant,
    FlagAction,
    Ladder,
    PausedDirection,
    PlanMemory,
    PoolCondition,
    Rung,
    RungOverride,
    Sample,
)
from tests.planning_samples import (
    NOW,
    TARGET_CELSIUS,
    decide,
    forecasts,
    limited,
    policy,
    pool_actions,
    pool_spec,
    pool_state,
    snapshot,
    thermal,
    with_pool,
)

RULES = policy()
CALM, AHEAD = snapshot(RULES), forecasts(RULES)
LAST = len(RULES.ladder.steps) - 1
DISABLED = RULES.ladder.first_of(Rung.DISABLE_FREE)
LATER = NOW + timedelta(hours=1)


def _hot(rules, load_ratio=0.97, offset_celsius=46.0):
    """A fleet that loses its whole margin when it is fully used."""
    response = thermal(load_ratio, offset_celsius=offset_celsius)
    pools = tuple(pool_state(spec.name, spec.region, load_ratio, as_of=NOW, response=response) for spec in rules.pools)
    return replace(snapshot(rules, load_ratio), pools=pools)


def test_fleet_at_rest_is_left_alone() -> None:
    """A cool fleet with steady demand gets an empty plan that says so."""
    made = decide(RULES, CALM, AHEAD)
    assert made.actions == ()
    assert made.flags is None
    assert {verdict.rung for verdict in made.regions} == {Rung.OBSERVE}
    assert all(reason.code == "at_rest" for reason in made.reasons)


def test_growth_within_lead_time_orders_nodes_and_limits_nobody() -> None:
    """Demand that outgrows the fleet after the lead time is answered with nodes alone."""
    made = decide(RULES, snapshot(RULES, 0.5), forecasts(RULES, 0.5, growth=3.0))
    assert {action.pool for action in pool_actions(made)} == {"r0-h", "r1-h"}
    assert all(verdict.step_index == 0 for verdict in made.regions)


def test_heat_before_any_node_could_arrive_limits_at_once() -> None:
    """When the margin goes within minutes, limits are set in the same decision that orders nodes."""
    made = decide(RULES, _hot(RULES), forecasts(RULES, 0.97))
    assert all(verdict.rung >= Rung.SHAPE_QUIETLY for verdict in made.regions)
    assert pool_actions(made)


def test_stock_out_becomes_shaping() -> None:
    """What nodes would have answered is answered by limits when the cloud has none."""
    growth = forecasts(RULES, 1.3, growth=1.6)
    busy = snapshot(RULES, 0.9)
    with_stock = decide(RULES, busy, growth)
    blocked = with_pool(busy, 0, conditions=frozenset({PoolCondition.STOCK_OUT}))
    without = decide(RULES, blocked, growth)
    assert any(action.pool == "r0-h" for action in pool_actions(with_stock))
    assert not any(action.pool == "r0-h" for action in pool_actions(without))
    assert without.regions[0].step_index >= with_stock.regions[0].step_index
    assert without.regions[0].step_index > 0
    assert any(bound.name == "StockOut" for bound in without.constraints)


@pytest.mark.parametrize("paused", [PausedDirection.SCALE_OUT, PausedDirection.ALL])
def test_paused_growth_is_never_ordered(paused: PausedDirection) -> None:
    """A person who stopped a pool from growing is obeyed, and the plan says that it was bound."""
    rules = policy(pools=(pool_spec("r0-h", "r0", paused=paused), pool_spec("r1-h", "r1")))
    made = decide(rules, _hot(rules), forecasts(rules, 0.97, growth=2.0))
    assert [action.pool for action in pool_actions(made)] == ["r1-h"]
    assert any(bound.name == "paused" and bound.subject == "r0-h" for bound in made.constraints)


@pytest.mark.parametrize("paused", [PausedDirection.SCALE_IN, PausedDirection.ALL])
def test_paused_shrinking_is_never_ordered(paused: PausedDirection) -> None:
    """A person who stopped a pool from shrinking is obeyed however long it has had nodes to spare."""
    rules = policy(pools=(pool_spec("r0-h", "r0", paused=paused), pool_spec("r1-h", "r1")))
    idle, ahead = snapshot(rules, 0.05), forecasts(rules, 0.05)
    memory = decide(rules, idle, ahead).memory
    spare = tuple(replace(entry, surplus_since=NOW - timedelta(hours=2)) for entry in memory.pools)
    made = decide(rules, idle, ahead, replace(memory, pools=spare))
    assert [action.pool for action in pool_actions(made)] == ["r1-h"]


@pytest.mark.parametrize("condition", [PoolCondition.FOREIGN_OWNER, PoolCondition.PAUSED])
def test_pool_of_another_owner_is_not_resized(condition: PoolCondition) -> None:
    """A pool that somebody else owns or holds moves in neither direction."""
    for load, growth in ((0.05, 1.0), (0.97, 2.0)):
        seen = with_pool(snapshot(RULES, load), 0, conditions=frozenset({condition}))
        ahead = forecasts(RULES, load, growth=growth)
        memory = decide(RULES, seen, ahead).memory
        spare = tuple(replace(entry, surplus_since=NOW - timedelta(hours=2)) for entry in memory.pools)
        made = decide(RULES, seen, ahead, replace(memory, pools=spare))
        assert all(action.pool != "r0-h" for action in pool_actions(made))


def test_growth_stops_at_largest_step_size_and_rate() -> None:
    """A decision adds no more than a pool's step, its largest size and the hour's rate allow."""
    rules = policy(
        pools=(pool_spec("r0-h", "r0", max_nodes=5), pool_spec("r1-h", "r1", max_step_nodes=3)),
        limits=replace(RULES.limits, max_nodes_per_hour=3),
    )
    made = decide(rules, _hot(rules), forecasts(rules, 0.97, growth=4.0))
    sizes = {action.pool: action.to_nodes - action.from_nodes for action in pool_actions(made)}
    assert sizes.get("r0-h", 0) <= 1
    assert sum(sizes.values()) == 3
    spent = plan(_hot(rules), forecasts(rules, 0.97, growth=4.0), rules, made.memory, NOW + timedelta(minutes=30))
    assert not pool_actions(spent), "the rate of the hour is spent"


def test_budget_bounds_growth() -> None:
    """Nodes that the hourly cost does not allow are not ordered."""
    rules = policy(limits=replace(RULES.limits, max_cost_per_hour=95.0))
    made = decide(rules, _hot(rules), forecasts(rules, 0.97, growth=4.0))
    assert sum(action.to_nodes - action.from_nodes for action in pool_actions(made)) == 1


def test_cooler_pool_grows_first() -> None:
    """Nodes go to the pool whose GPUs would settle cooler."""
    rules = policy(1, pools=(pool_spec("warm", "r0"), pool_spec("cool", "r0")))
    seen = snapshot(rules, 0.9)
    warm = pool_state("warm", "r0", 0.9, as_of=NOW, response=thermal(0.9, offset_celsius=44.0))
    seen = replace(seen, pools=(warm, seen.pools[1]))
    made = decide(rules, seen, forecasts(rules, 1.8, growth=1.5))
    sizes = {action.pool: action.to_nodes - action.from_nodes for action in pool_actions(made)}
    assert sizes["cool"] == 2
    assert sizes.get("warm", 0) < 2


def test_restore_goes_one_position_and_waits_for_its_dwell() -> None:
    """A calm region leaves its limits one position at a time, each after its dwell."""
    made = decide(RULES, CALM, AHEAD, limited(RULES, 8))
    assert made.regions[0].step_index == 7
    soon = NOW + timedelta(seconds=RULES.ladder.steps[7].min_dwell_seconds - 1.0)
    held = plan(snapshot(RULES, now=soon), forecasts(RULES, now=soon), RULES, made.memory, soon)
    assert held.regions[0].step_index == 7
    due = NOW + timedelta(seconds=RULES.ladder.steps[7].min_dwell_seconds)
    free = plan(snapshot(RULES, now=due), forecasts(RULES, now=due), RULES, held.memory, due)
    assert free.regions[0].step_index == 6


def test_restore_asks_the_counterfactual() -> None:
    """A limit that keeps the fleet cool is not lifted while the demand behind it would heat the fleet again."""
    memory = limited(RULES, 13)
    withheld = forecasts(RULES, 3.0)
    made = decide(RULES, snapshot(RULES, 0.4), withheld, memory)
    assert all(verdict.step_index == 13 for verdict in made.regions)
    assert all(verdict.why.code in ("held", "limit_needed") for verdict in made.regions)


def test_flap_budget_holds_restores_back_but_no_escalation() -> None:
    """With the hour's rungs spent no rung is left, steps within a rung still ramp, and limits still tighten."""
    first = RULES.ladder.first_of(Rung.LOWER_FREE_QUOTA)
    for position, stays in ((first, first), (first + 1, first)):
        memory = limited(RULES, position)
        spent = replace(memory, regions=tuple(replace(r, relaxations=(NOW,) * 4) for r in memory.regions))
        made = decide(RULES, CALM, AHEAD, spent)
        assert made.regions[0].step_index == stays
        assert made.memory.regions[0].relaxations == (NOW,) * 4
        assert decide(RULES, _hot(RULES), forecasts(RULES, 3.0), spent).regions[0].step_index > position


def test_each_rung_left_makes_the_next_wait_longer() -> None:
    """A region that has left a rung within the hour stays twice as long before it leaves another."""
    first = RULES.ladder.first_of(Rung.LOWER_FREE_QUOTA)
    dwell = timedelta(seconds=RULES.ladder.steps[first].min_dwell_seconds)
    for factor, index in ((1.5, first), (2.0, first - 1)):
        memory = limited(RULES, first, since=NOW - factor * dwell)
        left = tuple(replace(r, relaxations=(NOW - timedelta(minutes=9),)) for r in memory.regions)
        assert decide(RULES, CALM, AHEAD, replace(memory, regions=left)).regions[0].step_index == index


def test_only_so_many_regions_are_disabled() -> None:
    """Of two regions in equal need only one may lose its free tier."""
    rules = policy(ladder=_with_disable_only())
    made = decide(rules, _hot(rules, 1.0, 48.0), forecasts(rules, 2.0))
    rungs = sorted(verdict.rung for verdict in made.regions)
    assert rungs.count(Rung.DISABLE_FREE) == 1
    assert any(bound.name == "max_regions_disabled" for bound in made.constraints)


def _with_disable_only() -> Ladder:
    steps = default_ladder(TARGET_CELSIUS).steps
    return Ladder(steps=tuple(step for step in steps if step.rung in (Rung.OBSERVE, Rung.DISABLE_FREE)))


def test_blast_radius_bounds_limited_demand() -> None:
    """Positions that would limit more of the fleet's demand than allowed are barred, milder ones are not."""
    rules = policy(limits=replace(RULES.limits, max_shaped_demand_ratio=0.5))
    made = decide(rules, _hot(rules, 1.0, 48.0), forecasts(rules, 2.0))
    wide = decide(RULES, _hot(RULES, 1.0, 48.0), forecasts(RULES, 2.0))
    assert sum(v.step_index for v in made.regions) < sum(v.step_index for v in wide.regions)
    assert any(v.step_index > 0 for v in made.regions)
    assert any(bound.name == "max_shaped_demand_ratio" for bound in made.constraints)


def test_paid_is_never_limited_without_approval() -> None:
    """The rung that touches paid requests is entered neither from heat nor from shortage alone."""
    made = decide(RULES, _hot(RULES, 1.0, 55.0), forecasts(RULES, 3.0))
    assert all(verdict.rung < Rung.PAID_IMPACT for verdict in made.regions)
    assert all(flag.tier != "paid" for flag in made.flags or ())


def test_approval_opens_rung_seven_and_its_end_closes_it() -> None:
    """With a person's leave rung 7 may be taken; when it ends the region goes to rung 6 at once, dwell or not."""
    leave = ApprovalGrant(region="r0", rung=Rung.PAID_IMPACT, approved_by="ada", expires_at=LATER)
    melting, ahead = replace(_hot(RULES, 1.0, 55.0), approvals=(leave,)), forecasts(RULES, 3.0)
    made = decide(RULES, melting, ahead)
    assert made.regions[0].rung is Rung.PAID_IMPACT
    assert made.regions[1].rung < Rung.PAID_IMPACT
    assert any(flag.tier == "paid" and flag.region == "r0" for flag in made.flags or ())
    ended = plan(replace(melting, approvals=()), ahead, RULES, made.memory, NOW + timedelta(seconds=10))
    assert ended.regions[0].step_index == DISABLED
    assert not any(flag.tier == "paid" for flag in ended.flags or ())
    assert ended.regions[0].why.code == "ended"


def test_rung_seven_without_leave_is_left_even_when_blind() -> None:
    """A paid limit without approval ends although the inputs are absent: a person's word outranks caution."""
    blind = replace(CALM, regions=(), pools=())
    made = decide(RULES, blind, AHEAD, limited(RULES, LAST))
    assert all(verdict.step_index == DISABLED for verdict in made.regions)


def test_rung_seven_counts_as_a_disabled_region() -> None:
    """A region whose paid requests are limited uses the place of a disabled region."""
    rules = policy(ladder=replace(RULES.ladder, steps=(*_with_disable_only().steps, RULES.ladder.steps[-1])))
    leave = ApprovalGrant(region="r1", rung=Rung.PAID_IMPACT, approved_by="ada", expires_at=LATER)
    memory = limited(rules, 0)
    memory = replace(memory, regions=(memory.regions[0], replace(memory.regions[1], step_index=2)))
    seen = replace(_hot(rules, 1.0, 55.0), approvals=(leave,))
    made = decide(rules, seen, forecasts(rules, 3.0), memory)
    assert made.regions[1].rung is Rung.PAID_IMPACT
    assert made.regions[0].rung < Rung.DISABLE_FREE


def test_person_sets_and_lifts_a_rung_by_hand() -> None:
    """An override holds in both directions until it ends, and the plan names who and why."""
    order = RungOverride(
        region="r0", rung=Rung.SHED, set_by="ada", reason="drill", expires_at=NOW + timedelta(minutes=30)
    )
    made = decide(RULES, replace(CALM, overrides=(order,)), AHEAD)
    assert made.regions[0].rung is Rung.SHED
    assert "ada" in made.regions[0].why.text and "drill" in made.regions[0].why.text
    assert made.regions[1].rung is Rung.OBSERVE
    lift = replace(order, rung=Rung.OBSERVE)
    lifted = decide(RULES, replace(_hot(RULES), overrides=(lift,)), forecasts(RULES, 2.0), limited(RULES, 8))
    assert lifted.regions[0].step_index == 0
    over = decide(RULES, replace(CALM, overrides=(replace(order, expires_at=NOW),)), AHEAD)
    assert over.regions[0].rung is Rung.OBSERVE


def test_breaker_stops_escalation_until_a_person_closes_it() -> None:
    """Too many escalations within ten minutes open the breaker; nothing tightens until it is reset."""
    rules = policy(limits=replace(RULES.limits, max_escalations_per_ten_minutes=1))
    memory = limited(rules, 3)
    memory = replace(memory, regions=tuple(replace(r, escalations=(NOW,)) for r in memory.regions))
    hot, ahead = _hot(rules), forecasts(rules, 1.5)
    tripped = decide(rules, hot, ahead, memory)
    assert tripped.memory.region("r0").breaker_open
    index = tripped.regions[0].step_index
    worse = _hot(rules, 1.0, 55.0)
    held = plan(worse, forecasts(rules, 3.0), rules, tripped.memory, NOW + timedelta(seconds=10))
    assert held.regions[0].step_index == index
    closed = replace(worse, breaker_resets=frozenset({"r0"}))
    after = plan(closed, forecasts(rules, 3.0), rules, held.memory, NOW + timedelta(seconds=20))
    assert after.regions[0].step_index > index


def test_limit_on_old_inputs_ends_in_stages_after_its_longest_stay() -> None:
    """A limit is renewed on old inputs until its longest stay; then it goes one position a dwell, and pages."""
    steps = tuple(replace(step, max_duration_seconds=1800.0) for step in RULES.ladder.steps)
    rules = policy(ladder=Ladder(steps=steps))
    blind = with_pool(with_pool(CALM, 0, margin=Sample.absent()), 1, margin=Sample.absent())
    young = decide(rules, blind, AHEAD, limited(rules, 8, since=NOW - timedelta(minutes=29)))
    assert young.regions[0].step_index == 8
    old = decide(rules, blind, AHEAD, limited(rules, 8, since=NOW - timedelta(minutes=31)))
    assert old.regions[0].step_index == 7
    assert any(bound.name == "max_duration" for bound in old.constraints)
    again = plan(blind, AHEAD, rules, old.memory, NOW + timedelta(seconds=10))
    assert again.regions[0].step_index == 7


def test_every_limit_expires_and_carries_its_inverse() -> None:
    """Each limit names its end, its reason and what undoes it; each return to normal needs no end."""
    made = decide(RULES, _hot(RULES), forecasts(RULES, 1.5))
    limits = [action for action in made.actions if isinstance(action, FlagAction)]
    assert limits
    assert all(action.expires_at == NOW + timedelta(seconds=RULES.flag_ttl_seconds) for action in limits)
    assert all(action.why.text and action.inverse == action.from_value for action in limits)


def test_limits_are_renewed_before_they_expire_and_not_each_time() -> None:
    """A limit with most of its time left is not written again; one with less than half of it is."""
    first_limit = RULES.ladder.first_of(Rung.LOWER_FREE_QUOTA)
    memory = limited(RULES, first_limit, since=NOW)
    first = decide(RULES, CALM, AHEAD, memory)
    held = replace(CALM, flags=first.flags or ())
    soon = NOW + timedelta(seconds=RULES.flag_ttl_seconds * 0.3)
    assert plan(held, AHEAD, RULES, first.memory, soon).flags is None
    late = NOW + timedelta(seconds=RULES.flag_ttl_seconds * 0.6)
    renewed = plan(held, AHEAD, RULES, first.memory, late)
    assert renewed.flags is not None
    assert {action.why.code for action in renewed.actions if isinstance(action, FlagAction)} == {"renewed"}
    assert renewed.memory.flag_revision == first.memory.flag_revision + 1


def test_scale_in_waits_for_a_lasting_surplus_and_stops_at_the_smallest_size() -> None:
    """Nodes go back one at a time, each after its own surplus, and never below the smallest size."""
    idle, ahead = snapshot(RULES, 0.02), forecasts(RULES, 0.02)
    memory, now, size = PlanMemory(), NOW, 4
    sizes = []
    for _ in range(80):
        seen = snapshot(RULES, 0.02, now=now)
        counts = replace(idle.pools[0].nodes.value, desired=size, created=size, ready=size, serving=size)
        seen = with_pool(with_pool(seen, 0, nodes=Sample.fresh(counts, now)), 1, nodes=Sample.fresh(counts, now))
        made = plan(seen, replace(ahead, demand=forecasts(RULES, 0.02, now=now).demand), RULES, memory, now)
        shrunk = [action for action in pool_actions(made) if action.pool == "r0-h"]
        if shrunk:
            assert shrunk[0].to_nodes == size - 1
            size -= 1
            sizes.append((now - NOW).total_seconds())
        memory, now = made.memory, now + timedelta(seconds=60)
    assert size == RULES.pools[0].min_nodes
    assert sizes[0] >= SURPLUS_SECONDS and sizes[1] - sizes[0] >= SURPLUS_SECONDS


def test_manual_positions_are_not_entered_automatically() -> None:
    """A ladder whose every limit asks for a person limits nobody by itself."""
    steps = tuple(
        replace(step, approval=Approval.MANUAL) if step.rung >= Rung.SHAPE_QUIETLY else step
        for step in RULES.ladder.steps
    )
    rules = policy(ladder=Ladder(steps=steps))
    made = decide(rules, _hot(rules, 1.0, 55.0), forecasts(rules, 3.0))
    assert all(verdict.step_index == 0 for verdict in made.regions)


def test_more_nodes_are_ordered_for_more_demand_even_when_they_cannot_meet_it_all() -> None:
    """Demand beyond any order still gets the nodes that can be had: each serves requests that would be lost."""
    made = decide(RULES, snapshot(RULES, 0.9), forecasts(RULES, 0.9, growth=5.0))
    assert [action.to_nodes for action in pool_actions(made)] == [6, 6]


def test_restore_waits_while_the_next_minutes_would_run_short() -> None:
    """A cool region keeps its limit when the demand of the next minutes would overflow the queue without it."""
    cool = tuple(
        pool_state(spec.name, spec.region, 0.4, as_of=NOW, response=thermal(0.4, offset_celsius=20.0))
        for spec in RULES.pools
    )
    seen = replace(CALM, pools=cool)
    grown = forecasts(RULES, 1.2)
    first_limit = RULES.ladder.first_of(Rung.SHAPE_QUIETLY)
    assert decide(RULES, seen, AHEAD, limited(RULES, first_limit)).regions[0].step_index == 0
    held = decide(RULES, seen, grown, limited(RULES, first_limit))
    assert held.regions[0].step_index == first_limit
    assert held.regions[0].why.code in ("held", "limit_needed")


def test_growth_of_more_than_an_hour_ago_is_forgotten() -> None:
    """The rate counts the last hour only."""
    hot, ahead = _hot(RULES), forecasts(RULES, 0.97)
    for minutes, grows in ((61, True), (59, False)):
        memory = PlanMemory(added_nodes=((NOW - timedelta(minutes=minutes), 6),))
        assert bool(pool_actions(decide(RULES, hot, ahead, memory))) is grows


def test_region_that_goes_to_rung_seven_takes_the_place_of_a_disabled_one_at_once() -> None:
    """Within one decision the region decided first uses up the place, even on rung 7."""
    rules = policy(ladder=replace(RULES.ladder, steps=(*_with_disable_only().steps, RULES.ladder.steps[-1])))
    leave = ApprovalGrant(region="r0", rung=Rung.PAID_IMPACT, approved_by="ada", expires_at=LATER)
    made = decide(rules, replace(_hot(rules, 1.0, 55.0), approvals=(leave,)), forecasts(rules, 3.0))
    assert made.regions[0].rung is Rung.PAID_IMPACT
    assert made.regions[1].rung < Rung.DISABLE_FREE
