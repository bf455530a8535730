"""The laws of the planner, over fleets, forecasts and memories that nobody thought of."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.planning import plan
from controller.types import (
    FlagAction,
    FleetSnapshot,
    ForecastSet,
    PausedDirection,
    Plan,
    PlanMemory,
    Policy,
    PoolCondition,
    Rung,
    Sample,
)
from tests.planning_samples import (
    NOW,
    decide,
    forecasts,
    limited,
    policy,
    pool_actions,
    pool_spec,
    pool_state,
    snapshot,
    thermal,
)

POSITIONS = len(policy().ladder.steps)
loads = st.floats(0.0, 1.0)
growths = st.floats(0.2, 8.0)
offsets = st.floats(30.0, 56.0)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Two regions with random bounds and pauses."""
    pools = tuple(
        pool_spec(
            f"r{index}-h",
            f"r{index}",
            min_nodes=draw(st.integers(1, 4)),
            max_nodes=draw(st.integers(4, 9)),
            max_step_nodes=draw(st.integers(1, 4)),
            paused=draw(st.sampled_from(PausedDirection)),
        )
        for index in range(2)
    )
    limits = replace(
        policy().limits,
        max_nodes_per_hour=draw(st.integers(0, 8)),
        max_cost_per_hour=draw(st.sampled_from([80.0, 100.0, 1e6])),
        max_regions_disabled=draw(st.integers(0, 2)),
        max_shaped_demand_ratio=draw(st.floats(0.0, 1.0)),
        flap_budget_per_hour=draw(st.integers(0, 5)),
    )
    return policy(pools=pools, limits=limits)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Policy, FleetSnapshot, ForecastSet, PlanMemory]:
    """A fleet, a forecast, a policy and a memory, fresh or not."""
    rules = draw(policies())
    load = draw(loads)
    seen = snapshot(rules, load)
    pools = []
    for spec in rules.pools:
        response = thermal(load, offset_celsius=draw(offsets))
        conditions = frozenset(draw(st.sets(st.sampled_from(PoolCondition), max_size=1)))
        pool = pool_state(spec.name, spec.region, load, as_of=NOW, response=response, conditions=conditions)
        age = timedelta(seconds=draw(st.sampled_from([0, 0, 0, 30, 600])))
        if draw(st.integers(0, 5)) == 0:
            pool = replace(pool, margin=Sample.absent())
        elif pool.margin.value is not None:
            pool = replace(pool, margin=Sample.fresh(pool.margin.value, NOW - age))
        pools.append(pool)
    ahead = forecasts(rules, load, growth=draw(growths), now=NOW - timedelta(seconds=draw(st.sampled_from([0, 60]))))
    memory = PlanMemory()
    if draw(st.booleans()):
        memory = limited(rules, 0)
        memory = replace(
            memory,
            regions=tuple(
                replace(
                    entry,
                    step_index=draw(st.integers(0, POSITIONS - 1)),
                    since=NOW - timedelta(seconds=draw(st.integers(0, 4000))),
                    relaxations=(NOW - timedelta(minutes=5),) * draw(st.integers(0, 5)),
                )
                for entry in memory.regions
            ),
        )
    return rules, replace(seen, pools=tuple(pools)), ahead, memory


Situation = tuple[Policy, FleetSnapshot, ForecastSet, PlanMemory]


def _made(case: Situation) -> Plan:
    rules, seen, ahead, memory = case
    return plan(seen, ahead, rules, memory, NOW)


def _at_the_start(case: Situation, region: str) -> int:
    return case[3].region(region).step_index


@given(situations())
def test_equal_arguments_give_equal_plans(case: Situation) -> None:
    """The planner is a function: asked twice it answers the same, and leaves its arguments as they were."""
    before = repr(case[:2]) + repr(case[3])
    assert _made(case) == _made(case)
    assert repr(case[:2]) + repr(case[3]) == before


@given(situations())
def test_order_of_the_snapshot_does_not_matter(case: Situation) -> None:
    """A snapshot that lists regions, tiers and pools the other way round leads to the same actions."""
    rules, seen, ahead, memory = case
    regions = tuple(replace(region, tiers=region.tiers[::-1]) for region in seen.regions[::-1])
    turned = replace(seen, regions=regions, pools=seen.pools[::-1])
    assert plan(turned, ahead, rules, memory, NOW).actions == _made(case).actions


@given(situations())
def test_pools_keep_their_bounds_steps_budget_and_pauses(case: Situation) -> None:
    """No decision leaves a pool's bounds, its step, the hour's rate or the budget, or moves it against a pause."""
    rules, made = case[0], _made(case)
    specs = {spec.name: spec for spec in rules.pools}
    conditions = {state.name: state.conditions for state in case[1].pools}
    added = cost = 0.0
    for action in pool_actions(made):
        spec = specs[action.pool]
        change = action.to_nodes - action.from_nodes
        assert change != 0 and abs(change) <= spec.max_step_nodes
        assert action.to_nodes <= spec.max_nodes if change > 0 else action.to_nodes >= spec.min_nodes
        blocked = {
            PausedDirection.NONE: (),
            PausedDirection.SCALE_OUT: (1,),
            PausedDirection.SCALE_IN: (-1,),
            PausedDirection.ALL: (1, -1),
        }[spec.paused]
        assert (1 if change > 0 else -1) not in blocked
        assert PoolCondition.FOREIGN_OWNER not in conditions[action.pool]
        added += max(change, 0)
        cost += change * spec.cost_per_node_hour
    assert added <= rules.limits.max_nodes_per_hour
    assert added == 0 or 80.0 + cost <= rules.limits.max_cost_per_hour


@given(situations())
def test_restores_are_single_fresh_and_within_budget(case: Situation) -> None:
    """A region becomes milder by one position, after its dwell, on fresh inputs; rungs within its flap budget."""
    rules, made, memory = case[0], _made(case), case[3]
    age = {entry.name: entry.freshness.value for entry in made.inputs}
    for verdict in made.regions:
        before = _at_the_start(case, verdict.region)
        step = rules.ladder.steps[before]
        if verdict.step_index >= before or step.rung is Rung.PAID_IMPACT:
            continue
        entry = memory.region(verdict.region)
        skipped = range(verdict.step_index + 1, before)
        assert all(rules.ladder.steps[index].rung < Rung.SHAPE_QUIETLY for index in skipped)
        assert entry.since is None or (NOW - entry.since).total_seconds() >= step.min_dwell_seconds
        leaves = rules.ladder.steps[verdict.step_index].rung < step.rung
        assert not leaves or len(entry.relaxations) < rules.limits.flap_budget_per_hour
        assert age[f"{verdict.region}-h/margin"] == "fresh"


@given(situations())
def test_blast_radius_holds_for_every_escalation(case: Situation) -> None:
    """No more regions are disabled than allowed, but for those that were; paid requests are never limited."""
    rules, made = case[0], _made(case)
    disabled = {v.region for v in made.regions if v.rung >= Rung.DISABLE_FREE}
    before = {
        region.name
        for region in rules.regions
        if rules.ladder.steps[_at_the_start(case, region.name)].rung >= Rung.DISABLE_FREE
    }
    assert len(disabled) <= max(rules.limits.max_regions_disabled, len(before))
    assert all(verdict.rung < Rung.PAID_IMPACT for verdict in made.regions)
    assert all(flag.tier != "paid" for flag in made.flags or ())


@given(situations())
def test_every_action_explains_and_inverts_itself(case: Situation) -> None:
    """Each action has a reason with text and an inverse that changes something; only a return to normal has no end."""
    made = _made(case)
    assert made.decision_id
    for action in made.actions:
        assert action.why.code and action.why.text
        if isinstance(action, FlagAction):
            assert action.from_value != action.to_value or action.why.code == "renewed"
            assert action.expires_at is not None or action.inverse == action.from_value
            assert action.inverse != action.to_value
    revisions = {flag.revision for flag in made.flags or ()}
    assert revisions <= {made.memory.flag_revision}
    assert all(flag.expires_at > NOW for flag in made.flags or ())


@given(loads, growths, growths, offsets)
def test_more_demand_never_leads_to_a_smaller_answer(load: float, low: float, high: float, offset: float) -> None:
    """Against a lower forecast of the same fleet a higher one promises no more margin and less answer in nothing."""
    rules = policy(1)
    low, high = sorted((low, high))
    response = thermal(load, offset_celsius=offset)
    seen = replace(snapshot(rules, load), pools=(pool_state("r0-h", "r0", load, as_of=NOW, response=response),))
    mild = decide(rules, seen, forecasts(rules, load, growth=low))
    wild = decide(rules, seen, forecasts(rules, load, growth=high))
    margins = [made.regions[0].predicted_unmitigated_margin_celsius for made in (mild, wild)]
    assert margins[0] is not None and margins[1] is not None and margins[1] <= margins[0] + 1e-9
    nodes = [sum(action.to_nodes - action.from_nodes for action in pool_actions(made)) for made in (mild, wild)]
    assert nodes[1] >= nodes[0] or wild.regions[0].step_index > mild.regions[0].step_index


# Each example is three hours of decisions, about half a second.
@settings(max_examples=max(6, settings.default.max_examples // 5))
@given(st.integers(0, POSITIONS - 1), st.floats(0.05, 0.45))
def test_calm_fleet_comes_to_rest_in_bounded_time(position: int, load: float) -> None:
    """Whatever limits stood, a fleet whose faults have cleared is at rest within three hours and stays there."""
    rules = policy(1, pools=(pool_spec("r0-h", "r0", min_nodes=4),))
    memory, now, flags = limited(rules, position), NOW, ()
    for _ in range(180):
        seen = replace(snapshot(rules, load, now=now), flags=flags)
        made = plan(seen, forecasts(rules, load, now=now), rules, memory, now)
        flags = flags if made.flags is None else made.flags
        memory, now = made.memory, now + timedelta(seconds=60)
    assert made.regions[0].rung is Rung.OBSERVE
    assert made.actions == ()
