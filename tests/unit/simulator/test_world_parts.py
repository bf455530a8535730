"""The parts of the simulated world: users, queues, cloud, flags, heat."""

from datetime import UTC, datetime

import numpy as np
import pytest

from controller.simulator.cloud import Cloud
from controller.simulator.flags import FlagStore, TierLimits
from controller.simulator.scenario import WavePoint
from controller.simulator.service import Service
from controller.simulator.users import quota_served_ratio, signup_rate_per_hour
from controller.simulator.world import World
from controller.types import FlagInForce, FlagValue
from tests.simulator_samples import scenario_document, small_scenario

START = datetime(2025, 3, 31, 15, tzinfo=UTC)


def _flag(key: str, value: FlagValue, tier: str | None = "free") -> FlagInForce:
    return FlagInForce(key=key, region="north", tier=tier, value=value, revision=1, expires_at=START)


def test_sign_up_wave_passes_its_corners_and_is_geometric_between() -> None:
    """At its corners the wave has the stated rates; halfway between two it has their geometric mean."""
    wave = (WavePoint(at_seconds=0, signups_per_hour=100), WavePoint(at_seconds=100, signups_per_hour=10_000))
    assert signup_rate_per_hour(wave, 0.0) == pytest.approx(100)
    assert signup_rate_per_hour(wave, 100.0) == pytest.approx(10_000)
    assert signup_rate_per_hour(wave, 50.0) == pytest.approx(1000)
    assert signup_rate_per_hour(wave, 1e9) == pytest.approx(10_000)


def test_tighter_quota_serves_less() -> None:
    """A quota's share falls with the quota, from almost everything to nothing."""
    shares = [quota_served_ratio(quota, 6.0) for quota in (0, 1, 3, 10, 100, 10_000)]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0, abs=1e-3)


def test_queue_serves_the_higher_priority_first() -> None:
    """With room for some, paid requests are served before free ones, and free ones wait or are dropped."""
    service = Service(small_scenario())
    done = service.step(np.array([[100.0, 10.0], [0.0, 0.0]]), np.array([1.0, 1.0]), step_seconds=20.0)
    assert done.served[0].tolist() == [10.0, 10.0]
    assert done.dropped[0].tolist() == [30.0, 0.0], "the queue holds a minute of capacity"
    assert service.queue[0].tolist() == [60.0, 0.0]
    assert done.load_ratio.tolist() == [1.0, 0.0]


def test_region_without_capacity_serves_nobody() -> None:
    """With no GPU at all everything is dropped, and nothing is divided by zero."""
    service = Service(small_scenario())
    done = service.step(np.array([[10.0, 10.0], [1.0, 1.0]]), np.zeros(2), step_seconds=20.0)
    assert done.served.sum() == 0.0
    assert done.dropped.sum() == pytest.approx(22.0)


def test_ordered_node_serves_after_its_lead_time_and_not_before() -> None:
    """A node counts as pending from the order until its own time comes."""
    cloud = Cloud(small_scenario(), np.random.default_rng(0))
    cloud.resize(0, 3, now_seconds=0.0, hottest_first=[0, 1])
    assert (cloud.num_serving(0), cloud.num_pending(0)) == (2, 1)
    due = cloud.orders[0].serving_seconds
    cloud.deliver(due - 1.0)
    assert cloud.num_serving(0) == 2
    cloud.deliver(due)
    assert (cloud.num_serving(0), cloud.num_pending(0)) == (3, 0)


def test_size_is_clamped_and_orders_are_cancelled_before_nodes_leave() -> None:
    """Sizes stay within the pool's bounds; a smaller wish first cancels orders, then takes the hottest node."""
    cloud = Cloud(small_scenario(), np.random.default_rng(0))
    cloud.resize(0, 99, now_seconds=0.0, hottest_first=[1, 0])
    assert cloud.num_pending(0) == 1
    cloud.resize(0, 2, now_seconds=0.0, hottest_first=[1, 0])
    assert (cloud.num_serving(0), cloud.num_pending(0)) == (2, 0)
    cloud.resize(0, 0, now_seconds=0.0, hottest_first=[1, 0])
    assert cloud.serving[cloud.slots(0)].tolist() == [True, False, False]


def test_flags_arrive_late_and_end_by_themselves() -> None:
    """A limit holds from its propagation until its time to live is over, without anybody's help."""
    store = FlagStore(propagation_seconds=10.0)
    store.write((_flag("images-per-day", 3),), revision=1, now_seconds=0.0, ttl_seconds=60.0)
    normal = TierLimits(images_per_day=100)
    quotas = []
    for seconds in (0.0, 9.0, 10.0, 59.0, 60.0):
        store.advance(seconds)
        quotas.append(store.limits("north", "free", normal, seconds).images_per_day)
    assert quotas == [100, 100, 3, 3, 100]


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("image-generation-enabled", False, "generation_enabled", False),
        ("images-per-day", 5, "images_per_day", 5),
        ("admission-ratio", 0.25, "admission_ratio", 0.25),
        ("batch-admitted", False, "batch_admitted", False),
        ("limit-reason", "heat", "images_per_day", 100),
        ("images-per-day", "many", "images_per_day", 100),
    ],
)
def test_flag_means_what_the_contract_says(key: str, value: FlagValue, field: str, expected: object) -> None:
    """Each flag of the contract sets its own limit; unknown keys and wrong types set none."""
    store = FlagStore(propagation_seconds=0.0)
    store.write((_flag(key, value),), revision=1, now_seconds=0.0, ttl_seconds=60.0)
    store.advance(0.0)
    assert getattr(store.limits("north", "free", TierLimits(images_per_day=100), 1.0), field) == expected
    assert store.limits("south", "free", TierLimits(), 1.0) == TierLimits(), "another region is not concerned"


def test_more_load_is_hotter_and_slowdown_cuts_speed() -> None:
    """GPUs at full load settle hotter than at half, and one above its slowdown temperature works at a fraction."""
    world = World(small_scenario(), seed=0)
    half, full = (np.full(world.fleet.num_gpus, ratio) for ratio in (0.5, 1.0))
    world.fleet.settle(half, seconds=1800.0)
    cool = world.fleet.die_celsius[world.fleet.powered].copy()
    world.fleet.settle(full, seconds=1800.0)
    assert (world.fleet.die_celsius[world.fleet.powered] > cool).all()
    before = world.fleet.speed_ratio().sum()
    world.fleet.inlet_celsius[:] = 52.0
    world.fleet.step(full, step_seconds=20.0)
    world.fleet.die_celsius[world.fleet.powered] = 88.0
    world.fleet.step(full, step_seconds=0.1)
    assert world.fleet.slowed.any()
    assert world.fleet.speed_ratio().sum() < before


def test_sensors_round_and_say_nothing_about_absent_gpus() -> None:
    """A sensor shows whole degrees; a slot without a GPU shows nothing."""
    fleet = World(small_scenario(), seed=0).fleet
    shown = fleet.sensed_celsius()
    assert (shown[fleet.powered] == np.floor(shown[fleet.powered])).all()
    assert np.isnan(shown[~fleet.powered]).all()


def test_users_do_not_depend_on_what_is_done_to_the_hardware() -> None:
    """Two worlds of one seed see the same sign-ups and first attempts whatever sizes their pools have."""
    left, right = (World(small_scenario(), seed=5) for _ in range(2))
    right.apply_nodes("north-h", 3)
    for _ in range(40):
        a, b = left.step(), right.step()
        assert (a.signups == b.signups).all()
        assert (a.first_attempts == b.first_attempts).all()


def test_unknown_pool_is_an_error() -> None:
    """Resizing a pool that does not exist is a mistake of the caller."""
    with pytest.raises(KeyError):
        World(small_scenario(), seed=0).apply_nodes("nowhere", 1)
    assert "north" in {region["name"] for region in scenario_document()["regions"]}
