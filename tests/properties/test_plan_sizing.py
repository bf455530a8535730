"""Node counts: the bounded search against every combination there is, and the laws of their price."""

from dataclasses import replace
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from controller.planning.demand import region_demand
from controller.planning.heat import heat_bank
from controller.planning.nodes import PoolView, extra_nodes
from controller.planning.region import ORDER_RELUCTANCE, nodes_that_pay, possible_spreads
from controller.planning.search import RegionProblem, region_ground
from controller.planning.sizing import RegionSizing
from controller.types import PoolMemory, RegionMemory
from forecasting.types import FloatArray
from tests.planning_samples import NOW, forecasts, policy, pool_spec, pool_state, snapshot, thermal

NUM_STEPS = 30
loads, growths, prices = st.floats(0.2, 2.0), st.floats(0.3, 5.0), st.floats(1.0, 40.0)


@st.composite
def problems(draw: st.DrawFn, *, equal_prices: bool) -> RegionProblem:
    """A region of two pools that may each grow by up to three nodes."""
    first = draw(prices)
    costs = (first, first if equal_prices else draw(prices))
    specs = tuple(
        pool_spec(f"p{index}", "r0", max_step_nodes=3, cost_per_node_hour=cost) for index, cost in enumerate(costs)
    )
    rules = policy(1, pools=specs)
    load, growth = draw(loads), draw(growths)
    views = []
    for spec in specs:
        response = thermal(min(load, 1.0), offset_celsius=draw(st.floats(25.0, 48.0)))
        state = pool_state(spec.name, "r0", min(load, 1.0), as_of=NOW, response=response)
        views.append(PoolView(spec=spec, state=state, memory=PoolMemory(pool=spec.name)))
    ahead = forecasts(rules, 2.0 * load, growth=growth)
    return RegionProblem(
        name="r0",
        policy=rules,
        demand=region_demand(snapshot(rules).regions[0], ahead, rules, NUM_STEPS, NOW),
        backlog_requests=0.0,
        pools=tuple(views),
        memory=RegionMemory(region="r0"),
        now=NOW,
        fresh=True,
        nodes_allowed=6,
        may_disable=True,
    )


def _price(problem: RegionProblem, spreads: tuple[tuple[int, ...], ...]) -> FloatArray:
    """What each combination costs, its reluctance and what is refused with it."""
    sizing = RegionSizing(problem, region_ground(problem))
    extra = extra_nodes(problem.pools, spreads, num_steps=NUM_STEPS, step_seconds=problem.policy.step_seconds)
    return (1.0 + ORDER_RELUCTANCE) * sizing.cost(extra) + sizing.refused_harm(extra)


EVERY = tuple(product(range(4), range(4)))


@given(problems(equal_prices=True))
def test_search_is_exact_where_nodes_cost_the_same(problem: RegionProblem) -> None:
    """With pools of one price and lead time no combination of node counts is better than the one that is chosen."""
    chosen = nodes_that_pay(problem, possible_spreads(problem, (3, 3)), region_ground(problem))
    assert _price(problem, (chosen,))[0] <= _price(problem, EVERY).min() + 1e-6


@given(problems(equal_prices=False))
def test_search_loses_at_most_the_difference_in_price(problem: RegionProblem) -> None:
    """Cooler pools come first, not cheaper ones: that costs at most the nodes times what they differ in price."""
    chosen = nodes_that_pay(problem, possible_spreads(problem, (3, 3)), region_ground(problem))
    differ = abs(problem.pools[0].spec.cost_per_node_hour - problem.pools[1].spec.cost_per_node_hour)
    hours = NUM_STEPS * problem.policy.step_seconds / 3600.0
    bound = (1.0 + ORDER_RELUCTANCE) * 6 * differ * hours
    assert _price(problem, (chosen,))[0] <= _price(problem, EVERY).min() + bound + 1e-6


@given(problems(equal_prices=False), st.floats(1.0, 3.0))
def test_more_demand_and_fewer_nodes_never_refuse_less(problem: RegionProblem, factor: float) -> None:
    """What must be refused grows with the demand and falls with the nodes."""
    extra = extra_nodes(problem.pools, ((0, 0), (1, 0), (1, 2)), num_steps=NUM_STEPS, step_seconds=60.0)
    refused = RegionSizing(problem, region_ground(problem)).refused_harm(extra)
    assert (np.diff(refused) <= 1e-9).all()
    grown = replace(problem, demand=replace(problem.demand, scenarios=problem.demand.scenarios * factor))
    assert (RegionSizing(grown, region_ground(grown)).refused_harm(extra) >= refused - 1e-9).all()


@given(st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12), st.floats(25.0, 60.0), st.floats(0.0, 12.0))
def test_bearable_load_keeps_the_margin_and_cuts_no_more_than_it_must(
    wish: list[float], offset: float, margin: float
) -> None:
    """Each step is the whole wish, or ends exactly at the margin, or is nothing at all."""
    bank = heat_bank((thermal(0.5, offset_celsius=offset),), num_steps=12, step_seconds=60.0)
    assert bank is not None
    wished = np.array([wish])
    borne = bank.bearable_load(wished, margin_celsius=margin)
    left = bank.margin_celsius(borne)
    assert (borne <= wished + 1e-12).all()
    for step in range(12):
        whole, none = abs(borne[0, step] - wish[step]) < 1e-9, borne[0, step] == 0.0
        assert left[0, step] >= margin - 1e-6 or none
        assert whole or none or abs(left[0, step] - margin) < 1e-6
