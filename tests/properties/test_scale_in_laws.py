"""What we give back is never what calls the ladder."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import event, given
from hypothesis import strategies as st

from controller.planning import plan
from controller.planning.nodes import DRIFT_WINDOW_SECONDS
from controller.planning.scale_in import SURPLUS_SECONDS
from controller.types import NodeCounts, PlanMemory, PoolMemory, Sample
from tests.planning_samples import NODES, NOW, forecasts, policy, pool_actions, pool_state, snapshot, thermal

RULES = policy(num_regions=1)
LASTING = PlanMemory(pools=(PoolMemory(pool="r0-h", surplus_since=NOW - timedelta(seconds=SURPLUS_SECONDS)),))


@given(
    load=st.floats(0.0, 0.8),
    growth=st.floats(0.3, 1.6),
    offset_celsius=st.floats(30.0, 52.0),
    drift=st.floats(0.0, 0.1),
    seconds=st.integers(10, int(DRIFT_WINDOW_SECONDS) - 1),
)
def test_giving_a_node_back_never_calls_for_a_limit(
    load: float, growth: float, offset_celsius: float, drift: float, seconds: int
) -> None:
    """Where a node goes back, the others take its load and settle, and the same forecast then limits nobody.

    Nor does the drift that observers see while the others warm up under that load.
    """
    ahead = forecasts(RULES, load, growth=growth)
    seen = snapshot(RULES, load)
    pool = pool_state("r0-h", "r0", load, as_of=NOW, response=thermal(load, offset_celsius=offset_celsius))
    made = plan(replace(seen, pools=(pool,)), ahead, RULES, LASTING, NOW)
    shrunk = [action for action in pool_actions(made) if action.to_nodes < NODES]
    event(f"gives back: {bool(shrunk)}")
    if not shrunk:
        return
    later = NOW + timedelta(seconds=seconds)
    left = NODES - 1
    counts = NodeCounts(desired=left, created=left, ready=left, serving=left, pending=0)
    heavier = min(load * NODES / left, 1.0)
    response = replace(thermal(heavier, offset_celsius=offset_celsius), offset_trend_celsius_per_second=drift)
    warmer = pool_state("r0-h", "r0", heavier, as_of=later, response=response, nodes=Sample.fresh(counts, later))
    again = plan(replace(snapshot(RULES, load, now=later), pools=(warmer,)), ahead, RULES, made.memory, later)
    assert again.regions[0].step_index == 0, again.regions[0].why.text
    assert again.flags is None
