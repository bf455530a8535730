"""What goes wrong in a scenario: each event does what it says, where it says, while it lasts."""

import numpy as np
import pytest

from controller.errors import UsageError
from controller.simulator.clairvoyant import OracleController
from controller.simulator.closed_loop import run_harm, run_policy
from controller.simulator.demand_feed import DemandFeed
from controller.simulator.observer import Observer
from controller.simulator.policies import CONTROLLERS
from controller.simulator.world import World
from controller.types import Freshness, PoolCondition
from tests.simulator_samples import small_scenario


def _event(kind: str, **changes: object) -> dict[str, object]:
    return {"kind": kind, "at_seconds": 0, "duration_seconds": 400, "region": "north", **changes}


def _world(*events: dict[str, object], seconds: float = 0.0, **changes: object) -> World:
    world = World(small_scenario(events=list(events), **changes), seed=0)
    while world.seconds < seconds:
        world.step()
    return world


def test_cooling_failure_heats_its_site_and_no_other() -> None:
    """With the cooling gone the site's inlet rises; the other site's does not."""
    world = _world(_event("cooling-failure", extent=1.0), seconds=300.0)
    usual = _world(seconds=300.0)
    assert world.fleet.inlet_celsius[0] > usual.fleet.inlet_celsius[0] + 0.5
    assert world.fleet.inlet_celsius[1] == usual.fleet.inlet_celsius[1]


def test_failure_ramps_up_and_ends() -> None:
    """An event with a ramp has half its extent halfway up, all of it after, and none once it is over."""
    world = _world(_event("cooling-failure", extent=0.8, ramp_seconds=200))
    ratios = [world.misfortunes.cooling_ratio(seconds)[0] for seconds in (-1.0, 100.0, 300.0, 400.0)]
    assert ratios == pytest.approx([1.0, 0.6, 0.2, 1.0])


@pytest.mark.parametrize(("kind", "extent"), [("failed-fan", 2.0), ("hot-aisle", 15.0)])
def test_trouble_of_one_node_heats_that_node(kind: str, extent: float) -> None:
    """Only the named node runs hotter than in a world without the event."""
    world = _world(_event(kind, nodes=[1], extent=extent), seconds=380.0)
    usual = _world(seconds=380.0)
    warmer = world.fleet.die_celsius - usual.fleet.die_celsius
    mine = world.fleet.node_of_gpu == 1
    assert warmer[mine].min() > 2.0
    assert np.abs(warmer[~mine]).max() < 1.0


def test_stock_out_refuses_orders_and_holds_back_what_is_due() -> None:
    """While the cloud has no nodes an order changes nothing, and one placed before arrives only afterwards."""
    world = _world(_event("stock-out", at_seconds=100, duration_seconds=900))
    world.apply_nodes("north-h", 3)
    while world.seconds < 900.0:
        world.step()
    assert (world.cloud.num_serving(0), world.cloud.num_pending(0)) == (2, 1)
    assert PoolCondition.STOCK_OUT in Observer(world, with_models=False)._conditions(0)
    while world.seconds < 1100.0:
        world.step()
    assert world.cloud.num_serving(0) == 3
    refused = _world(_event("stock-out"), seconds=60.0)
    refused.apply_nodes("north-h", 3)
    assert refused.cloud.num_pending(0) == 0


def test_quota_bounds_a_pool_and_shows() -> None:
    """A pool at its quota does not grow and says why."""
    world = _world(_event("quota", extent=2), seconds=60.0)
    world.apply_nodes("north-h", 3)
    assert world.cloud.num_pending(0) == 0
    assert PoolCondition.QUOTA_EXCEEDED in Observer(world, with_models=False)._conditions(0)


def test_metrics_of_an_outage_age_and_come_back() -> None:
    """During an outage the last readings stay and age; node counts, which come from elsewhere, stay fresh."""
    world = _world(_event("metrics-outage", at_seconds=100, duration_seconds=200))
    observer = Observer(world, with_models=True)
    ages = {}
    while world.seconds < 400.0:
        observer.record(world.step())
        pool = observer.snapshot().pools[0]
        ages[world.seconds] = (pool.margin.age_seconds(world.now), pool.nodes.age_seconds(world.now))
    assert ages[100.0 - 20.0][0] <= 40.0
    assert ages[280.0][0] >= 180.0
    assert ages[280.0][1] == 0.0
    assert ages[380.0][0] <= 40.0
    dark = observer.snapshot().pools[0].margin
    assert dark.freshness is Freshness.FRESH, "the planner judges the age, not the sensor"


def test_counter_glitch_fools_the_counter_and_nobody_else() -> None:
    """Sign-ups are counted tenfold while users do what they always do."""
    scenario = small_scenario(events=[_event("counter-glitch", extent=10.0)])
    world, usual = World(scenario, seed=0), World(small_scenario(), seed=0)
    feed = DemandFeed(scenario, (), horizon_seconds=600.0)
    factors, dark = feed._counters(100.0)
    assert factors.tolist() == [10.0, 1.0]
    assert not dark.any()
    assert (world.step().signups == usual.step().signups).all()


@pytest.mark.parametrize(
    "event",
    [
        _event("rain"),
        _event("stock-out", region="nowhere"),
        _event("failed-fan"),
        _event("failed-fan", nodes=[99]),
        _event("cooling-failure", extent=1.5),
        _event("quota", extent=-1),
        _event("stock-out", duration_seconds=0),
    ],
)
def test_impossible_event_is_refused(event: dict[str, object]) -> None:
    """An event of no kind, nowhere, or beyond its bounds is refused in one line."""
    with pytest.raises(UsageError) as caught:
        small_scenario(events=[event])
    assert "events" in str(caught.value)


HALVES = ("capacity-only", "shaping-only")
HOT = {"events": [_event("cooling-failure", at_seconds=0, duration_seconds=1200, extent=0.9)]}
SURGE_LOAD = {"at_seconds": 0, "signups_per_hour": 150_000}


def _hot_scenario(*, local_guard: bool) -> object:
    users = {**small_document_users(), "wave": [SURGE_LOAD]}
    return small_scenario(**HOT, users=users, local_guard=local_guard, duration_seconds=2400)


def small_document_users() -> dict[str, object]:
    """Return the users of the small scenario as plain data."""
    from tests.simulator_samples import scenario_document

    return scenario_document()["users"]


def test_local_guard_keeps_unsteered_pods_below_slowdown() -> None:
    """In a heat that slows an unguarded fleet down, guarded pods work less and never reach the limit."""
    bare = run_policy(_hot_scenario(local_guard=False), policy="none", seed=0)  # type: ignore[arg-type]
    guarded = run_policy(_hot_scenario(local_guard=True), policy="none", seed=0)  # type: ignore[arg-type]
    assert bare.figures.throttled_gpu_seconds > 0.0
    assert guarded.figures.throttled_gpu_seconds == 0.0


def test_oracle_is_never_slowed_down_and_never_beaten() -> None:
    """The clairvoyant bound has no throttling, and no policy that has none either does less harm."""
    scenario = _hot_scenario(local_guard=False)
    runs = {name: run_policy(scenario, policy=name, seed=0) for name in ("oracle", "meltguard", "keda")}  # type: ignore[arg-type]
    bound = runs["oracle"]
    assert bound.figures.throttled_gpu_seconds == 0.0
    assert bound.figures.tiers["paid"].requests.limited <= bound.figures.tiers["free"].requests.limited
    for run in runs.values():
        if run.figures.throttled_gpu_seconds == 0.0:
            assert run_harm(run, scenario) >= run_harm(bound, scenario) - 1e-6  # type: ignore[arg-type]


# The halves of our planner differ from it by their policy alone; their runs cost as much as its own.
@pytest.mark.parametrize("policy", sorted(set(CONTROLLERS) - {"none", "reactive", "meltguard", *HALVES}))
def test_every_rival_runs_the_same_way_twice(policy: str) -> None:
    """Each rival is a function of scenario and seed, too."""
    scenario = small_scenario(duration_seconds=600)
    assert run_policy(scenario, policy=policy, seed=1) == run_policy(scenario, policy=policy, seed=1)


def test_oracle_needs_its_scenario_only() -> None:
    """The oracle is built like any other policy and looks ahead when it is attached."""
    assert OracleController(small_scenario()).uses_models is False
