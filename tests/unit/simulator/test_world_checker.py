"""The checker of the simulated world, tested by worlds that are corrupted on purpose."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from controller.errors import InconsistentWorldError
from controller.simulator.checker import check_world
from controller.simulator.cloud import NodeOrder
from controller.simulator.world import World, WorldStep
from tests.simulator_samples import small_scenario


def _world() -> tuple[World, WorldStep]:
    world = World(small_scenario(), seed=3)
    for _ in range(5):
        step = world.step()
    return world, step


def _lose_requests(world: World) -> None:
    world.offered_total[0, 0] += 5.0


def _negative_queue(world: World) -> None:
    world.service.queue[0, 0] = -1.0
    world.offered_total[0, 0] -= 1.0


def _boil(world: World) -> None:
    world.fleet.die_celsius[0] = 500.0


def _freeze(world: World) -> None:
    world.fleet.inlet_celsius[0] = -80.0


def _not_a_number(world: World) -> None:
    world.fleet.sink_celsius[0] = np.nan


def _too_much_power(world: World) -> None:
    world.fleet.power_watts[np.flatnonzero(world.serving_gpus())[0]] = 900.0


def _ghost_power(world: World) -> None:
    world.fleet.power_watts[np.flatnonzero(~world.serving_gpus())[0]] = 10.0


def _undead(world: World) -> None:
    world.fleet.shut_down[np.flatnonzero(world.fleet.powered)[0]] = True


def _too_many_nodes(world: World) -> None:
    order = NodeOrder(pool=0, slot=2, ordered_seconds=0.0, serving_seconds=1e9)
    world.cloud.orders = [order, order, order]


def _twice(world: World) -> None:
    world.cloud.orders = [NodeOrder(pool=0, slot=0, ordered_seconds=0.0, serving_seconds=1e9)]


CORRUPTIONS: dict[str, Callable[[World], None]] = {
    "every offered request": _lose_requests,
    "no count is negative": _negative_queue,
    "temperatures are physical": _boil,
    "temperatures are physical (cold)": _freeze,
    "temperatures are physical (none)": _not_a_number,
    "no GPU draws more": _too_much_power,
    "a GPU without power": _ghost_power,
    "a GPU that shut down": _undead,
    "pools keep their bounds": _too_many_nodes,
    "no slot is both": _twice,
}


@pytest.mark.parametrize("rule", CORRUPTIONS)
def test_corrupted_world_is_refused(rule: str) -> None:
    """Each rule is broken on purpose, and the checker names it and the virtual time."""
    world, step = _world()
    check_world(world, step, world.capacity_per_second())
    CORRUPTIONS[rule](world)
    with pytest.raises(InconsistentWorldError, match=rule.split(" (")[0]) as caught:
        check_world(world, step, world.capacity_per_second())
    assert f"{step.seconds:.0f} s" in str(caught.value)


def test_region_that_serves_more_than_it_can_is_refused() -> None:
    """A step that reports more service than capacity is refused."""
    world, step = _world()
    with pytest.raises(InconsistentWorldError, match="than its GPUs can"):
        check_world(world, replace(step, served=step.served + 100.0), world.capacity_per_second())


def test_flag_revision_must_grow() -> None:
    """A write with an old revision is refused, as a real store would."""
    world, _ = _world()
    world.write_flags((), revision=3, ttl_seconds=60.0)
    with pytest.raises(InconsistentWorldError, match="revision"):
        world.write_flags((), revision=3, ttl_seconds=60.0)


def test_books_close_over_a_whole_run() -> None:
    """Every offered request is served, limited, dropped, abandoned or still waiting, in every region and tier."""
    world = World(small_scenario(), seed=1)
    totals = np.zeros_like(world.offered_total)
    settled = np.zeros_like(totals)
    for _ in range(90):
        step = world.step()
        totals += step.offered
        settled += step.limited + step.served + step.dropped + step.abandoned
    np.testing.assert_allclose(totals, settled + world.service.queue, rtol=1e-9)
